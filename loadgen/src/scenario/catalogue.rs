//! `catalogue`: skewed orders over many SKUs.

use super::{hold_us, prompt_payer};
use crate::cli::Common;
use crate::demand::{Demand, Retail};
use crate::plan::{Item, Plan, Special, Times};
use crate::schedule::Curve;
use crate::zipf::Popularity;

/// Offered orders per second; ten lines each on average.
const RATE: u32 = 4_000;
/// Products of the data that the popularity was fitted on.
const SKUS: u32 = 67_845;
/// Units of each item.
const STOCK: i64 = 1_000;

/// Retail baskets at an even rate.
pub(super) fn plan(common: &Common) -> Plan {
    let duration_s = common.duration_s();
    let curve = Curve::flat(f64::from(common.rate.unwrap_or(RATE)), duration_s);
    let skus = common.skus.unwrap_or(SKUS);
    let stock = common.stock.unwrap_or(STOCK);
    let customers = (curve.expected() as u32 / 4).max(100);
    Plan {
        scenario: "catalogue",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        items: (1..=skus).map(|number| Item::numbered("item", number, stock, 0)).collect(),
        demand: Demand::Retail(Retail { popularity: Popularity::new(skus as usize), customers }),
        times: Times::Along(curve),
        reads: None,
        payer: prompt_payer(duration_s),
        impatience: None,
        sells_out: 0,
        hold_us: hold_us(common, 0.0),
        special: Special::default(),
    }
}
