//! `neighbours`: one SKU takes all on its shard, in every other phase; the rest lives on other shards.

use onrush_proto::{Slot, SlotMap};

use super::{PLENTY, PlanError, hold_us, prompt_payer};
use crate::cli::NeighboursArgs;
use crate::demand::{Demand, Neighbours};
use crate::plan::{Item, Plan, SECOND_NS, Sorting, Special, Times, is_hot_phase};
use crate::schedule::Curve;

/// Offered orders per second on the other shards.
const RATE: u32 = 2_000;
/// The one SKU is wanted this many times as much as all others together.
const HOT_TIMES: u32 = 10;
const DURATION_S: f64 = 12.0;
/// Items on the other shards.
const SKUS: u32 = 1_000;
/// Shards, if nobody says otherwise.
pub(super) const SHARDS: u16 = 2;

/// Alternating phases.
pub(super) fn plan(args: &NeighboursArgs) -> Result<Plan, PlanError> {
    let common = &args.common;
    let shards = common.shards.unwrap_or(SHARDS);
    let map = SlotMap::new(shards).filter(|_| shards >= 2).ok_or(PlanError::Shards(shards))?;
    let duration_s = common.duration.unwrap_or(DURATION_S);
    let rate = common.rate.unwrap_or(RATE);
    let hot_rate = args.hot_rate.unwrap_or(rate.saturating_mul(HOT_TIMES));
    let phase_s = duration_s / f64::from(args.phases);
    let phase_ns = ((phase_s * SECOND_NS as f64) as u64).max(1);
    let rate_in = |phase: u32| {
        let hot = is_hot_phase(phase_ns, u64::from(phase) * phase_ns);
        f64::from(rate) + if hot { f64::from(hot_rate) } else { 0.0 }
    };
    let steps: Vec<(f64, f64)> = (0..args.phases).map(|phase| (rate_in(phase), phase_s)).collect();
    let curve = Curve::steps(&steps);
    let items = items(map, common.skus.unwrap_or(SKUS), common.stock.unwrap_or(PLENTY));
    let demand = Demand::Neighbours(Neighbours {
        items: items.len() as u32,
        hot: f64::from(hot_rate) / (f64::from(rate) + f64::from(hot_rate)),
        phase_ns,
        customers: (curve.expected() as u32).max(100),
    });
    Ok(Plan {
        scenario: "neighbours",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        items,
        demand,
        times: Times::Along(curve),
        reads: None,
        payer: prompt_payer(duration_s),
        impatience: None,
        sells_out: 0,
        hold_us: hold_us(common, 0.0),
        special: Special { sorting: Sorting::Neighbours { phase_ns }, ..Special::default() },
    })
}

/// The one item, then those that live on other shards than it.
fn items(map: SlotMap, others: u32, stock: i64) -> Vec<Item> {
    let hot = Item::numbered("hot", 1, stock, 0);
    let shard = |item: &Item| map.shard(Slot::of(item.sku.as_bytes()));
    let its_shard = shard(&hot);
    let elsewhere = (1..).map(|number| Item::numbered("item", number, stock, 0));
    let elsewhere = elsewhere.filter(|item| shard(item) != its_shard).take(others as usize);
    std::iter::once(hot.clone()).chain(elsewhere).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_sku_has_its_shard_to_itself() {
        for shards in [2, 4] {
            let map = SlotMap::new(shards).unwrap();
            let items = items(map, 300, 1);
            let shard = |item: &Item| map.shard(Slot::of(item.sku.as_bytes())).0;
            assert_eq!(items.len(), 301);
            assert!(items[1..].iter().all(|item| shard(item) != shard(&items[0])));
        }
    }
}
