//! The straightforward way to rank, which the fast one has to equal to the bit.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Base, Fold, weight};
use crate::candidates::{Bounds, Chart, LATELY_S, Moment, Task};
use crate::counters::{Bought, Counters, Listing, User};
use crate::decayed::DAY_S;
use crate::factors::{AlsOptions, Factor};
use crate::features::Features;
use crate::mlp::{Mlp, MlpOptions};
use crate::model::Desk;
use crate::sales::{Sale, Sales};
use crate::scan;
use crate::training::{TrainOptions, train};
use crate::wide::dot;

/// The best of what is scored, by sorting all.
fn best(mut scored: Vec<(f32, u32)>, most: usize) -> Vec<u32> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(most).map(|(_, product)| product).collect()
}

/// How near everything is to what the user bought.
fn near(user: &User, moment: &Moment<'_>, most: usize) -> BTreeMap<u32, [f32; 2]> {
    let now_s = moment.now_s;
    let recent = |bought: &Bought| match now_s - bought.last_s <= LATELY_S {
        true => bought.recent(now_s),
        false => 0.0,
    };
    let weighs = |bought: &Bought| (weight(bought.history(now_s)), recent(bought));
    let scored = user.bought.iter().map(|bought| (weighs(bought).0 + weighs(bought).1, bought.product));
    let looked_at: BTreeSet<u32> = best(scored.collect(), most).into_iter().collect();
    let mut near: BTreeMap<u32, [f32; 2]> = BTreeMap::new();
    for bought in user.bought.iter().filter(|bought| looked_at.contains(&bought.product)) {
        for neighbour in moment.base.neighbours(bought.product) {
            let sums = near.entry(neighbour.product).or_default();
            sums[0] += weighs(bought).0 * neighbour.nearness;
            sums[1] += weighs(bought).1 * neighbour.nearness;
        }
    }
    near
}

/// Which products come into question.
fn candidates(
    task: Task,
    user: &User,
    highest: &[u32],
    near: &BTreeMap<u32, [f32; 2]>,
    moment: &Moment<'_>,
) -> BTreeSet<u32> {
    let (bounds, now_s) = (Bounds::of(task), moment.now_s);
    let is_new = |product: &u32| task == Task::NextBasket || !user.knows(*product);
    let history =
        user.bought.iter().map(|bought| (bought.history(now_s) + bought.recent(now_s), bought.product));
    let mut all: BTreeSet<u32> = best(history.collect(), bounds.history).into_iter().collect();
    let charted = &moment.chart.products;
    all.extend(charted.iter().copied().filter(is_new).take(bounds.trends));
    let sums = near.iter().map(|(product, [all, late])| (all + late, *product));
    all.extend(best(sums.filter(|(_, product)| is_new(product)).collect(), bounds.near));
    all.extend(highest);
    all
}

/// Products of the whole catalogue that a factor goes best with, as the base has them.
fn highest(task: Task, user: &User, factor: &Factor, base: &Base) -> Vec<u32> {
    let placed = (0..base.products() as u32).filter_map(|learned| base.counted(learned));
    let admitted = placed.filter(|product| task == Task::NextBasket || !user.knows(*product));
    let scored = admitted.map(|product| (scan::score(&base.factor(product), factor), product));
    best(scored.filter(|(score, _)| *score > 0.0).collect(), Bounds::of(task).factors)
}

fn days(seconds: i64) -> f32 {
    seconds.max(0) as f32 / DAY_S as f32
}

fn due(first_s: i64, last_s: i64, times: u32, now_s: i64) -> f32 {
    let mean = days(last_s - first_s) / times.saturating_sub(1).max(1) as f32;
    let due = 1.0 + ((days(now_s - last_s) + 1.0) / (mean + 1.0)).ln().clamp(-3.0, 3.0);
    if times < 2 { 0.0 } else { due }
}

/// What the user bought that is like it, in some respect.
fn alike<'a>(user: &'a User, counters: &Counters, is_alike: impl Fn(&Listing) -> bool) -> Vec<&'a Bought> {
    let listing = |bought: &Bought| counters.products[bought.product as usize].listing;
    user.bought.iter().filter(|bought| is_alike(&listing(bought))).collect()
}

fn counted<'a>(bought: impl IntoIterator<Item = &'a Bought>, now_s: i64) -> f32 {
    bought.into_iter().fold(0.0, |sum, bought| sum + bought.history(now_s))
}

