//! Learns a model of sales: the base of what was bought up to some weeks before the end, the re-rankers of
//! what was bought in these weeks, and then the base anew, of everything. A log of less than eight weeks is looked at
//! in eighths in place of weeks. No example has its answer in the
//! base that its numbers come from.

use std::collections::BTreeSet;

use crate::base::{Base, Learned};
use crate::candidates::{Chart, Gathered, Moment, Task};
use crate::counters::{Counters, Listing};
use crate::decayed::DAY_S;
use crate::evaluation::truth;
use crate::factors::{AlsOptions, GoOn};
use crate::mlp::{Example, Mlp, MlpOptions};
use crate::model::Rankers;
use crate::profile::{Look, Profile, Whom};
use crate::sales::Sales;
use crate::scan::{MatrixError, QUERIES_MAX};

/// A step of a log that is long enough, and the least of one that is not.
const WEEK_S: i64 = 7 * DAY_S;
/// Steps of a log that is long enough: examples are made of the last ones, of what was learned of the first ones.
const STEPS: i64 = 8;
/// How far discovery looks ahead: what is bought for the first time within four steps.
const AHEAD_STEPS: i64 = 4;
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
    /// Steps of which examples are made of next baskets, the last ones.
    pub basket_steps: i64,
    /// Steps of which examples are made of discoveries, the last ones that lie four steps back.
    pub discovery_steps: i64,
    /// Candidates of an example that were not bought, on average.
    pub others: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            als: AlsOptions::default(),
            mlp: MlpOptions::default(),
            basket_steps: 5,
            discovery_steps: 2,
            others: 60,
        }
    }
}

/// Why nothing was learned.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TrainError {
    /// It was called off.
    #[error("it was called off")]
    Cancelled,
    /// There is too little to learn from.
    #[error(
        "expected at least {EXAMPLES_MIN} customers and weeks (or, of less than eight weeks, eighths) with something to \
         foretell, found {baskets} of next baskets and {discoveries} of discoveries"
    )]
    TooLittle {
        /// Lists of next baskets.
        baskets: usize,
        /// Lists of discoveries.
        discoveries: usize,
    },
    /// What was learned are no numbers to go on with.
    #[error("what was learned: {0}")]
    Factors(#[from] MatrixError),
}

/// What was learned, and of how much.
pub struct Trained {
    /// Of all users at once.
    pub learned: Learned,
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
    let steps = options.basket_steps.max(options.discovery_steps + AHEAD_STEPS - 1);
    let begin_s = end_s - steps * step_s(sales);
    let mut counters = sales.counted(listings, begin_s);
    let early = Learned::learn(&counters, begin_s, options.als, &part(0.0, 0.25));
    let early = Base::of(early.ok_or(TrainError::Cancelled)?)?;
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
    let learned = Learned::learn(&counters, end_s, options.als, &part(0.75, 0.25));
    Ok(Trained { learned: learned.ok_or(TrainError::Cancelled)?, rankers, examples: found })
}

/// How long a step is: a week, or an eighth of a log that has less than eight of them; at least a day.
fn step_s(sales: &Sales) -> i64 {
    ((sales.last_s() - sales.first_s()) / STEPS).clamp(DAY_S, WEEK_S)
}

/// Goes through some steps, counts them, and makes examples at the beginning of each.
fn collect(
    sales: &Sales,
    counters: &mut Counters,
    base: &Base,
    options: TrainOptions,
    steps: std::ops::Range<i64>,
    go_on: GoOn<'_>,
) -> Option<Examples> {
    let mut examples = Examples::default();
    let mut gathered = Gathered::default();
    let mut look = Look::default();
    let mut profiles: [Profile; QUERIES_MAX] = std::array::from_fn(|_| Profile::default());
    let mut random = fastrand::Rng::with_seed(options.mlp.seed);
    let step_s = step_s(sales);
    let mut now_s = steps.start;
    while now_s < steps.end {
        let left = (steps.end - now_s) / step_s;
        let chart = Chart::of(counters, base, now_s);
        let moment = Moment { counters, base, chart: &chart, now_s };
        let mut add = |task: Task, steps: i64, examples: &mut Vec<Example>| {
            let truth = truth(task, counters, sales, now_s, now_s + AHEAD_STEPS * step_s);
            // Of a large shop some of the users say enough.
            let share = EXAMPLES_MAX as f32 / (truth.len() * steps as usize).max(1) as f32;
            // Of these one is drawn after the other; else the catalogue is looked through for several at once.
            let at_once = if share < 1.0 { 1 } else { QUERIES_MAX };
            for some in truth.chunks(at_once) {
                if share < 1.0 && random.f32() > share {
                    continue;
                }
                let whom = |at: usize| Whom { user: &counters.users[some[at].0 as usize], task, now_s };
                let whom: [Whom<'_>; QUERIES_MAX] = std::array::from_fn(|at| whom(at.min(some.len() - 1)));
                let whom = &whom[..some.len()];
                look.together(base, whom, &mut profiles);
                for ((Whom { user, .. }, profile), (_, bought)) in whom.iter().zip(&profiles).zip(some) {
                    gathered.gather(task, user, profile, &moment);
                    examples.extend(example(&gathered, bought, options.others, &mut random));
                }
            }
        };
        if left <= options.basket_steps {
            add(Task::NextBasket, options.basket_steps, &mut examples.baskets);
        }
        if (AHEAD_STEPS..AHEAD_STEPS + options.discovery_steps).contains(&left) {
            add(Task::Discovery, options.discovery_steps, &mut examples.discoveries);
        }
        now_s += step_s;
        let step = sales.baskets_from(now_s - step_s).take_while(|basket| basket.time_s < now_s);
        step.for_each(|basket| counters.count(&basket));
        if !go_on(1.0 - (steps.end - now_s).max(0) as f32 / (steps.end - steps.start) as f32) {
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
