//! `browse`: reads under the sale.

use super::flash_sale;
use crate::cli::Common;
use crate::plan::{Plan, Reads, Times};
use crate::schedule::Curve;

/// Peak of offered orders per second; the reads come on top.
const RATE: u32 = 10_000;
/// Product pages and validations per buy, before T0 and after.
const BEFORE: (f64, f64) = (400.0, 20.0);
const AFTER: (f64, f64) = (20.0, 5.0);

/// A flash sale with its readers.
pub(super) fn plan(common: &Common) -> Plan {
    let curve = Curve::sale(f64::from(common.rate.unwrap_or(RATE)), common.duration_s());
    let plan = flash_sale::sale(common, "browse", curve);
    let Times::Along(buys) = &plan.times else { return plan };
    let reads = Reads {
        curve: buys.scaled_at(plan.start_s, BEFORE.0 + BEFORE.1, AFTER.0 + AFTER.1),
        validate_before: BEFORE.1 / (BEFORE.0 + BEFORE.1),
        validate_after: AFTER.1 / (AFTER.0 + AFTER.1),
    };
    Plan { reads: Some(reads), ..plan }
}
