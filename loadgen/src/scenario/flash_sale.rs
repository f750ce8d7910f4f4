//! `flash-sale`: a step at T0 on one hot SKU.

use super::{hold_us, prompt_payer, sale_items};
use crate::cli::Common;
use crate::demand::{Demand, Hot};
use crate::plan::{Plan, Special, Times};
use crate::schedule::Curve;

/// Peak of offered orders per second.
const RATE: u32 = 100_000;
/// Units wanted for each unit in stock.
pub(super) const DEMAND_TO_STOCK: f64 = 100.0;
/// Share of buys on the hot SKU.
const HOT_SHARE: f64 = 0.9;
/// Items in the shop.
const SKUS: u32 = 1_000;
/// Mean units of a buy: one in four takes two.
const UNITS_PER_BUY: f64 = 1.25;

/// A sale of one hot SKU among `SKUS`.
pub(super) fn plan(common: &Common) -> Plan {
    let curve = Curve::sale(f64::from(common.rate.unwrap_or(RATE)), common.duration_s());
    sale(common, "flash-sale", curve)
}

/// A sale along any curve.
pub(super) fn sale(common: &Common, scenario: &'static str, curve: Curve) -> Plan {
    let duration_s = common.duration_s();
    let buys = curve.expected();
    let share = common.hot_share.unwrap_or(HOT_SHARE);
    let wanted = buys * share * UNITS_PER_BUY;
    let stock = common.stock.unwrap_or((wanted / DEMAND_TO_STOCK).max(1.0) as i64);
    let items = sale_items(1, stock, common.limit, common.skus.unwrap_or(SKUS) - 1);
    let customers = (buys as u32).max(100);
    let demand = Demand::Hot(Hot {
        hot: 1,
        items: items.len() as u32,
        share,
        customers,
        eager: (customers / 1_000).max(1),
        eager_share: 0.05,
        quantity_max: if common.limit == 0 { 2 } else { common.limit.min(2) },
    });
    Plan {
        scenario,
        seed: common.seed,
        duration_s,
        start_s: Curve::sale_start_s(duration_s),
        items,
        demand,
        times: Times::Along(curve),
        reads: None,
        payer: prompt_payer(duration_s),
        impatience: None,
        sells_out: 1,
        hold_us: hold_us(common, 0.0),
        special: Special::default(),
    }
}
