//! What answers are made of: the counters, how parts of a ranking weigh, and the model that was learned last. While nothing
//! was published, a network that `ML_MODEL_PATH` names puts next baskets in order, without factors and neighbours.

use std::cell::RefCell;
use std::sync::{Arc, Once};

use onrush_proto::CustomerId;
use onrush_scoring::candidates::{Moment, Task};
use onrush_scoring::counters::User;
use onrush_scoring::features::Features;
use onrush_scoring::mlp::Mlp;
use onrush_scoring::model::{Desk, Model};
use onrush_scoring::profile::{Whom, day};
use onrush_scoring::scan::QUERIES_MAX;
use onrush_scoring::similar::Similar;

use super::counters::Counters;
use super::mix::Mix;
use super::ml::Ml;
use super::outlook::{Outlook, Sight, Stamp};
use super::profiles::Whose;
use crate::model::onnx::Ranker;

/// Products that are foretold of a customer.
const FORETOLD_MAX: usize = 300;
/// How likely the last of them is told to be at least, and how much more the first: scores may lie so far apart that
/// nothing else would keep their order.
const LIKELY_MIN: f64 = 0.002;
const LIKELY_BY_RANK: f64 = 0.008;

thread_local! {
    /// What ranking needs, kept between answers.
    static DESK: RefCell<Desk> = RefCell::default();
    /// What looking for similar products needs.
    static SIMILAR: RefCell<Similar> = RefCell::default();
}

/// All that is known.
pub(super) struct Knowledge {
    pub(super) counters: Counters,
    pub(super) mix: Mix,
    network: Option<Arc<Model>>,
    named: Arc<Ml>,
    outlook: Option<Outlook>,
}

/// Of whom something may be foretold, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sought {
    pub(super) customer: CustomerId,
    pub(super) task: Task,
    pub(super) now_us: u64,
}

/// What is looked at for that.
struct Known<'a> {
    outlook: &'a Outlook,
    user: &'a User,
    whose: Whose,
}

