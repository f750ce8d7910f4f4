//! `expiry`: the second generation of buyers.

use super::{hold_us, sale_items};
use crate::cli::Common;
use crate::demand::{Demand, Hot};
use crate::plan::{Payer, Plan, Special, Times};
use crate::schedule::Curve;

/// Offered orders per second.
const RATE: u32 = 2_000;
/// Seconds an unpaid order keeps its units.
const HOLD_S: f64 = 30.0;
/// The schedule spans this many generations of holds.
const GENERATIONS: f64 = 4.0;
/// Share of buyers that never pay.
const NEVER: f64 = 0.6;
/// Units wanted for each in stock, over the whole schedule.
const DEMAND_TO_STOCK: f64 = 20.0;

/// An even crowd of whom most never pay.
pub(super) fn plan(common: &Common) -> Plan {
    let hold_s = common.hold_s.unwrap_or(HOLD_S);
    let duration_s = common.duration.unwrap_or(GENERATIONS * hold_s);
    let curve = Curve::flat(f64::from(common.rate.unwrap_or(RATE)), duration_s);
    let stock = common.stock.unwrap_or((curve.expected() / DEMAND_TO_STOCK).max(1.0) as i64);
    let items = sale_items(1, stock, common.limit, common.skus.unwrap_or(1) - 1);
    let customers = (curve.expected() as u32).max(100);
    Plan {
        scenario: "expiry",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        demand: Demand::Hot(Hot {
            hot: 1,
            items: items.len() as u32,
            share: common.hot_share.unwrap_or(0.9),
            customers,
            eager: customers,
            eager_share: 0.0,
            quantity_max: 1,
        }),
        items,
        times: Times::Along(curve),
        reads: None,
        // Within half a hold: a payment must not race the deadline it is to beat.
        payer: Payer {
            never: NEVER,
            within_s: (hold_s / 4.0).min(2.0),
            gateway_s: (hold_s / 8.0).min(0.2),
            decline: 0.0,
        },
        impatience: None,
        sells_out: 1,
        hold_us: hold_us(common, HOLD_S),
        special: Special::default(),
    }
}