/// What the user's own history says of a product, and of its category and brand.
fn own(user: &User, counters: &Counters, product: u32, now_s: i64) -> ([f32; 10], [f32; 4], f32) {
    let listing = counters.products[product as usize].listing;
    let all = counted(&user.bought, now_s);
    let kin = alike(user, counters, |other| other.category == listing.category);
    let first_s = kin.iter().map(|bought| bought.first_s).min();
    let last_s = kin.iter().map(|bought| bought.last_s).max();
    let of_category = match first_s.zip(last_s) {
        None => [0.0, 6.0, 0.0, 0.0],
        Some((first_s, last_s)) => [
            (counted(kin.iter().copied(), now_s) / all * 100.0).ln_1p(),
            days(now_s - last_s).ln_1p(),
            due(first_s, last_s, kin.iter().map(|bought| bought.baskets).sum(), now_s),
            (kin.len() as f32).ln_1p(),
        ],
    };
    let brand = alike(user, counters, |other| other.brand == listing.brand);
    let brand = (counted(brand, now_s) / all * 100.0).ln_1p();
    let Some(bought) = user.find(product) else {
        return ([0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0], of_category, brand);
    };
    let (history, count) = (bought.history(now_s), bought.baskets as f32);
    let pace = user.baskets as f32 / (days(user.last_s - user.first_s) + 7.0);
    let own = [
        history.ln_1p(),
        bought.recent(now_s).ln_1p(),
        count.ln(),
        days(now_s - bought.last_s).ln_1p(),
        due(bought.first_s, bought.last_s, bought.baskets, now_s),
        (count / (pace * (days(now_s - bought.first_s) + 7.0)).max(1.0)).min(1.0),
        f32::from(u8::from(bought.last_s == user.last_s)),
        bought.habit(user.baskets).ln_1p(),
        ((user.baskets - bought.last_basket) as f32).ln_1p(),
        history / counted(kin, now_s).max(1e-6),
    ];
    (own, of_category, brand)
}

/// All numbers of a candidate.
fn features(user: &User, product: u32, factor: &Factor, near: [f32; 2], moment: &Moment<'_>) -> Features {
    let Moment { counters, base, chart, now_s } = *moment;
    let known = &counters.products[product as usize];
    let (then_s, lines) = (chart.now_s, user.lines as f32);
    let [trend, rush] = [known.trend(then_s), known.rush(then_s)];
    let log_price = (1.0 + known.listing.price_cents as f32).ln();
    let (own, of_category, brand) = own(user, counters, product, now_s);
    let alone = [
        trend.ln_1p(),
        rush.ln_1p(),
        rush / (trend * 0.16 + 0.2),
        known.fresh(then_s).ln_1p(),
        known.fresh_rush(then_s).ln_1p(),
        (known.repeats as f32 + 0.5) / (known.baskets as f32 + 2.0),
        (known.discount() - 1.0).clamp(-1.0, 1.0),
        days(then_s - known.first_s.min(then_s)).ln_1p(),
    ];
    let rest = [
        trend / (counters.categories[known.listing.category as usize].trend(then_s) + 1.0),
        brand,
        log_price,
        (log_price - (user.log_price_sum / f64::from(lines)) as f32).abs(),
        dot(factor, &base.factor(product)),
        near[0].ln_1p(),
        near[1].ln_1p(),
        (lines / user.baskets as f32).ln(),
        user.repeats as f32 / lines,
        days(now_s - user.last_s).ln_1p(),
    ];
    let all: Vec<f32> = own.into_iter().chain(alone).chain(of_category).chain(rest).collect();
    all.try_into().unwrap()
}

/// The factor of a user, as of the beginning of the day or of the last basket.
fn factor(user: &User, moment: &Moment<'_>) -> Factor {
    let then_s = user.last_s.max(moment.now_s - moment.now_s % DAY_S);
    let counts = user.bought.iter().map(|bought| (bought.product, bought.history(then_s)));
    moment.base.fold(counts, &mut Fold::default())
}

