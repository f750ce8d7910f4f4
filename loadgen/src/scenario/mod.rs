//! Scenarios: each turns its options into a [`Plan`].

mod bots;
mod browse;
mod catalogue;
mod crash;
mod expiry;
mod flash_sale;
mod neighbours;
pub(crate) mod overload;
mod payments;
mod refunds;
mod replay;
mod retries;
mod webhooks;

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

/// What a capacity is taken for that nobody measured.
const CAPACITY: u32 = 10_000;

/// Why a scenario cannot be run as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// Nothing to replay.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Neighbours of one.
    #[error("neighbours live on other shards: expected --shards of 2 to 256, found {0}")]
    Shards(u16),
    /// A gateway of somebody else.
    #[error(
        "{scenario} chooses the gateway behind its target: expected --target embedded, grpc or tcp, found {found}"
    )]
    Gateway {
        /// Which scenario.
        scenario: &'static str,
        /// Which target.
        found: String,
    },
    /// A gateway that nobody can stand in for.
    #[error("webhooks boots a server with a gateway of its own: expected --target grpc, found {found}")]
    Till {
        /// Which target.
        found: String,
    },
    /// Percentiles the wrong way round.
    #[error("--gateway-p99: expected at least the {p50} ms of --gateway-p50, found {p99} ms")]
    Percentiles {
        /// Median in ms.
        p50: u32,
        /// 99th percentile in ms.
        p99: u32,
    },
}

impl Scenario {
    /// The plan of an open-loop run. That of an overload is made again once the capacity is known.
    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        Ok(match self {
            Self::FlashSale(common) => flash_sale::plan(common),
            Self::Catalogue(common) => catalogue::plan(common),
            Self::Replay(args) => replay::plan(args)?,
            Self::Retries(args) => retries::plan(args),
            Self::Expiry(common) => expiry::plan(common),
            Self::Browse(common) => browse::plan(common),
            Self::Bots(common) => bots::plan(common),
            Self::Overload(args) => overload::plan(args, f64::from(args.common.rate.unwrap_or(CAPACITY))),
            Self::Neighbours(args) => neighbours::plan(args)?,
            Self::Payments(args) => payments::plan(args)?,
            Self::Refunds(common) => refunds::plan(common),
            Self::Webhooks(common) => webhooks::plan(common)?,
            Self::Crash(args) => crash::plan(args)?,
        })
    }

    /// Shards of the engine that is opened.
    pub(crate) fn shards(&self) -> u16 {
        let default = if matches!(self, Self::Neighbours(_)) { neighbours::SHARDS } else { 1 };
        self.common().shards.unwrap_or(default)
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
