//! `TrainModel`: counts anew what the log still has, up to a held-out stretch at its end, learns a model of that, and
//! looks how well several mixes, and the best of them with the model, foretell what customers bought there. Half of the
//! customers choose, the other half measure; what is chosen is published if it foretells better than what ranks now and
//! than plain history, and that not by chance alone.
//!
//! What is published is what was measured: it was learned without the held-out stretch. The counters, which go on
//! as they are, have that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use onrush_engine::SubscribeError;
use onrush_grpc::recommendation::v1 as wire;
use onrush_proto::{CustomerId, Lsn, ShardId};
use onrush_scoring::evaluation::Hits;
use onrush_scoring::model::{Kept, Model as Network};
use onrush_scoring::training::TrainError;

use super::held_out::{Basket, Field, HeldOut};
use super::knowledge::Knowledge;
use super::learner::{Candidate, Learner};
use super::learning;
use super::mix::Mix;
use super::ml::Ml;
use super::operation::{Ended, Operation};
use super::preferences::Preferences;
use super::purchase::{Lesson, Purchase};
use super::window::Window;
use crate::backend::Backend;
use crate::clock::now_us;
use crate::priority::yield_to_orders;
use crate::records;

/// How often it is looked whether somebody called it off.
const PATIENCE: Duration = Duration::from_millis(100);
/// Records read at once.
const BATCH_RECORDS: usize = 1_024;
/// Orders looked at, the newest.
const PURCHASES_MAX: usize = 1_000_000;
/// How far it is, in percent, when orders are read, when a model is learned, and when mixes are tried.
const READ: u32 = 20;
const LEARNED: u32 = 80;
const TRIED: u32 = 95;

/// By how many standard errors something has to be better. A model as good as another one looks better by one once in six
/// trainings, by two once in forty-four.
const ERRORS_MIN: f64 = 2.0;

/// Why nothing came of it.
pub(super) enum Unfinished {
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
            Ended { state, detail, model_version: learner.version(), ..Ended::default() }
        }
    };
    operation.end(ended);
}

fn train(learner: &Arc<Learner>, operation: &Operation, measure_only: bool) -> Result<Ended, Unfinished> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let mut purchases = runtime.block_on(collect(&learner.backend, operation))?;
    purchases.sort_by_key(|purchase| purchase.time_us);
    let barred = runtime.block_on(barred(&learner.backend, &purchases, operation))?;
    drop(runtime);
    let listings = learner.look(|knowledge| knowledge.counters.listings().collect::<Vec<_>>());
    let HeldOut { past, counters, cutoff_us, baskets } =
        HeldOut::of(&purchases, &listings, &barred).map_err(Unfinished::Failed)?;
    let kept = learn(past, &counters, &barred, operation)?;
    let network = kept.clone().map(Network::of).transpose().map_err(|error| failed(&error))?.map(Arc::new);
    let mut field = Field::new(counters, cutoff_us);
    // One half chooses, the other one measures.
    let half = |which: usize| baskets.iter().skip(which).step_by(2).collect::<Vec<_>>();
    let (chooses, measures) = (half(0), half(1));
    let ranks =
        |knowledge: &Knowledge| (knowledge.mix, knowledge.network().cloned(), knowledge.named().clone());
    let (running, ranks, named) = learner.look(ranks);
    let choice = choose(&mut field, &running, network.as_ref(), &chooses, operation)?;
    let mut measure = |mix: Mix, network: Option<&Arc<Network>>, named: &Arc<Ml>| {
        field.put(mix, network.cloned(), named.clone());
        field.score(&measures, operation)
    };
    let nothing = Arc::default();
    let now = measure(running, ranks.as_ref(), &named)?;
    let new = measure(choice.mix, network.as_ref().filter(|_| choice.by_model), &nothing)?;
    let (popularity, history) = (measure(POPULARITY, None, &nothing)?, measure(HISTORY, None, &nothing)?);
    let above = [&now, &history].map(|other| errors_above(&new, other));
    let detail = choice.told(kept.as_ref(), chooses.len(), above);
    let is_better = above.into_iter().all(|errors| errors > ERRORS_MIN);
    if operation.is_cancelled() {
        return Err(Unfinished::Cancelled);
    }
    let (state, model_version) = match is_better && !measure_only {
        true => {
            let candidate = Candidate { mix: choice.mix, network: kept.filter(|_| choice.by_model) };
            let published = learner.publish(candidate, now_us()).map_err(|error| failed(&error))?;
            (wire::OperationState::Published, published)
        }
        false => (wire::OperationState::Kept, learner.version()),
    };
    let metrics = metrics([now, new, popularity, history].map(|found| Hits::mean(&found)));
    Ok(Ended { state, detail, baskets: measures.len() as u64, metrics, model_version })
}

