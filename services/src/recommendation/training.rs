//! `TrainModel`: counts anew what the log still has, up to a held-out stretch at its end, and looks how
//! well several mixes foretell what customers bought there. Half of the customers choose the mix, the
//! other half measure it; it is published if it foretells better than the one in use.
//!
//! What is learned here are the weights of the mix. The counters go on as they are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use onrush_engine::SubscribeError;
use onrush_grpc::recommendation::v1 as wire;
use onrush_proto::{CustomerId, Lsn, ShardId, Sku};

use super::board::Board;
use super::counters::{Bounds, Counters};
use super::learner::Learner;
use super::mix::Mix;
use super::operation::{Ended, Operation};
use super::preferences::Preferences;
use super::purchase::{Lesson, Purchase};
use super::rank::{Asked, Filter, Place};
use super::window::Window;
use crate::backend::Backend;
use crate::priority::yield_to_orders;
use crate::records;

/// How often it is looked whether somebody called it off.
const PATIENCE: Duration = Duration::from_millis(100);
/// Records read at once.
const BATCH_RECORDS: usize = 1_024;
/// Orders looked at, the newest.
const PURCHASES_MAX: usize = 1_000_000;
/// The held-out stretch, at most.
const HELD_OUT_US: u64 = 7 * 24 * 3_600 * 1_000_000;
/// The share of orders that is held out, at most: one in so many.
const HELD_OUT_ONE_IN: usize = 5;
/// Fewest baskets that say anything.
const BASKETS_MIN: usize = 20;
/// Baskets that are foretold, at most.
const BASKETS_MAX: usize = 2_000;
/// Products that are foretold.
const DEPTH: usize = 10;

/// A customer of the past, and what they bought first in the held-out stretch.
struct Basket {
    customer: CustomerId,
    skus: HashSet<Sku>,
}

/// How well a mix foretells, as means over baskets.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Score {
    /// Baskets with at least one of the ten.
    hit_rate: f64,
    /// Share of the basket among the ten.
    recall: f64,
    /// The same, with what stands above counting more.
    ndcg: f64,
}

/// Why nothing came of it.
enum Unfinished {
    Cancelled,
    Failed(String),
}

/// Trains, and says how it ended.
pub(super) fn run(learner: &Arc<Learner>, operation: &Operation, measure_only: bool) {
    yield_to_orders();
    let ended = match train(learner, operation, measure_only) {
        Ok(ended) => ended,
        Err(unfinished) => {
            let (state, detail) = match unfinished {
                Unfinished::Cancelled => (wire::OperationState::Cancelled, String::new()),
                Unfinished::Failed(detail) => (wire::OperationState::Failed, detail),
            };
            Ended { state, detail, model_version: learner.model().version, ..Ended::default() }
        }
    };
    operation.end(ended);
}