/// What scores candidates.
enum Scorer<'a> {
    Learned(&'a Mlp),
    Named(&'a Ranker),
}

impl Knowledge {
    pub(super) fn new(counters: Counters, mix: Mix, network: Option<Arc<Model>>, named: Arc<Ml>) -> Self {
        Self { counters, mix, network, named, outlook: None }
    }

    /// The model, if one was published.
    pub(super) fn network(&self) -> Option<&Arc<Model>> {
        self.network.as_ref()
    }

    /// The network that is named, as long as it may rank.
    pub(super) fn named(&self) -> &Arc<Ml> {
        &self.named
    }

    /// Puts a mix to use, and a model or none; a network that is named ranks without one. The last model is for the
    /// caller to drop, who may hold a lock.
    #[must_use]
    pub(super) fn put(
        &mut self,
        mix: Mix,
        network: Option<Arc<Model>>,
        named: Arc<Ml>,
    ) -> Option<Arc<Model>> {
        (self.mix, self.named) = (mix, named);
        std::mem::replace(&mut self.network, network)
    }

    /// What ranks for a task.
    fn scorer(&self, task: Task) -> Option<Scorer<'_>> {
        match (&self.network, task) {
            (Some(model), _) => Some(Scorer::Learned(model.rankers.of(task))),
            (None, Task::NextBasket) => self.named.ranker().map(Scorer::Named),
            (None, Task::Discovery) => None,
        }
    }

    /// Begins to look at the counters as of a time; `None` if neither a model nor a network ranks.
    pub(super) fn sight(&self, now_us: u64) -> Option<Sight> {
        self.scorer(Task::NextBasket)?;
        Some(self.sight_of(self.network.clone(), now_us))
    }

    /// The same for a model that may be put to use.
    pub(super) fn sight_of(&self, network: Option<Arc<Model>>, now_us: u64) -> Sight {
        Sight::begin(&self.counters, network, self.outlook.as_ref(), seconds(now_us))
    }

    /// All of it at once, where nobody waits.
    pub(super) fn outlook(&self, now_us: u64) -> Option<Outlook> {
        self.all_of(self.sight(now_us)?)
    }

    fn all_of(&self, mut sight: Sight) -> Option<Outlook> {
        sight.settle();
        while sight.go_on(&self.counters) {
            sight.settle();
        }
        sight.outlook()
    }

    /// Goes by an outlook. One that is late stays out: products have moved since, or the model is another one. What is
    /// of no use any more is for the caller to drop, who may hold a lock.
    #[must_use]
    pub(super) fn take(&mut self, outlook: Option<Outlook>) -> Option<Outlook> {
        match outlook {
            Some(late) if late.stamp != self.stamp() => Some(late),
            next => std::mem::replace(&mut self.outlook, next),
        }
    }

    /// What a customer is likely to buy, the likeliest first: `tell` hears the place of each product, and how likely it
    /// is against the first, in 0..=1. Nothing without a model, or of who bought nothing.
    pub(super) fn foretell(&self, sought: &Sought, mut tell: impl FnMut(u32, f64)) {
        let Sought { task, now_us, .. } = *sought;
        let (Some(known), Some(scorer)) = (self.known(sought), self.scorer(task)) else { return };
        let Known { outlook: Outlook { base, chart, profiles, .. }, user, whose } = known;
        let counters = &self.counters.counted().scoring;
        let moment = Moment { counters, base, chart, now_s: seconds(now_us) };
        DESK.with_borrow_mut(|desk| {
            if !profiles.find(whose, &mut desk.profile) {
                desk.look(task, user, &moment);
                profiles.keep(whose, &desk.profile);
            }
            let score = |features: &[Features], scores: &mut Vec<f32>| scorer.score(features, scores);
            desk.rank_by_profile(task, user, &moment, FORETOLD_MAX, score);
            let first = desk.ranked.first().map_or(0.0, |(score, _)| *score);
            for ((score, place), rank) in desk.ranked.iter().zip(0u32..) {
                let by_rank = LIKELY_MIN + LIKELY_BY_RANK * (1.0 - f64::from(rank) / FORETOLD_MAX as f64);
                // Scores are logarithms of odds within a list.
                let odds = f64::from(score - first).exp();
                tell(*place, by_rank + (1.0 - LIKELY_MIN - LIKELY_BY_RANK) * odds);
            }
        });
    }

    /// What is looked at for a customer; `None` without an outlook, or if they bought nothing.
    fn known(&self, sought: &Sought) -> Option<Known<'_>> {
        let Sought { customer, task, now_us } = *sought;
        let stamp = self.stamp();
        let outlook = self.outlook.as_ref().filter(|outlook| outlook.stamp == stamp)?;
        let (seat, user) = self.counters.seat_of(&customer)?;
        Some(Known { outlook, user, whose: Whose { seat, task, day: day(seconds(now_us)) } })
    }

    /// True if the catalogue has to be looked through for a customer.
    pub(super) fn lacks(&self, sought: &Sought) -> bool {
        let known = self.scorer(sought.task).and_then(|_| self.known(sought));
        known.is_some_and(|Known { outlook, whose, .. }| !outlook.profiles.has(whose))
    }

    /// Looks through the catalogue once for some customers, as many as a pass takes at most, and keeps their profiles.
    pub(super) fn look_together(&self, some: &[Sought]) {
        let known: [Option<Known<'_>>; QUERIES_MAX] =
            std::array::from_fn(|at| some.get(at).and_then(|sought| self.known(sought)));
        let Some(Known { outlook, user, .. }) = known.iter().flatten().next() else { return };
        let nobody = Whom { user, task: Task::NextBasket, now_s: 0 };
        let (mut whom, mut count) = ([nobody; QUERIES_MAX], 0);
        for (Sought { task, now_us, .. }, known) in some.iter().zip(&known) {
            let Some(Known { user, .. }) = known else { continue };
            whom[count] = Whom { user, task: *task, now_s: seconds(*now_us) };
            count += 1;
        }
        DESK.with_borrow_mut(|desk| {
            let profiles = desk.look_together(&whom[..count], &outlook.base);
            for (Known { whose, .. }, profile) in known.iter().flatten().zip(profiles) {
                outlook.profiles.keep(*whose, profile);
            }
        });
    }

    /// What is like a product by the model, by its place and at most so many: what the same customers buy, the nearest
    /// first, and what has a factor like its own. `tell` hears the place of each. Nothing without a model.
    pub(super) fn similar(&self, place: u32, most: usize, tell: impl FnMut(u32)) {
        let (outlook, stamp) = (self.outlook.as_ref(), self.stamp());
        let Some(outlook) = outlook.filter(|outlook| outlook.stamp == stamp) else { return };
        SIMILAR.with_borrow_mut(|similar| {
            similar.look(&outlook.base, place, most);
            similar.found.iter().map(|(_, place)| *place).for_each(tell);
        });
    }

    fn stamp(&self) -> Stamp {
        Stamp::of(&self.counters, self.network.as_deref())
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

#[cfg(test)]
pub(super) mod tests {
    use onrush_scoring::base::{Learned, Relations};
    use onrush_scoring::factors::Sparse;
    use onrush_scoring::mlp::MlpOptions;
    use onrush_scoring::model::{Kept, Origin, Rankers};
    use onrush_scoring::neighbours::Neighbours;

    use super::*;
    use crate::recommendation::counters::Bounds;
    use crate::recommendation::purchase::{Lesson, Purchase};

    const NOW_US: u64 = 1_700_000_000_000_000;
    const SKUS: [&str; 3] = ["tea", "cup", "pot"];

    pub(in crate::recommendation) fn counters() -> Counters {
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        let lines = SKUS.map(|sku| (sku.parse().unwrap(), 499)).to_vec();
        let customer = "ada".parse().unwrap();
        counters.learn(&Lesson::Bought(Purchase { customer, time_us: NOW_US, lines }));
        counters
    }

    fn model(version: u64) -> Arc<Model> {
        Arc::new(Model::of(kept(version)).unwrap())
    }

    /// A model that has learned nothing, and knows a product that is not there.
    pub(in crate::recommendation) fn kept(version: u64) -> Kept {
        let names = ["cup", "gone", "tea", "pot"].map(str::to_owned).to_vec();
        let neighbours = Neighbours::learn(&Sparse::new(), 4, &|_| true).unwrap();
        let mlp = || Mlp::learn(&[], MlpOptions::default(), &|_| true).unwrap();
        Kept {
            listings: counters()
                .counted()
                .scoring
                .products
                .iter()
                .map(|known| known.listing)
                .cycle()
                .take(4)
                .collect(),
            names,
            learned: Learned {
                factors: vec![[0.1; 64]; 4],
                relations: Relations { neighbours, regularization: 1.0, confidence: 1.0 },
            },
            rankers: Rankers { next_basket: mlp(), discovery: mlp() },
            origin: Origin { version, ..Origin::default() },
        }
    }

    fn told(knowledge: &Knowledge) -> Vec<f64> {
        let mut told = Vec::new();
        let ada = Sought { customer: "ada".parse().unwrap(), task: Task::NextBasket, now_us: NOW_US };
        knowledge.foretell(&ada, |_, likely| told.push(likely));
        told
    }

    /// A board that was begun before a model was published took the model's outlook away when it was ready: nothing
    /// was foretold for up to a minute.
    #[test]
    fn an_outlook_that_is_late_takes_nothing_away() {
        let mut knowledge = Knowledge::new(counters(), Mix::default(), Some(model(1)), Arc::default());
        assert!(told(&knowledge).is_empty(), "there is no outlook yet");
        let early = knowledge.outlook(NOW_US);
        let next = model(2);
        let outlook = knowledge.all_of(knowledge.sight_of(Some(next.clone()), NOW_US)).unwrap();
        assert!(knowledge.put(Mix::default(), Some(next), Arc::default()).is_some());
        assert!(knowledge.take(Some(outlook)).is_none());
        assert_eq!(told(&knowledge).len(), SKUS.len());
        assert!(knowledge.take(early).is_some(), "it goes back");
        assert_eq!(told(&knowledge).len(), SKUS.len());
        // Products that stand elsewhere are not those that the outlook names.
        let others = Counters::new(Bounds::RECOMMENDED);
        let old = std::mem::replace(&mut knowledge.counters, others);
        knowledge.counters = counters().instead_of(&old);
        assert!(told(&knowledge).is_empty());
        assert!(knowledge.take(None).is_some());
    }

    /// Scores that lay far apart were all told as 0, and what nobody foretold stood above them.
    #[test]
    fn what_is_foretold_keeps_its_order_however_far_scores_lie_apart() {
        let mut knowledge = Knowledge::new(counters(), Mix::default(), Some(model(1)), Arc::default());
        let outlook = knowledge.outlook(NOW_US);
        drop(knowledge.take(outlook));
        let told = told(&knowledge);
        assert!(told.is_sorted_by(|above, below| above > below), "{told:?}");
        assert!(told.iter().all(|likely| (LIKELY_MIN..=1.0).contains(likely)), "{told:?}");
    }
}
