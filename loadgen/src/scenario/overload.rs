//! `overload`: several times what the target can take, as it was measured just before.

use super::{PLENTY, hold_us};
use crate::cli::OverloadArgs;
use crate::demand::{Demand, Hot};
use crate::group::GroupPlan;
use crate::plan::{Door, Item, Payer, Plan, SECOND_NS, Sorting, Special, Times};
use crate::schedule::Curve;

const DURATION_S: f64 = 12.0;
const SKUS: u32 = 1_000;
const HOT_SHARE: f64 = 0.9;
/// Parts of the run: measuring, a share of what was found, the overload, that share again.
const MEASURE: f64 = 0.25;
const BEFORE: f64 = 0.2;
const DURING: f64 = 0.3;
/// Orders of a group while the capacity is measured, and groups under way.
const GROUP: u32 = 512;
const UNDER_WAY: u32 = 4;
/// Accepted orders are paid this much later.
const PAID_MS: u64 = 100;

fn duration_s(args: &OverloadArgs) -> f64 {
    args.common.duration.unwrap_or(DURATION_S)
}

fn items(args: &OverloadArgs) -> Vec<Item> {
    let stock = args.common.stock.unwrap_or(PLENTY);
    (1..=args.common.skus.unwrap_or(SKUS)).map(|number| Item::numbered("item", number, stock, 0)).collect()
}

/// How the capacity is measured: a closed loop that pays, as the crowd behind it does.
pub(crate) fn measuring(args: &OverloadArgs) -> GroupPlan {
    let common = &args.common;
    GroupPlan {
        seed: common.seed,
        duration_s: MEASURE * duration_s(args),
        group: common.group.unwrap_or(GROUP),
        under_way: if common.group.is_some() { common.groups } else { UNDER_WAY },
        pay_within_ns: Some(PAID_MS * 1_000_000),
        hot_share: common.hot_share.unwrap_or(HOT_SHARE),
        items: items(args),
        hold_us: hold_us(common, 0.0),
    }
}

/// The open loop on a target that takes `capacity` orders per second.
pub(crate) fn plan(args: &OverloadArgs, capacity: f64) -> Plan {
    let common = &args.common;
    let whole_s = duration_s(args);
    let (before_s, during_s) = (BEFORE * whole_s, DURING * whole_s);
    let after_s = whole_s - MEASURE * whole_s - before_s - during_s;
    let usual = args.usual * capacity;
    let curve = Curve::steps(&[(usual, before_s), (args.times * capacity, during_s), (usual, after_s)]);
    let items = items(args);
    let customers = (curve.expected() as u32).max(100);
    let demand = Demand::Hot(Hot {
        hot: 1,
        items: items.len() as u32,
        share: common.hot_share.unwrap_or(HOT_SHARE),
        customers,
        eager: 1,
        eager_share: 0.0,
        quantity_max: 1,
    });
    let ns = |seconds: f64| (seconds * SECOND_NS as f64) as u64;
    let sorting = Sorting::Overload { from_ns: ns(before_s), until_ns: ns(before_s + during_s) };
    // Unless somebody says otherwise, the bound is the target's own.
    let door = Door { in_flight_max: common.in_flight.map_or(usize::MAX, |most| most as usize) };
    Plan {
        scenario: "overload",
        seed: common.seed,
        duration_s: before_s + during_s + after_s,
        start_s: before_s,
        items,
        demand,
        times: Times::Along(curve),
        reads: None,
        payer: Payer { never: 0.0, within_s: 2.0 * PAID_MS as f64 / 1e3, gateway_s: 0.0, decline: 0.0 },
        impatience: None,
        sells_out: 0,
        hold_us: hold_us(common, 0.0),
        special: Special { sorting, door: Some(door), ..Special::default() },
    }
}