fn train(learner: &Arc<Learner>, operation: &Operation, measure_only: bool) -> Result<Ended, Unfinished> {
    let failed = |error: String| Unfinished::Failed(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let mut purchases = runtime.block_on(collect(&learner.backend, operation))?;
    purchases.sort_by_key(|purchase| purchase.time_us);
    let (counters, cutoff_us, baskets) = split(&purchases).map_err(failed)?;
    let orders = purchases.len();
    drop(purchases);
    let baskets = runtime.block_on(of_the_willing(&learner.backend, baskets, orders)).map_err(failed)?;
    let field = Field { counters, cutoff_us };
    let board = Board::of(&field.counters, cutoff_us);
    let running = learner.model().mix;
    let (chooses, measures): (Vec<_>, Vec<_>) = baskets.iter().zip(0..).partition(|(_, at)| at % 2 == 0);
    let mixes = candidates(&running);
    let mut best = (f64::NEG_INFINITY, running);
    for (mix, tried) in mixes.iter().zip(0u32..) {
        let score = field.score(&board, mix, &chooses, operation)?;
        if score.ndcg > best.0 {
            best = (score.ndcg, *mix);
        }
        operation.reach(40 + 50 * (tried + 1) / mixes.len() as u32);
    }
    let chosen = best.1;
    let [now, new, popularity] = [running, chosen, POPULARITY];
    let now = field.score(&board, &now, &measures, operation)?;
    let new = field.score(&board, &new, &measures, operation)?;
    let popularity = field.score(&board, &popularity, &measures, operation)?;
    let is_better = new.ndcg > now.ndcg;
    let (state, model_version) = match is_better && !measure_only {
        true => (wire::OperationState::Published, learner.publish(chosen)),
        false => (wire::OperationState::Kept, learner.model().version),
    };
    Ok(Ended {
        state,
        detail: format!("{chosen}, chosen by {} baskets", chooses.len()),
        baskets: measures.len() as u64,
        metrics: metrics([now, new, popularity]),
        model_version,
    })
}

/// What is bought most, whoever asks: what every mix has to beat.
const POPULARITY: Mix = Mix { history: 0.0, trend: 1.0, window: Window::Month, together: 0.0 };

/// The mixes that are tried. History keeps its weight: only what is next to it matters.
fn candidates(running: &Mix) -> Vec<Mix> {
    let mut mixes = Vec::new();
    for window in [Window::Day, Window::Week, Window::Month] {
        for trend in [0.05, 0.3, 1.0] {
            mixes.push(Mix { trend, window, ..*running });
        }
    }
    mixes
}

fn metrics([running, candidate, popularity]: [Score; 3]) -> Vec<wire::Metric> {
    let metric = |name: &str, of: fn(&Score) -> f64| wire::Metric {
        name: name.into(),
        running: of(&running),
        candidate: of(&candidate),
        popularity: of(&popularity),
    };
    vec![
        metric("ndcg_10", |score| score.ndcg),
        metric("recall_10", |score| score.recall),
        metric("hit_rate_10", |score| score.hit_rate),
    ]
}

/// Paid orders of all shards, as far as their logs go back.
async fn collect(backend: &Backend, operation: &Operation) -> Result<Vec<Purchase>, Unfinished> {
    let failed = |error: String| Unfinished::Failed(error);
    let ends = backend.ends().await.map_err(|error| failed(error.to_string()))?;
    let mut purchases: Vec<Purchase> = Vec::new();
    for (shard, end) in (0..).map(ShardId).zip(&ends) {
        let mut feed = backend.subscribe(shard, Lsn(1));
        while feed.cursor() < *end {
            if operation.is_cancelled() {
                return Err(Unfinished::Cancelled);
            }
            if !feed.ready_within(PATIENCE).await {
                continue;
            }
            let read = records::read(&mut feed, BATCH_RECORDS, |event| {
                if let Some((_, Lesson::Bought(purchase))) = Lesson::of(&event) {
                    purchases.push(purchase);
                }
            });
            match read {
                Ok(_) => {}
                Err(SubscribeError::OutOfRange { first, .. }) => feed = backend.subscribe(shard, Lsn(first)),
                Err(error) => return Err(failed(error.to_string())),
            }
            if purchases.len() > PURCHASES_MAX {
                keep_newest(&mut purchases);
            }
        }
        operation.reach(40 * (u32::from(shard.0) + 1) / ends.len().max(1) as u32);
    }
    Ok(purchases)
}

/// Lets the older half go.
fn keep_newest(purchases: &mut Vec<Purchase>) {
    let half = purchases.len() / 2;
    purchases.select_nth_unstable_by_key(half, |purchase| purchase.time_us);
    purchases.drain(..half);
}

/// Counters up to the held-out stretch, where that begins, and the baskets in it. Orders come by time.
fn split(purchases: &[Purchase]) -> Result<(Counters, u64, Vec<Basket>), String> {
    let time_us = |index: usize| purchases.get(index).map_or(0, |purchase| purchase.time_us);
    let last_us = time_us(purchases.len().saturating_sub(1));
    let share_us = time_us(purchases.len() - purchases.len() / HELD_OUT_ONE_IN);
    let cutoff_us = last_us.saturating_sub(HELD_OUT_US).max(share_us);
    let (past, held_out) = purchases.split_at(purchases.partition_point(|found| found.time_us < cutoff_us));
    let mut counters = Counters::new(Bounds::RECOMMENDED);
    past.iter().for_each(|purchase| counters.learn(&Lesson::Bought(purchase.clone())));
    let mut firsts: HashMap<CustomerId, &Purchase> = HashMap::new();
    for purchase in held_out.iter().filter(|purchase| counters.history(&purchase.customer).is_some()) {
        firsts.entry(purchase.customer).or_insert(purchase);
    }
    let basket = |(customer, purchase): (CustomerId, &Purchase)| Basket {
        customer,
        skus: purchase.skus.iter().copied().collect(),
    };
    let mut baskets: Vec<Basket> = firsts.into_iter().map(basket).collect();
    baskets.sort_unstable_by_key(|basket| basket.customer);
    enough(&baskets, purchases.len())?;
    let step = baskets.len().div_ceil(BASKETS_MAX);
    Ok((counters, cutoff_us, baskets.into_iter().step_by(step).collect()))
}

/// Baskets of customers whose history may be looked at.
async fn of_the_willing(
    backend: &Backend,
    baskets: Vec<Basket>,
    orders: usize,
) -> Result<Vec<Basket>, String> {
    let mut willing = Vec::with_capacity(baskets.len());
    for basket in baskets {
        let found = Preferences::of(backend, &basket.customer).await.map_err(|error| error.to_string())?;
        if !found.value.opted_out {
            willing.push(basket);
        }
    }
    enough(&willing, orders)?;
    Ok(willing)
}

/// Fewer say nothing.
fn enough(baskets: &[Basket], orders: usize) -> Result<(), String> {
    match baskets.len() >= BASKETS_MIN {
        true => Ok(()),
        false => Err(format!(
            "expected at least {BASKETS_MIN} customers with paid orders both before and in the last stretch \
             of the log, whose history may be looked at, found {} among {orders} orders",
            baskets.len()
        )),
    }
}

/// What is known at the beginning of the held-out stretch.
struct Field {
    counters: Counters,
    cutoff_us: u64,
}

impl Field {
    fn score(
        &self,
        board: &Board,
        mix: &Mix,
        baskets: &[(&Basket, i32)],
        operation: &Operation,
    ) -> Result<Score, Unfinished> {
        let mut sum = Score::default();
        for (basket, _) in baskets {
            if operation.is_cancelled() {
                return Err(Unfinished::Cancelled);
            }
            let asked = Asked {
                customer: Some(basket.customer),
                preferences: Preferences::default(),
                place: Place::Home,
                skus: Vec::new(),
                filter: Filter::default(),
                now_us: self.cutoff_us,
            };
            let ranked = asked.rank(&self.counters, board, mix).best;
            let found = foretold(ranked.iter().map(|candidate| candidate.shown.sku), &basket.skus);
            sum.hit_rate += found.hit_rate;
            sum.recall += found.recall;
            sum.ndcg += found.ndcg;
        }
        let mean = |sum: f64| sum / baskets.len().max(1) as f64;
        Ok(Score { hit_rate: mean(sum.hit_rate), recall: mean(sum.recall), ndcg: mean(sum.ndcg) })
    }
}

/// How well one basket is foretold.
fn foretold(ranked: impl Iterator<Item = Sku>, basket: &HashSet<Sku>) -> Score {
    let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let hits: Vec<usize> =
        ranked.take(DEPTH).zip(0..).filter(|(sku, _)| basket.contains(sku)).map(|(_, place)| place).collect();
    let ideal: f64 = (0..basket.len().min(DEPTH)).map(gain).sum();
    Score {
        hit_rate: f64::from(u8::from(!hits.is_empty())),
        recall: hits.len() as f64 / basket.len().max(1) as f64,
        ndcg: if ideal > 0.0 { hits.iter().map(|place| gain(*place)).sum::<f64>() / ideal } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: u64 = 24 * 3_600 * 1_000_000;
    const START_US: u64 = 20_000 * DAY_US;

    fn skus(names: &[&str]) -> Vec<Sku> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn purchase(customer: &str, day: u64, names: &[&str]) -> Purchase {
        let customer = customer.parse().unwrap();
        Purchase { customer, time_us: START_US + day * DAY_US, skus: skus(names) }
    }

    #[test]
    fn a_foretelling_is_scored_as_the_field_does() {
        let ranked = skus(&["a", "b", "c", "d"]);
        let log2 = |number: f64| 1.0 / number.log2();
        let table: [(&[&str], f64, f64, f64); 4] = [
            (&["a"], 1.0, 1.0, 1.0),
            (&["x"], 0.0, 0.0, 0.0),
            (&["b", "x"], 1.0, 0.5, log2(3.0) / (log2(2.0) + log2(3.0))),
            (&["a", "b", "c", "d"], 1.0, 1.0, 1.0),
        ];
        for (basket, hit_rate, recall, ndcg) in table {
            let found = foretold(ranked.iter().copied(), &skus(basket).into_iter().collect());
            assert_eq!((found.hit_rate, found.recall), (hit_rate, recall), "{basket:?}");
            assert!((found.ndcg - ndcg).abs() < 1e-12, "{basket:?}: {found:?}");
        }
    }

    #[test]
    fn baskets_are_the_first_of_known_customers_in_the_last_stretch() {
        let names: Vec<String> = (0..BASKETS_MIN).map(|number| format!("customer-{number:02}")).collect();
        let days = 0..10;
        let teas = days.flat_map(|day| names.iter().map(move |name| purchase(name, day, &["tea"])));
        let mut purchases: Vec<Purchase> = teas.collect();
        purchases.extend(names.iter().map(|name| purchase(name, 95, &["cup"])));
        purchases.extend(names.iter().map(|name| purchase(name, 100, &["pot"])));
        purchases.push(purchase("nobody-knew-her", 100, &["pot"]));
        let (counters, cutoff_us, baskets) = split(&purchases).unwrap();
        assert_eq!(cutoff_us, START_US + 93 * DAY_US);
        assert_eq!(counters.counted().purchases as usize, 10 * BASKETS_MIN);
        assert_eq!(baskets.len(), BASKETS_MIN);
        let cup: HashSet<Sku> = skus(&["cup"]).into_iter().collect();
        assert!(baskets.iter().all(|basket| basket.skus == cup));
        // One customer fewer has bought before.
        purchases
            .retain(|found| found.customer != "customer-00".parse().unwrap() || found.time_us > cutoff_us);
        let few = split(&purchases).err().unwrap();
        assert!(few.contains("found 19 among 231 orders"), "{few}");
        assert!(split(&[]).is_err());
    }
}
