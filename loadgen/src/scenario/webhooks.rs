//! `webhooks`: money that is told of late, twice, out of order, or by somebody else.

use super::{PlanError, hold_us, sale_items};
use crate::cli::{Common, TargetName};
use crate::demand::{Demand, Hot};
use crate::plan::{Payer, Plan, Special, Times};
use crate::schedule::Curve;

/// Offered orders per second.
const RATE: u32 = 150;
const DURATION_S: f64 = 6.0;
/// Short, so that late money comes while somebody looks.
const HOLD_S: f64 = 2.0;
/// One item that runs out and one that does not: late money for the first one goes back.
const SKUS: u32 = 2;
const HOT_SHARE: f64 = 0.7;
/// Units of the hot one wanted for each in stock.
const DEMAND_TO_STOCK: f64 = 2.0;

/// An even crowd whose money takes its time.
pub(super) fn plan(common: &Common) -> Result<Plan, PlanError> {
    if let Some(other) = common.target.as_ref().filter(|target| **target != TargetName::Grpc) {
        return Err(PlanError::Till { found: other.name() });
    }
    let duration_s = common.duration.unwrap_or(DURATION_S);
    let curve = Curve::flat(f64::from(common.rate.unwrap_or(RATE)), duration_s);
    let share = common.hot_share.unwrap_or(HOT_SHARE);
    let skus = common.skus.unwrap_or(SKUS);
    let stock = common.stock.unwrap_or((curve.expected() * share / DEMAND_TO_STOCK).max(1.0) as i64);
    let items = sale_items(1, stock, 0, skus - 1);
    Ok(Plan {
        scenario: "webhooks",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        demand: Demand::Hot(Hot {
            hot: 1,
            items: skus,
            share,
            customers: (curve.expected() as u32).max(100),
            eager: 1,
            eager_share: 0.0,
            quantity_max: 1,
        }),
        items,
        times: Times::Along(curve),
        reads: None,
        payer: Payer { never: 0.0, within_s: 0.2, gateway_s: 0.0, decline: 0.0 },
        impatience: None,
        sells_out: 0,
        hold_us: hold_us(common, HOLD_S),
        special: Special { settles: true, ..Special::default() },
    })
}
