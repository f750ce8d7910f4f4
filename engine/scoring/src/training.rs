//! Learns a model of sales: the base of what was bought up to some weeks before the end, the re-rankers of
//! what was bought in these weeks, and then the base anew, of everything. No example has its answer in the
//! base that its numbers come from.

use std::collections::BTreeSet;

use crate::base::Base;
use crate::candidates::{Chart, Gathered, Moment, Task};
use crate::counters::{Counters, Listing};
use crate::decayed::DAY_S;
use crate::evaluation::truth;
use crate::factors::{AlsOptions, GoOn};
use crate::mlp::{Example, Mlp, MlpOptions};
use crate::model::Rankers;
use crate::sales::Sales;

const WEEK_S: i64 = 7 * DAY_S;
/// How far discovery looks ahead: what is bought for the first time within four weeks.
const AHEAD_WEEKS: i64 = 4;
/// Lists that say anything, for each re-ranker.
pub const EXAMPLES_MIN: usize = 50;
/// Lists of each re-ranker, about: 300 MB at 100 candidates each.
const EXAMPLES_MAX: usize = 20_000;

/// How it learns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrainOptions {
    /// Factors.
    pub als: AlsOptions,
    /// The re-rankers.
    pub mlp: MlpOptions,
    /// Weeks of which examples are made of next baskets, the last ones.
    pub basket_weeks: i64,
    /// Weeks of which examples are made of discoveries, the last ones that lie four weeks back.
    pub discovery_weeks: i64,
    /// Candidates of an example that were not bought, on average.
    pub others: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            als: AlsOptions::default(),
            mlp: MlpOptions::default(),
            basket_weeks: 5,
            discovery_weeks: 2,
            others: 60,
        }
    }
}

/// Why nothing was learned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrainError {
    /// It was called off.
    #[error("it was called off")]
    Cancelled,
    /// There is too little to learn from.
    #[error(
        "expected at least {EXAMPLES_MIN} customers and weeks with something to foretell, found {baskets} of next \
         baskets and {discoveries} of discoveries"
    )]
    TooLittle {
        /// Lists of next baskets.
        baskets: usize,
        /// Lists of discoveries.
        discoveries: usize,
    },
}

/// What was learned, and of how much.
pub struct Trained {
    /// Of all users at once.
    pub base: Base,
    /// The re-rankers.
    pub rankers: Rankers,
    /// Lists that they learned from.
    pub examples: [usize; 2],
}

/// Lists to learn from, by task.
#[derive(Default)]
struct Examples {
    baskets: Vec<Example>,
    discoveries: Vec<Example>,
}

/// Learns of all sales. `go_on` hears how much is done, and decides whether it goes on.
pub fn train(
    sales: &Sales,
    listings: &[Listing],
    options: TrainOptions,
    go_on: GoOn<'_>,
) -> Result<Trained, TrainError> {
    // How much of the whole each part takes, as measured.
    let part = |from: f32, share: f32| move |done: f32| go_on(from + share * done);
    let end_s = sales.last_s() + 1;
    let weeks = options.basket_weeks.max(options.discovery_weeks + AHEAD_WEEKS - 1);
    let begin_s = end_s - weeks * WEEK_S;
    let mut counters = sales.counted(listings, begin_s);
    let early = Base::learn(&counters, begin_s, options.als, &part(0.0, 0.25));
    let early = early.ok_or(TrainError::Cancelled)?;
    let collected = collect(sales, &mut counters, &early, options, begin_s..end_s, &part(0.25, 0.2));
    let examples = collected.ok_or(TrainError::Cancelled)?;
    let found = [examples.baskets.len(), examples.discoveries.len()];
    if found.iter().any(|count| *count < EXAMPLES_MIN) {
        return Err(TrainError::TooLittle { baskets: found[0], discoveries: found[1] });
    }
    let ranker = |examples: &[Example], from| Mlp::learn(examples, options.mlp, &part(from, 0.15));
    let rankers = Rankers {
        next_basket: ranker(&examples.baskets, 0.45).ok_or(TrainError::Cancelled)?,
        discovery: ranker(&examples.discoveries, 0.6).ok_or(TrainError::Cancelled)?,
    };
    drop(examples);
    let base = Base::learn(&counters, end_s, options.als, &part(0.75, 0.25)).ok_or(TrainError::Cancelled)?;
    Ok(Trained { base, rankers, examples: found })
}

/// Goes through some weeks, counts them, and makes examples at the beginning of each.
fn collect(
    sales: &Sales,
    counters: &mut Counters,
    base: &Base,
    options: TrainOptions,
    weeks: std::ops::Range<i64>,
    go_on: GoOn<'_>,
) -> Option<Examples> {
    let mut examples = Examples::default();
    let mut gathered = Gathered::default();
    let mut random = fastrand::Rng::with_seed(options.mlp.seed);
    let mut now_s = weeks.start;
    while now_s < weeks.end {
        let left = (weeks.end - now_s) / WEEK_S;
        let chart = Chart::of(counters, base, now_s);
        let moment = Moment { counters, base, chart: &chart, now_s };
        let mut add = |task: Task, weeks: i64, examples: &mut Vec<Example>| {
            let truth = truth(task, counters, sales, now_s, now_s + AHEAD_WEEKS * WEEK_S);
            // Of a large shop some of the users say enough.
            let share = EXAMPLES_MAX as f32 / (truth.len() * weeks as usize).max(1) as f32;
            for (user, bought) in truth {
                if share < 1.0 && random.f32() > share {
                    continue;
                }
                gathered.gather(task, &counters.users[user as usize], &moment);
                examples.extend(example(&gathered, &bought, options.others, &mut random));
            }
        };
        if left <= options.basket_weeks {
            add(Task::NextBasket, options.basket_weeks, &mut examples.baskets);
        }
        if (AHEAD_WEEKS..AHEAD_WEEKS + options.discovery_weeks).contains(&left) {
            add(Task::Discovery, options.discovery_weeks, &mut examples.discoveries);
        }
        now_s += WEEK_S;
        let week = sales.baskets_from(now_s - WEEK_S).take_while(|basket| basket.time_s < now_s);
        week.for_each(|basket| counters.count(&basket));
        if !go_on(1.0 - (weeks.end - now_s).max(0) as f32 / (weeks.end - weeks.start) as f32) {
            return None;
        }
    }
    Some(examples)
}

/// A list of what was bought and of some that was not; `None` if nothing of what was bought came into question.
fn example(
    gathered: &Gathered,
    bought: &BTreeSet<u32>,
    others: usize,
    random: &mut fastrand::Rng,
) -> Option<Example> {
    let hits = gathered.products.iter().filter(|product| bought.contains(product)).count();
    let keep = others as f32 / (gathered.products.len() - hits).max(1) as f32;
    let mut example = Example::default();
    for (product, features) in gathered.products.iter().zip(&gathered.features) {
        let is_hit = bought.contains(product);
        if is_hit || random.f32() < keep {
            example.candidates.push(*features);
            example.targets.push(if is_hit { 1.0 / hits as f32 } else { 0.0 });
        }
    }
    (hits > 0).then_some(example)
}
