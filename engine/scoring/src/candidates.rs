//! Which products come into question for a user, and what speaks for each.

use crate::base::{Base, weight};
use crate::best::Best;
use crate::counters::{Counters, User};
use crate::decayed::DAY_S;
use crate::factors::Factor;
use crate::features::{Features, Hints, Person, Standing};
use crate::profile::Profile;
use crate::scan::{ItemFactors as _, ItemRows};
use crate::section::Section;
use crate::wide::{dot, widest};

/// What is foretold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// The next basket, with what was bought before.
    NextBasket,
    /// What is bought for the first time.
    Discovery,
}

impl Task {
    /// True if a product may be foretold of a user.
    pub(crate) fn admits(self, user: &User, product: u32) -> bool {
        self == Self::NextBasket || !user.knows(product)
    }
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
    /// By the product of the factors, of the whole catalogue.
    pub factors: usize,
    /// Products of the user whose neighbours are looked at, those that weigh most. 96 cost a tenth of discovery.
    pub near_of: usize,
}

impl Bounds {
    /// What each task looks at.
    pub const fn of(task: Task) -> Self {
        match task {
            Task::NextBasket => Self { history: 300, trends: 60, near: 60, factors: 30, near_of: 256 },
            Task::Discovery => Self { history: 0, trends: 120, near: 150, factors: 80, near_of: usize::MAX },
        }
    }
}

/// How long ago what counts as bought lately was, at most.
pub(crate) const LATELY_S: i64 = 21 * DAY_S;
/// Products of a chart: where what many buy is looked for that a user never bought.
const CHARTED_MAX: usize = 3_000;
/// Products whose nearness is looked at together.
const LANES: usize = 16;

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

/// What is known of products at a time whoever asks: what speaks for each, and those that are bought most, the most
/// bought first.
#[derive(Debug, Default)]
pub struct Chart {
    pub(crate) now_s: i64,
    standings: Vec<Standing>,
    pub(crate) products: Vec<u32>,
}

/// A chart in the making: products are looked at some at a time, between which whoever counts may go on.
#[derive(Debug)]
pub struct Survey {
    now_s: i64,
    scored: Vec<(f32, u32)>,
    standings: Vec<Standing>,
}

impl Survey {
    /// Of no product yet; everything is told as of a time.
    pub fn at(now_s: i64) -> Self {
        Self { now_s, scored: Vec::new(), standings: Vec::new() }
    }

    /// Products that were looked at.
    pub fn seen(&self) -> usize {
        self.standings.len()
    }

    /// Looks at the next products, up to a number.
    pub fn go_on(&mut self, counters: &Counters, base: &Base, end: usize) {
        let Self { now_s, scored, standings } = self;
        for number in standings.len() as u32..end.min(counters.products.len()) as u32 {
            let product = &counters.products[number as usize];
            let score = product.trend(*now_s) + 2.0 * product.rush(*now_s);
            if score > 0.0 {
                scored.push((score, number));
            }
            standings.push(Standing::of(number, counters, base, *now_s));
        }
    }

    /// Puts in order what was looked at.
    pub fn chart(self) -> Chart {
        let Self { now_s, mut scored, standings } = self;
        let above = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if scored.len() > CHARTED_MAX {
            scored.select_nth_unstable_by(CHARTED_MAX, above);
            scored.truncate(CHARTED_MAX);
        }
        scored.sort_unstable_by(above);
        Chart { now_s, standings, products: scored.into_iter().map(|(_, product)| product).collect() }
    }
}

impl Chart {
    /// Puts in order what many bought of late.
    pub fn of(counters: &Counters, base: &Base, now_s: i64) -> Self {
        let mut survey = Survey::at(now_s);
        survey.go_on(counters, base, counters.products.len());
        survey.chart()
    }

    /// What speaks for a product; one that came later is looked at anew.
    fn standing(&self, product: u32, moment: &Moment<'_>) -> Standing {
        let known = self.standings.get(product as usize).copied();
        known.unwrap_or_else(|| Standing::of(product, moment.counters, moment.base, self.now_s))
    }
}

/// Candidates and their numbers; kept between users, so that nothing is taken anew.
#[derive(Default)]
pub struct Gathered {
    /// Numbers of the products.
    pub products: Vec<u32>,
    /// What speaks for each.
    pub features: Vec<Features>,
    taken: Vec<bool>,
    person: Person,
    near: Near,
    best: Best,
    standings: Vec<Standing>,
    products_of: Vec<f32>,
}

/// How near everything is to what a user bought.
#[derive(Default)]
struct Near {
    /// By the place among what can be near: all together, and of late.
    sums: Vec<[f32; 2]>,
    /// Of what was bought: how much it weighs, how much of that is of late, and the product.
    weighed: Vec<(f32, f32, u32)>,
    /// Where the neighbours of each lie.
    ranges: Vec<(u32, u32)>,
}

