//! What answers are made of: the counters, how parts of a ranking weigh, and the model that was learned last.

use std::cell::RefCell;

use onrush_proto::{CustomerId, Sku};
use onrush_scoring::base::Base;
use onrush_scoring::candidates::{Chart, Moment, Task};
use onrush_scoring::model::{Desk, Model};

use super::counters::Counters;
use super::mix::Mix;

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
    outlook: Option<Outlook>,
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
    pub(super) fn new(counters: Counters, mix: Mix, network: Option<Model>) -> Self {
        Self { counters, mix, network, outlook: None }
    }

    /// The model, if one was learned.
    pub(super) fn network(&self) -> Option<&Model> {
        self.network.as_ref()
    }

    /// Puts another mix and another model to use, or none.
    pub(super) fn put(&mut self, mix: Mix, network: Option<Model>) {
        (self.mix, self.network) = (mix, network);
    }

    /// Looks at the counters as of a time; `None` without a model.
    pub(super) fn outlook(&self, now_us: u64) -> Option<Outlook> {
        let (model, counters) = (self.network.as_ref()?, &self.counters);
        let (stamp, products) = (self.stamp(), counters.counted().products.len());
        let same = self.outlook.as_ref().filter(|known| known.stamp == stamp && known.products == products);
        let base = match same {
            Some(known) => known.base.clone(),
            None => {
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
        let (Some(outlook), Some(model)) = (outlook, &self.network) else { return };
        let Some(user) = self.counters.history(customer) else { return };
        let Outlook { base, chart, .. } = outlook;
        let counters = &self.counters.counted().scoring;
        let moment = Moment { counters, base, chart, now_s: seconds(now_us) };
        DESK.with_borrow_mut(|desk| {
            desk.rank(task, user, &moment, FORETOLD_MAX, |features, scores| {
                model.rankers.of(task).score(features, scores);
            });
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

fn seconds(time_us: u64) -> i64 {
    (time_us / 1_000_000) as i64
}
