//! What answers are made of: the counters, how parts of a ranking weigh, and the model that was learned last. While none
//! was published, a network that `ML_MODEL_PATH` names puts next baskets in order, without factors and neighbours.

use std::cell::RefCell;
use std::sync::{Arc, Once};

use onrush_proto::{CustomerId, Sku};
use onrush_scoring::base::Base;
use onrush_scoring::candidates::{Chart, Moment, Task};
use onrush_scoring::features::Features;
use onrush_scoring::mlp::Mlp;
use onrush_scoring::model::{Desk, Model};

use super::counters::Counters;
use super::mix::Mix;
use super::ml::Ml;
use crate::model::onnx::Ranker;

/// Products that are foretold of a customer.
const FORETOLD_MAX: usize = 300;

thread_local! {
    /// What ranking needs, kept between answers.
    static DESK: RefCell<Desk> = RefCell::default();
}

/// All that is known.
pub(super) struct Knowledge {
    pub(super) counters: Counters,
    pub(super) mix: Mix,
    network: Option<Model>,
    named: Arc<Ml>,
    outlook: Option<Outlook>,
}

/// What scores candidates.
enum Scorer<'a> {
    Learned(&'a Mlp),
    Named(&'a Ranker),
}

/// Of which counters and of which model something was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    /// Places of products.
    generation: u64,
    /// The model.
    version: u64,
}

/// The model's view of the counters: where its products are among them, and what sells now. It is made now and then,
/// as the charts of everybody are.
pub(super) struct Outlook {
    stamp: Stamp,
    /// Products there were.
    products: usize,
    base: Base,
    chart: Chart,
}

impl Knowledge {
    pub(super) fn new(counters: Counters, mix: Mix, network: Option<Model>, named: Arc<Ml>) -> Self {
        Self { counters, mix, network, named, outlook: None }
    }

    /// The model, if one was published.
    pub(super) fn network(&self) -> Option<&Model> {
        self.network.as_ref()
    }

    /// Puts a mix to use, and a model or none; a network that is named ranks without one.
    pub(super) fn put(&mut self, mix: Mix, network: Option<Model>, named: Arc<Ml>) {
        (self.mix, self.network, self.named) = (mix, network, named);
    }

    /// What ranks for a task.
    fn scorer(&self, task: Task) -> Option<Scorer<'_>> {
        match (&self.network, task) {
            (Some(model), _) => Some(Scorer::Learned(model.rankers.of(task))),
            (None, Task::NextBasket) => self.named.ranker().map(Scorer::Named),
            (None, Task::Discovery) => None,
        }
    }

    /// Looks at the counters as of a time; `None` without a model.
    pub(super) fn outlook(&self, now_us: u64) -> Option<Outlook> {
        self.scorer(Task::NextBasket)?;
        let counters = &self.counters;
        let (stamp, products) = (self.stamp(), counters.counted().products.len());
        let same = self.outlook.as_ref().filter(|known| known.stamp == stamp && known.products == products);
        let base = match (same, &self.network) {
            (Some(known), _) => known.base.clone(),
            (None, None) => Base::nothing(),
            (None, Some(model)) => {
                let place = |name: &String| name.parse().ok().and_then(|sku: Sku| counters.place_of(&sku));
                let mut base = model.base.clone();
                base.place(&model.names.iter().map(place).collect::<Vec<_>>());
                base
            }
        };
        let chart = Chart::of(&counters.counted().scoring, &base, seconds(now_us));
        Some(Outlook { stamp, products, base, chart })
    }

    /// Goes by an outlook, unless products have moved or the model is another one since. What went by until now is for
    /// the caller to drop, who may hold a lock.
    #[must_use]
    pub(super) fn take(&mut self, outlook: Option<Outlook>) -> Option<Outlook> {
        let next = outlook.filter(|outlook| outlook.stamp == self.stamp());
        std::mem::replace(&mut self.outlook, next)
    }

    /// What a customer is likely to buy, the likeliest first: `tell` hears the place of each product, and how likely it
    /// is against the first, in 0..=1. Nothing without a model, or of who bought nothing.
    pub(super) fn foretell(
        &self,
        customer: &CustomerId,
        task: Task,
        now_us: u64,
        mut tell: impl FnMut(u32, f64),
    ) {
        let stamp = self.stamp();
        let outlook = self.outlook.as_ref().filter(|outlook| outlook.stamp == stamp);
        let (Some(outlook), Some(scorer)) = (outlook, self.scorer(task)) else { return };
        let Some(user) = self.counters.history(customer) else { return };
        let Outlook { base, chart, .. } = outlook;
        let counters = &self.counters.counted().scoring;
        let moment = Moment { counters, base, chart, now_s: seconds(now_us) };
        DESK.with_borrow_mut(|desk| {
            desk.rank(task, user, &moment, FORETOLD_MAX, |features, scores| scorer.score(features, scores));
            let first = desk.ranked.first().map_or(0.0, |(score, _)| *score);
            // Scores are logarithms of odds within a list.
            desk.ranked.iter().for_each(|(score, place)| tell(*place, f64::from((score - first).exp())));
        });
    }

    fn stamp(&self) -> Stamp {
        let version = self.network.as_ref().map_or(0, |model| model.origin.version);
        Stamp { generation: self.counters.generation(), version }
    }
}

impl Scorer<'_> {
    /// No scores, and so no ranking, if a network that was named makes no numbers of these.
    fn score(&self, features: &[Features], scores: &mut Vec<f32>) {
        match self {
            Self::Learned(mlp) => mlp.score(features, scores),
            Self::Named(ranker) => {
                if let Err(error) = ranker.score(features, scores) {
                    scores.clear();
                    tracing::debug!(%error, "history and trends rank instead");
                    static TOLD: Once = Once::new();
                    TOLD.call_once(|| {
                        tracing::warn!(%error, "the network of ML_MODEL_PATH failed: history and trends rank instead");
                    });
                }
            }
        }
    }
}

fn seconds(time_us: u64) -> i64 {
    (time_us / 1_000_000) as i64
}