fn failed(error: &dyn std::error::Error) -> Unfinished {
    Unfinished::Failed(error.to_string())
}

/// How far NDCG of one is above that of another, in standard errors of the differences between baskets; 0 if it is not
/// above.
fn errors_above(one: &[Hits], other: &[Hits]) -> f64 {
    let differences: Vec<f64> = one.iter().zip(other).map(|(one, other)| one.ndcg - other.ndcg).collect();
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let squares: f64 = differences.iter().map(|one| (one - mean) * (one - mean)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    // Of less than two there is no error.
    if error.is_finite() && mean > 0.0 { mean / error } else { 0.0 }
}

/// A model of the past; `None` if there is too little of it.
fn learn(
    past: &[Purchase],
    counters: &super::counters::Counters,
    barred: &HashSet<CustomerId>,
    operation: &Operation,
) -> Result<Option<Kept>, Unfinished> {
    let learned = learning::learn(past, counters, barred, &|done| {
        operation.reach(READ + (done * (LEARNED - READ) as f32) as u32);
        !operation.is_cancelled()
    });
    match learned {
        Ok(kept) => Ok(Some(kept)),
        Err(TrainError::Cancelled) => Err(Unfinished::Cancelled),
        Err(TrainError::TooLittle { .. }) => Ok(None),
        Err(error @ TrainError::Factors(_)) => Err(failed(&error)),
    }
}

/// What is bought most, whoever asks: what everything has to beat.
const POPULARITY: Mix = Mix { history: 0.0, trend: 1.0, window: Window::Month, together: 0.0 };
/// What the customer bought before, and nothing else.
const HISTORY: Mix = Mix { history: 1.0, trend: 0.0, window: Window::Month, together: 0.0 };

/// What foretells best.
struct Choice {
    mix: Mix,
    /// True if that is the mix with the model.
    by_model: bool,
}

impl Choice {
    /// For people.
    fn told(&self, model: Option<&Kept>, chosen_by: usize, [now, history]: [f64; 2]) -> String {
        let model = match (model, self.by_model) {
            (None, _) => "without a model, for which there is too little".to_owned(),
            (Some(_), false) => "without the model that was learned, which foretells worse".to_owned(),
            (Some(kept), true) => format!("with {}", learning::told(&kept.origin)),
        };
        format!(
            "{}, {model}; chosen by {chosen_by} baskets; better than what ranks by {now:.1} standard errors, than plain \
             history by {history:.1}, of which it has to be more than {ERRORS_MIN:.0}",
            self.mix
        )
    }
}

/// Tries mixes, and the best of them with the model.
fn choose(
    field: &mut Field,
    running: &Mix,
    network: Option<&Arc<Network>>,
    baskets: &[&Basket],
    operation: &Operation,
) -> Result<Choice, Unfinished> {
    let mixes = candidates(running);
    let mut best = (f64::NEG_INFINITY, *running);
    for (mix, tried) in mixes.iter().zip(1u32..) {
        field.put(*mix, None, Arc::default());
        let ndcg = Hits::mean(&field.score(baskets, operation)?).ndcg;
        if ndcg > best.0 {
            best = (ndcg, *mix);
        }
        operation.reach(LEARNED + (TRIED - LEARNED) * tried / mixes.len() as u32);
    }
    let (ndcg, mix) = best;
    let by_model = match network {
        Some(network) => {
            field.put(mix, Some(network.clone()), Arc::default());
            Hits::mean(&field.score(baskets, operation)?).ndcg > ndcg
        }
        None => false,
    };
    Ok(Choice { mix, by_model })
}

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

fn metrics([running, candidate, popularity, history]: [Hits; 4]) -> Vec<wire::Metric> {
    let metric = |name: &str, of: fn(&Hits) -> f64| wire::Metric {
        name: name.into(),
        running: of(&running),
        candidate: of(&candidate),
        popularity: of(&popularity),
        history: of(&history),
    };
    vec![
        metric("ndcg_10", |hits| hits.ndcg),
        metric("recall_10", |hits| hits.recall),
        metric("hit_rate_10", |hits| hits.hit_rate),
    ]
}

/// Customers whose history may not be looked at.
async fn barred(
    backend: &Backend,
    purchases: &[Purchase],
    operation: &Operation,
) -> Result<HashSet<CustomerId>, Unfinished> {
    let mut opted_out: HashMap<CustomerId, bool> = HashMap::new();
    for purchase in purchases {
        if opted_out.contains_key(&purchase.customer) {
            continue;
        }
        if operation.is_cancelled() {
            return Err(Unfinished::Cancelled);
        }
        let found = Preferences::of(backend, &purchase.customer).await;
        let found = found.map_err(|error| failed(&error))?;
        opted_out.insert(purchase.customer, found.value.opted_out);
    }
    Ok(opted_out.into_iter().filter(|(_, is_out)| *is_out).map(|(customer, _)| customer).collect())
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
        operation.reach(READ * (u32::from(shard.0) + 1) / ends.len().max(1) as u32);
    }
    Ok(purchases)
}

