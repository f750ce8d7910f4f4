//! Which products come into question for a user, and what speaks for each.

use crate::base::{Base, weight};
use crate::counters::{Counters, Product, User};
use crate::decayed::DAY_S;
use crate::factors::Factor;
use crate::features::{Features, Hints, Person};
use crate::wide::{dot, widest};

/// What is foretold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// The next basket, with what was bought before.
    NextBasket,
    /// What is bought for the first time.
    Discovery,
}

/// How many candidates come from where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// From the user's own history.
    pub history: usize,
    /// From the trends.
    pub trends: usize,
    /// From what is near the history.
    pub near: usize,
    /// By the product of the factors.
    pub factors: usize,
    /// Products of the user whose neighbours are looked at, those that weigh most. 96 cost a tenth of discovery.
    pub near_of: usize,
}

impl Bounds {
    /// What each task looks at.
    pub fn of(task: Task) -> Self {
        match task {
            Task::NextBasket => Self { history: 300, trends: 60, near: 60, factors: 30, near_of: 256 },
            Task::Discovery => Self { history: 0, trends: 120, near: 150, factors: 80, near_of: usize::MAX },
        }
    }
}

/// How long ago what counts as bought lately was, at most.
const LATELY_S: i64 = 21 * DAY_S;
/// Products of a chart: the ones whose factors are looked through.
const CHARTED_MAX: usize = 3_000;

/// All that is known at a time.
pub struct Moment<'a> {
    /// What was counted.
    pub counters: &'a Counters,
    /// What was learned.
    pub base: &'a Base,
    /// What many bought of late.
    pub chart: &'a Chart,
    /// The time, in unix seconds.
    pub now_s: i64,
}

/// The products that are bought most, the most bought first, with their factors one behind the other.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chart {
    products: Vec<u32>,
    factors: Vec<Factor>,
}

impl Chart {
    /// Puts in order what many bought of late.
    pub fn of(counters: &Counters, base: &Base, now_s: i64) -> Self {
        let score = |product: &Product| product.trend(now_s) + 2.0 * product.rush(now_s);
        let mut scored: Vec<(f32, u32)> = counters.products.iter().map(score).zip(0..).collect();
        scored.retain(|(score, _)| *score > 0.0);
        scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.truncate(CHARTED_MAX);
        let products: Vec<u32> = scored.into_iter().map(|(_, product)| product).collect();
        let factors = products.iter().map(|product| *base.factor(*product)).collect();
        Self { products, factors }
    }
}

/// Candidates and their numbers; kept between users, so that nothing is taken anew.
#[derive(Default)]
pub struct Gathered {
    /// Numbers of the products.
    pub products: Vec<u32>,
    /// What speaks for each.
    pub features: Vec<Features>,
    /// How near each product is to what the user bought, all together and of late.
    near: Vec<[f32; 2]>,
    touched: Vec<u32>,
    taken: Vec<bool>,
    scored: Vec<(f32, u32)>,
    /// Of what was bought: how much it weighs, how much of that is of late, and the product.
    weighed: Vec<(f32, f32, u32)>,
}

impl Gathered {
    /// Gathers the candidates of a user.
    pub fn gather(&mut self, task: Task, user: &User, moment: &Moment<'_>) {
        let Moment { counters, base, now_s, .. } = *moment;
        let count = counters.products.len();
        self.near.resize(count, [0.0; 2]);
        self.taken.resize(count, false);
        self.products.clear();
        self.features.clear();
        let factor = base.fold_in(user, now_s);
        self.look_near(user, moment, Bounds::of(task).near_of);
        self.choose(task, user, &factor, moment);
        let person = Person::of(user, counters, now_s);
        for product in &self.products {
            let at = *product as usize;
            self.taken[at] = false;
            let [near, near_recent] = self.near[at];
            let hints = Hints { factor: product_of(&factor, base.factor(*product)), near, near_recent };
            self.features.push(person.features(*product, counters, hints));
        }
        for product in self.touched.drain(..) {
            self.near[product as usize] = [0.0; 2];
        }
    }

    /// Which products come into question.
    fn choose(&mut self, task: Task, user: &User, factor: &Factor, moment: &Moment<'_>) {
        let (bounds, now_s) = (Bounds::of(task), moment.now_s);
        if bounds.history > 0 {
            self.scored.clear();
            self.scored.extend(
                user.bought
                    .iter()
                    .map(|bought| (bought.history(now_s) + bought.recent(now_s), bought.product)),
            );
            self.take(bounds.history);
        }
        let is_new = |product: u32| task == Task::NextBasket || !user.knows(product);
        self.scored.clear();
        let trends = moment.chart.products.iter().filter(|product| is_new(**product)).take(bounds.trends);
        self.scored.extend(trends.map(|product| (0.0, *product)));
        self.take(bounds.trends);
        self.scored.clear();
        let near = self.touched.iter().filter(|product| is_new(**product));
        self.scored.extend(near.map(|product| (self.near[*product as usize].iter().sum(), *product)));
        self.take(bounds.near);
        self.scored.clear();
        scan(factor, moment.chart, &mut self.scored);
        self.scored.retain(|(_, product)| is_new(*product));
        self.take(bounds.factors);
    }

    /// How near everything is to what the user bought.
    fn look_near(&mut self, user: &User, moment: &Moment<'_>, most: usize) {
        let now_s = moment.now_s;
        self.weighed.clear();
        self.weighed.extend(user.bought.iter().map(|bought| {
            let recent = if now_s - bought.last_s <= LATELY_S { bought.recent(now_s) } else { 0.0 };
            (weight(bought, now_s), recent, bought.product)
        }));
        if self.weighed.len() > most {
            let of = |(weight, recent, _): &(f32, f32, u32)| weight + recent;
            self.weighed.select_nth_unstable_by(most, |a, b| of(b).total_cmp(&of(a)).then(a.2.cmp(&b.2)));
            self.weighed.truncate(most);
        }
        for (weight, recent, product) in &self.weighed {
            for neighbour in moment.base.neighbours(*product) {
                let [near, near_recent] = &mut self.near[neighbour.product as usize];
                if *near == 0.0 {
                    self.touched.push(neighbour.product);
                }
                *near += weight * neighbour.nearness;
                *near_recent += recent * neighbour.nearness;
            }
        }
    }

    /// Takes the best of what is scored.
    fn take(&mut self, most: usize) {
        if most == 0 {
            return;
        }
        if self.scored.len() > most {
            self.scored.select_nth_unstable_by(most, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        for (_, product) in self.scored.iter().take(most) {
            let taken = &mut self.taken[*product as usize];
            if !std::mem::replace(taken, true) {
                self.products.push(*product);
            }
        }
    }
}

widest! {
    fn scan(factor: &Factor, chart: &Chart, scored: &mut Vec<(f32, u32)>) {
        scored.reserve(chart.products.len());
        for (product, other) in chart.products.iter().zip(&chart.factors) {
            scored.push((dot(factor, other), *product));
        }
    }
}

widest! {
    fn product_of(factor: &Factor, product: &Factor) -> f32 {
        dot(factor, product)
    }
}
