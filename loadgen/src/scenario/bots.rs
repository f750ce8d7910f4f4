//! `bots`: hoarders.

use super::{hold_us, prompt_payer, sale_items};
use crate::cli::Common;
use crate::demand::{Bots, Demand};
use crate::plan::{Plan, Sorting, Special, Times};
use crate::schedule::Curve;

/// Offered orders per second, of people and bots.
const RATE: u32 = 10_000;
/// Share of the arrivals that are of bots.
const ARRIVALS: f64 = 0.35;
/// Share of the identities that are bots.
const IDENTITIES: f64 = 0.02;
/// Orders per second of one bot, on average.
const BOT_RATE: f64 = 10.0;
/// Items that run out.
const HOT: u32 = 4;
const SKUS: u32 = 100;
const HOT_SHARE: f64 = 0.9;
/// Units that people want for each in stock: for long enough nobody but the limit refuses.
const DEMAND_TO_STOCK: f64 = 2.0;
const UNITS_PER_BUY: f64 = 1.25;

/// An even crowd of people, and few who are many.
pub(super) fn plan(common: &Common) -> Plan {
    let duration_s = common.duration_s();
    let rate = f64::from(common.rate.unwrap_or(RATE));
    let curve = Curve::flat(rate, duration_s);
    let bots = (ARRIVALS * rate / BOT_RATE).ceil().max(1.0);
    let people = (bots * (1.0 - IDENTITIES) / IDENTITIES).round();
    let skus = common.skus.unwrap_or(SKUS);
    let hot = HOT.min(skus);
    let share = common.hot_share.unwrap_or(HOT_SHARE);
    let wanted = curve.expected() * (1.0 - ARRIVALS) * share * UNITS_PER_BUY / f64::from(hot);
    let stock = common.stock.unwrap_or((wanted / DEMAND_TO_STOCK).max(1.0) as i64);
    let items = sale_items(hot, stock, common.limit, skus - hot);
    let demand = Demand::Bots(Bots {
        bots: bots as u32,
        people: people as u32,
        arrivals: ARRIVALS,
        limit: common.limit,
        hot,
        items: skus,
        share,
    });
    Plan {
        scenario: "bots",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        items,
        demand,
        times: Times::Along(curve),
        reads: None,
        payer: prompt_payer(duration_s),
        impatience: None,
        sells_out: hot,
        hold_us: hold_us(common, 0.0),
        special: Special { sorting: Sorting::Bots(bots as u32), ..Special::default() },
    }
}
