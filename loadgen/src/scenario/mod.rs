//! Scenarios: each turns its options into a [`Plan`].

mod browse;
mod catalogue;
mod expiry;
mod flash_sale;
mod replay;
mod retries;

use crate::cli::{Common, Scenario};
use crate::group::GroupPlan;
use crate::plan::{Item, Payer, Plan};

pub(crate) use replay::ReplayError;

/// Share of attempts that the simulated gateway declines.
const DECLINE: f64 = 0.05;
/// Units of what a capacity run must not run out of.
const PLENTY: i64 = 1_000_000_000;
/// Units of each item beside the hot ones.
const OTHER_STOCK: i64 = 1_000_000;

impl Scenario {
    /// The plan of an open-loop run.
    pub(crate) fn plan(&self) -> Result<Plan, ReplayError> {
        Ok(match self {
            Self::FlashSale(common) => flash_sale::plan(common),
            Self::Catalogue(common) => catalogue::plan(common),
            Self::Replay(args) => return replay::plan(args),
            Self::Retries(args) => retries::plan(args),
            Self::Expiry(common) => expiry::plan(common),
            Self::Browse(common) => browse::plan(common),
        })
    }
}

/// The plan of a capacity run: the scenario's name only tells which report it is.
pub(crate) fn group_plan(common: &Common, group: u32) -> GroupPlan {
    let hot_share = common.hot_share.unwrap_or(1.0);
    let skus = common.skus.unwrap_or(if hot_share < 1.0 { 10_000 } else { 1 });
    let stock = common.stock.unwrap_or(PLENTY);
    GroupPlan {
        seed: common.seed,
        duration_s: common.duration_s(),
        group,
        under_way: common.groups,
        pay_within_ns: common.pay_within.map(|ms| ms * 1_000_000),
        hot_share,
        items: (1..=skus).map(|number| Item::numbered("item", number, stock, common.limit)).collect(),
        hold_us: hold_us(common, 0.0),
    }
}

/// The hold interval in us; 0 leaves it to the engine.
fn hold_us(common: &Common, default_s: f64) -> u64 {
    (common.hold_s.unwrap_or(default_s) * 1e6) as u64
}

/// Buyers that all pay, within a second or a tenth of a shorter run.
fn prompt_payer(duration_s: f64) -> Payer {
    let within_s = (duration_s / 10.0).min(0.8);
    Payer { never: 0.0, within_s, gateway_s: within_s / 4.0, decline: DECLINE }
}

/// Hot items first, then others with plenty of stock and no limit.
fn sale_items(hot: u32, stock: i64, limit: u32, others: u32) -> Vec<Item> {
    let hot = (1..=hot).map(|number| Item::numbered("hot", number, stock, limit));
    hot.chain((1..=others).map(|number| Item::numbered("item", number, OTHER_STOCK, 0))).collect()
}
