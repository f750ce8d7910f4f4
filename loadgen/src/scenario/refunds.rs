//! `refunds`: races for the money that is left.

use super::{PLENTY, hold_us};
use crate::cli::Common;
use crate::demand::{Demand, Hot};
use crate::plan::{Item, Payer, Plan, Refunds, Special, Times};
use crate::schedule::Curve;

/// Offered orders per second.
const RATE: u32 = 1_000;
const DURATION_S: f64 = 8.0;
const SKUS: u32 = 100;
/// Share of buyers who call off.
const CALL_OFF: f64 = 0.05;

/// An even crowd that wants its money back, three times at once.
pub(super) fn plan(common: &Common) -> Plan {
    let duration_s = common.duration.unwrap_or(DURATION_S);
    let curve = Curve::flat(f64::from(common.rate.unwrap_or(RATE)), duration_s);
    let (skus, stock) = (common.skus.unwrap_or(SKUS), common.stock.unwrap_or(PLENTY));
    let demand = Demand::Hot(Hot {
        hot: skus,
        items: skus,
        share: 1.0,
        customers: (curve.expected() as u32).max(100),
        eager: 1,
        eager_share: 0.0,
        quantity_max: 2,
    });
    Plan {
        scenario: "refunds",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        items: (1..=skus).map(|number| Item::numbered("item", number, stock, 0)).collect(),
        demand,
        times: Times::Along(curve),
        reads: None,
        payer: Payer { never: 0.0, within_s: 0.1, gateway_s: 0.01, decline: 0.0 },
        impatience: None,
        sells_out: 0,
        hold_us: hold_us(common, 0.0),
        special: Special {
            // Two of 40 % leave 20 %: too little for the third.
            refunds: Some(Refunds { at_once: 3, share: 0.4, granted: 2 }),
            call_off: CALL_OFF,
            settles: true,
            ..Special::default()
        },
    }
}