/// The ranking with what the scan named: (score, product), the best first.
fn ranked(task: Task, user: &User, named: &[u32], moment: &Moment<'_>, mlp: &Mlp) -> Vec<(f32, u32)> {
    let factor = factor(user, moment);
    let near = near(user, moment, Bounds::of(task).near_of);
    let mut ranked = Vec::new();
    for product in candidates(task, user, named, &near, moment) {
        let features =
            features(user, product, &factor, near.get(&product).copied().unwrap_or_default(), moment);
        let mut scores = Vec::new();
        mlp.score(&[features], &mut scores);
        ranked.push((scores[0], product));
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.truncate(MOST);
    ranked
}

/// Products that are ranked.
const MOST: usize = 120;
/// More are bought than stand in a chart.
const PRODUCTS: u32 = 5_000;
const USERS: u32 = 70;

/// Users who buy much or little, of a kind of theirs, and now and then anything.
fn shop() -> Sales {
    let mut random = fastrand::Rng::with_seed(12);
    let (mut sales, mut basket) = (Vec::new(), 0);
    for day in 0..80i64 {
        for user in 0..USERS {
            if random.f32() > 0.4 {
                continue;
            }
            basket += 1;
            for _ in 0..1 + user * user / 200 {
                let narrow = (random.f32() * random.f32() * 600.0) as u32;
                let product = if random.f32() < 0.8 { user % 3 + 2 * narrow } else { random.u32(..PRODUCTS) };
                let unit_cents = Some(random.i64(20..900));
                let time_s = day * DAY_S + i64::from(user) * 60;
                sales.push(Sale { basket, user, product: product % PRODUCTS, time_s, unit_cents });
            }
        }
    }
    Sales::of(sales)
}

#[test]
fn rankings_are_those_of_the_straightforward_way() {
    let listing = |at: u32| Listing { category: at % 37, brand: at % 11, price_cents: 50 + i64::from(at) };
    let listings: Vec<Listing> = (0..PRODUCTS).map(listing).collect();
    let sales = shop();
    let options = TrainOptions {
        als: AlsOptions { regularization: 5.0, ..AlsOptions::default() },
        mlp: MlpOptions { epochs: 1, ..MlpOptions::default() },
        ..TrainOptions::default()
    };
    let trained = train(&sales, &listings, options, &|_| true).unwrap();
    let mut base = crate::base::Base::of(trained.learned).unwrap();
    let last_s = sales.last_s();
    let mut counters = sales.counted(&listings, i64::MAX);
    let mut desk = Desk::default();
    let (mut all, mut missed) = (0, 0);
    let most_bought = counters.users.iter().map(|user| user.bought.len()).max();
    assert!(most_bought > Some(300), "a history that is cut: {most_bought:?}");
    // The first time as it was learned; then without some products, and with one that came after the chart.
    for is_placed in [false, true] {
        if is_placed {
            let places: Vec<Option<u32>> = (0..PRODUCTS).map(|at| (at % 13 != 5).then_some(at)).collect();
            base.place(&places);
        }
        let chart = Chart::of(&counters, &base, last_s + 50);
        if is_placed {
            // Of a category of its own: the others are as they were when the chart was made.
            let product = counters.add_product(Listing { category: 37, ..listing(3) });
            let lines = [crate::counters::Line { product, unit_cents: None }];
            counters.count(&crate::counters::Basket { user: 60, time_s: last_s + 60, lines: &lines });
        }
        let moment = Moment { counters: &counters, base: &base, chart: &chart, now_s: last_s + DAY_S / 3 };
        for task in [Task::NextBasket, Task::Discovery] {
            let mlp = trained.rankers.of(task);
            for (number, user) in counters.users.iter().enumerate() {
                let score = |features: &[Features], scores: &mut Vec<f32>| mlp.score(features, scores);
                desk.rank(task, user, &moment, MOST, score);
                let wanted = highest(task, user, &factor(user, &moment), &base);
                let named = desk.profile.highest().to_vec();
                assert_eq!(named.len(), wanted.len());
                all += wanted.len();
                missed += wanted.iter().filter(|product| !named.contains(product)).count();
                let expected = ranked(task, user, &named, &moment, mlp);
                assert!(!expected.is_empty());
                assert_eq!(desk.ranked, expected, "{task:?} of user {number}, placed: {is_placed}");
                // A profile that was kept says the same.
                let kept = desk.profile.clone();
                desk.look(task, &counters.users[0], &moment);
                desk.profile = kept;
                desk.rank_by_profile(task, user, &moment, MOST, score);
                assert_eq!(desk.ranked, expected, "{task:?} of user {number} by the profile");
            }
        }
    }
    // That codes name all of them is likely, and not promised.
    assert!(missed * 200 < all, "{missed} of {all}");
}