impl Gathered {
    /// Gathers the candidates of a user, of whom the profile for this task is known.
    pub fn gather(&mut self, task: Task, user: &User, profile: &Profile, moment: &Moment<'_>) {
        let Moment { counters, base, chart, now_s } = *moment;
        let Self { products, taken, person, near, .. } = self;
        products.clear();
        taken.resize(counters.products.len(), false);
        person.look(user, counters, now_s);
        near.look(user, &person.counts, moment, Bounds::of(task).near_of);
        self.choose(task, user, profile, moment);
        let Self { products, features, taken, person, near, standings, products_of, .. } = self;
        standings.clear();
        standings.extend(products.iter().map(|product| chart.standing(*product, moment)));
        products_of_factors(&profile.factor, base.factors(), standings, products_of);
        features.clear();
        for ((product, standing), factor) in products.iter().zip(standings.iter()).zip(products_of.iter()) {
            taken[*product as usize] = false;
            let hints = Hints { factor: *factor, near: near.of(standing.near) };
            features.push(person.features(user, *product, standing, hints));
        }
    }

    /// Which products come into question.
    fn choose(&mut self, task: Task, user: &User, profile: &Profile, moment: &Moment<'_>) {
        let Self { products, taken, person, near, best, .. } = self;
        let bounds = Bounds::of(task);
        let is_new = |product: u32| task.admits(user, product);
        let mut take = |product: u32| {
            if !std::mem::replace(&mut taken[product as usize], true) {
                products.push(product);
            }
        };
        if bounds.history > 0 {
            best.begin(bounds.history);
            let bought = user.bought.iter().zip(&person.counts);
            bought.for_each(|(bought, [history, recent])| best.offer(history + recent, bought.product));
            best.all().for_each(&mut take);
        }
        let charted = moment.chart.products.iter().copied();
        charted.filter(|product| is_new(*product)).take(bounds.trends).for_each(&mut take);
        best.begin(bounds.near);
        nearest(&near.sums, moment.base.near(), &is_new, best);
        best.all().for_each(&mut take);
        profile.highest().iter().copied().for_each(take);
    }
}

impl Near {
    /// Looks at the neighbours of what a user bought, whose decayed counts these are.
    fn look(&mut self, user: &User, counts: &[[f32; 2]], moment: &Moment<'_>, most: usize) {
        let Self { sums, weighed, ranges } = self;
        weighed.clear();
        weighed.extend(user.bought.iter().zip(counts).map(|(bought, [history, recent])| {
            let is_late = moment.now_s - bought.last_s <= LATELY_S;
            (weight(*history), if is_late { *recent } else { 0.0 }, bought.product)
        }));
        if weighed.len() > most {
            let of = |(weight, recent, _): &(f32, f32, u32)| weight + recent;
            weighed.select_nth_unstable_by(most, |a, b| of(b).total_cmp(&of(a)).then(a.2.cmp(&b.2)));
            weighed.truncate(most);
            // In the sequence of the history, in which nearness is summed up.
            weighed.sort_unstable_by_key(|(_, _, product)| *product);
        }
        sums.clear();
        sums.resize(moment.base.near().len(), [0.0; 2]);
        ranges.clear();
        ranges.extend(weighed.iter().map(|(_, _, product)| moment.base.near_range(*product)));
        for ((weight, recent, _), range) in weighed.iter().zip(ranges.iter()) {
            for neighbour in moment.base.near_in(*range) {
                let [near, near_recent] = &mut sums[neighbour.product as usize];
                *near += *weight * neighbour.nearness;
                *near_recent += *recent * neighbour.nearness;
            }
        }
    }

    /// How near what has a place is; what has none is not.
    fn of(&self, place: u32) -> [f32; 2] {
        self.sums.get(place as usize).copied().unwrap_or_default()
    }
}

/// Offers what is near, and new if it has to be.
fn nearest(sums: &[[f32; 2]], products: &[u32], is_new: &dyn Fn(u32) -> bool, best: &mut Best) {
    let mut from = 0;
    // What is not near at all is not among them.
    while let Some(at) = next_at_least(sums, from, best.at_least().max(f32::from_bits(1))) {
        let lanes = sums[at..].iter().zip(&products[at..]).take(LANES);
        for ([all, late], product) in lanes {
            let near = all + late;
            if near > 0.0 && near >= best.at_least() && is_new(*product) {
                best.offer(near, *product);
            }
        }
        from = at + LANES;
    }
}

widest! {
    /// The first lanes from a place on of which one is so near; `None` if there are no more.
    fn next_at_least(sums: &[[f32; 2]], from: usize, least: f32) -> Option<usize> {
        let rest = sums.get(from..)?;
        let (lanes, last) = rest.as_chunks::<LANES>();
        for (some, at) in lanes.iter().zip(0..) {
            let mut found = false;
            for [all, late] in some {
                found |= all + late >= least;
            }
            if found {
                return Some(from + at * LANES);
            }
        }
        (!last.is_empty()).then(|| from + lanes.len() * LANES)
    }
}

widest! {
    /// The product of a user's factor and of each product's.
    fn products_of_factors(factor: &Factor, factors: &ItemRows<Section>, standings: &[Standing], found: &mut Vec<f32>) {
        found.clear();
        standings.iter().for_each(|standing| factors.touch(standing.learned));
        for standing in standings {
            found.push(factors.factor(standing.learned).map_or(0.0, |other| dot(factor, &other)));
        }
    }
}
