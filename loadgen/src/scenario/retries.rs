//! `retries`: impatience.

use super::{hold_us, prompt_payer, sale_items};
use crate::cli::RetriesArgs;
use crate::demand::{Demand, Hot};
use crate::plan::{Impatience, Plan, SECOND_NS, Special, Times};
use crate::schedule::Curve;

/// Offered orders per second, before anything is sent again.
const RATE: u32 = 10_000;
/// Items that run out: on several shards, so that another body may name another shard.
const HOT: u32 = 16;
/// Others.
const SKUS: u32 = 100;
/// Two units are wanted for each in stock: replays of acceptances must be common.
const DEMAND_TO_STOCK: f64 = 2.0;
const HOT_SHARE: f64 = 0.9;

/// An even crowd that presses the button twice.
pub(super) fn plan(args: &RetriesArgs) -> Plan {
    let common = &args.common;
    let duration_s = common.duration_s();
    let curve = Curve::flat(f64::from(common.rate.unwrap_or(RATE)), duration_s);
    let skus = common.skus.unwrap_or(SKUS);
    let hot = HOT.min(skus);
    let share = common.hot_share.unwrap_or(HOT_SHARE);
    let wanted = curve.expected() * share * 1.25 / f64::from(hot);
    let stock = common.stock.unwrap_or((wanted / DEMAND_TO_STOCK).max(1.0) as i64);
    let customers = (curve.expected() as u32).max(100);
    Plan {
        scenario: "retries",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        items: sale_items(hot, stock, common.limit, skus - hot),
        demand: Demand::Hot(Hot {
            hot,
            items: skus,
            share,
            customers,
            eager: (customers / 1_000).max(1),
            eager_share: 0.02,
            quantity_max: if common.limit == 0 { 2 } else { common.limit.min(2) },
        }),
        times: Times::Along(curve),
        reads: None,
        payer: prompt_payer(duration_s),
        impatience: Some(Impatience {
            again: 0.20,
            again_within_ns: SECOND_NS / 5,
            other_body: 0.01,
            timeout_ns: SECOND_NS,
            retries_max: 3,
            jitter: !args.no_jitter,
            lost: 0.005,
        }),
        sells_out: hot,
        hold_us: hold_us(common, 0.0),
        special: Special::default(),
    }
}