/// Lets the older half go.
fn keep_newest(purchases: &mut Vec<Purchase>) {
    let half = purchases.len() / 2;
    purchases.select_nth_unstable_by_key(half, |purchase| purchase.time_us);
    purchases.drain(..half);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ndcg: &[f64]) -> Vec<Hits> {
        ndcg.iter().map(|ndcg| Hits { ndcg: *ndcg, ..Hits::default() }).collect()
    }

    fn is_better(one: &[f64], other: &[f64]) -> bool {
        errors_above(&of(one), &of(other)) > ERRORS_MIN
    }

    #[test]
    fn what_is_better_by_chance_alone_is_not() {
        for (one, other, expected) in [
            (&[][..], &[][..], false),
            (&[0.9], &[0.5], false),
            (&[0.5, 0.5], &[0.5, 0.5], false),
            (&[0.6, 0.6], &[0.5, 0.5], true),
            (&[0.5, 0.5], &[0.6, 0.6], false),
            // Better on the whole, and as often worse.
            (&[1.0, 0.0, 0.0, 0.0], &[0.0, 0.3, 0.3, 0.3], false),
            // By one standard error and a half.
            (&[0.9, 0.6, 0.7, 0.4], &[0.5, 0.5, 0.5, 0.5], false),
            (&[0.9, 0.6, 0.8, 0.6], &[0.5, 0.5, 0.5, 0.5], true),
            (&[f64::NAN, 0.6], &[0.5, 0.5], false),
        ] {
            assert_eq!(is_better(one, other), expected, "{one:?} {other:?}");
        }
    }

    /// Two models that foretell each basket well or badly by chance alone are equal, whatever one training measures.
    #[test]
    fn of_equal_models_none_is_published_but_by_rare_chance_and_a_better_one_is() {
        const TRAININGS: usize = 2_000;
        let mut random = fastrand::Rng::with_seed(21);
        let mut published = |lift: f64| -> usize {
            let mut draw = |lift: f64| -> Vec<f64> {
                // A third of all baskets are foretold in part.
                let one = |_| if random.f64() < 0.33 { random.f64() + lift } else { 0.0 };
                (0..200).map(one).collect()
            };
            let is_better = |_: &usize| {
                let (new, now, history) = (draw(lift), draw(0.0), draw(0.0));
                is_better(&new, &now) && is_better(&new, &history)
            };
            (0..TRAININGS).filter(is_better).count()
        };
        let (equal, better) = (published(0.0), published(0.6));
        assert!(equal < TRAININGS / 50, "{equal} of {TRAININGS}");
        assert!(better > TRAININGS * 9 / 10, "{better} of {TRAININGS}");
        // What foretells the same of each basket is never better.
        let same: Vec<f64> = (0..200).map(|at| f64::from(at) / 200.0).collect();
        assert!(!is_better(&same, &same));
    }
}
