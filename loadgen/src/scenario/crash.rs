//! `crash`: a small sale for each life of a server that is killed at its peak.

use super::{PlanError, prompt_payer, sale_items};
use crate::cli::CrashArgs;
use crate::demand::{Demand, Hot};
use crate::plan::{Plan, Special, Times};
use crate::schedule::Curve;

/// Peak of offered orders per second.
const RATE: u32 = 3_000;
const DURATION_S: f64 = 8.0;
const HOT: u32 = 4;
const SKUS: u32 = 200;
const HOT_SHARE: f64 = 0.5;
/// Units of each hot item wanted for each in stock, over all lives.
const DEMAND_TO_STOCK: f64 = 2.0;
/// Holds outlive the run, unless somebody says otherwise: what is held or sold is what the journal says.
const HOLD_S: f64 = 86_400.0;

/// What one life of the server sees.
pub(super) fn plan(args: &CrashArgs) -> Result<Plan, PlanError> {
    let common = &args.common;
    let duration_s = common.duration.unwrap_or(DURATION_S) / f64::from(args.kills);
    let curve = Curve::sale(f64::from(common.rate.unwrap_or(RATE)), duration_s);
    let skus = common.skus.unwrap_or(SKUS);
    let hot = HOT.min(skus);
    let share = common.hot_share.unwrap_or(HOT_SHARE);
    let wanted = curve.expected() * f64::from(args.kills) * share * 1.25 / f64::from(hot);
    let stock = common.stock.unwrap_or((wanted / DEMAND_TO_STOCK).max(1.0) as i64);
    let customers = ((curve.expected() * f64::from(args.kills)) as u32).max(100);
    Ok(Plan {
        scenario: "crash",
        seed: common.seed,
        duration_s,
        start_s: Curve::sale_start_s(duration_s),
        items: sale_items(hot, stock, common.limit, skus - hot),
        demand: Demand::Hot(Hot {
            hot,
            items: skus,
            share,
            customers,
            eager: (customers / 100).max(1),
            eager_share: 0.05,
            quantity_max: if common.limit == 0 { 2 } else { common.limit.min(2) },
        }),
        times: Times::Along(curve),
        reads: None,
        payer: prompt_payer(duration_s),
        impatience: None,
        sells_out: 0,
        hold_us: (common.hold_s.unwrap_or(HOLD_S) * 1e6) as u64,
        special: Special { settles: true, ..Special::default() },
    })
}
