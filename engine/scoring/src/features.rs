//! What speaks for a product and a user, as numbers.

use crate::base::Base;
use crate::counters::{Bought, Counters, Product, User};
use crate::decayed::DAY_S;

/// Numbers of a candidate.
pub const FEATURES: usize = 32;

/// The numbers of a candidate.
pub type Features = [f32; FEATURES];

/// What the models say of a product and a user.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Hints {
    /// The product of the factors.
    pub(crate) factor: f32,
    /// How near it is to what the user bought, all together, and of late.
    pub(crate) near: [f32; 2],
}

/// What speaks for a product whoever asks, as of a time. One line of the cache.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(align(64))]
pub(crate) struct Standing {
    category: u32,
    brand: u32,
    /// Where it is in the base: its factor, and its place among what can be near.
    pub(crate) learned: u32,
    pub(crate) near: u32,
    log_price: f32,
    /// What it sells of its category.
    category_share: f32,
    alone: [f32; 8],
}

/// What a user bought of a category or a brand.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Taste {
    number: u32,
    /// The decayed count.
    count: f32,
    /// Lines, and different products.
    lines: u32,
    products: u32,
    first_s: i64,
    last_s: i64,
    /// What that says.
    says: [f32; 4],
}

/// The same by number.
#[derive(Default)]
struct Tastes {
    /// One more than where a number's taste stands; 0 for none.
    entries: Vec<u32>,
    all: Vec<Taste>,
}

/// What is known of a user at a time, as far as all candidates share it; kept between users, so that nothing is taken
/// anew.
#[derive(Default)]
pub(crate) struct Person {
    now_s: i64,
    /// Of each product that they bought, in their order: the decayed counts of 90 and of 14 days.
    pub(crate) counts: Vec<[f32; 2]>,
    categories: Tastes,
    brands: Tastes,
    /// The decayed count of everything.
    count: f32,
    log_price: f32,
    /// The same for all candidates: lines of a basket, what is bought again, days without a basket.
    shared: [f32; 3],
}

fn days(seconds: i64) -> f32 {
    seconds.max(0) as f32 / DAY_S as f32
}

/// How long ago something was against how often it comes: about 1 when it is due, 0 if it came once.
fn due(first_s: i64, last_s: i64, times: u32, now_s: i64) -> f32 {
    if times < 2 {
        return 0.0;
    }
    let mean = days(last_s - first_s) / (times - 1) as f32;
    1.0 + ((days(now_s - last_s) + 1.0) / (mean + 1.0)).ln().clamp(-3.0, 3.0)
}

impl Standing {
    /// Looks at a product.
    pub(crate) fn of(number: u32, counters: &Counters, base: &Base, now_s: i64) -> Self {
        let product = &counters.products[number as usize];
        let [trend, rush] = [product.trend(now_s), product.rush(now_s)];
        let category = product.listing.category;
        let of_category = counters.categories[category as usize].trend(now_s);
        let learned = base.learned(number);
        Self {
            category,
            brand: product.listing.brand,
            learned,
            near: base.near_place(learned),
            log_price: (1.0 + product.listing.price_cents.max(0) as f32).ln(),
            category_share: trend / (of_category + 1.0),
            alone: [
                trend.ln_1p(),
                rush.ln_1p(),
                rush / (trend * 0.16 + 0.2),
                product.fresh(now_s).ln_1p(),
                product.fresh_rush(now_s).ln_1p(),
                repeat(product),
                (product.discount() - 1.0).clamp(-1.0, 1.0),
                days(now_s - product.first_s.min(now_s)).ln_1p(),
            ],
        }
    }
}

impl Tastes {
    fn clear(&mut self) {
        for taste in self.all.drain(..) {
            self.entries[taste.number as usize] = 0;
        }
    }

    fn add(&mut self, number: u32, count: f32, bought: &Bought) {
        let at = number as usize;
        if self.entries.len() <= at {
            self.entries.resize(at + 1, 0);
        }
        let entry = &mut self.entries[at];
        if *entry == 0 {
            let Bought { first_s, last_s, .. } = *bought;
            self.all.push(Taste {
                number,
                count: 0.0,
                lines: 0,
                products: 0,
                first_s,
                last_s,
                says: [0.0; 4],
            });
            *entry = self.all.len() as u32;
        }
        let taste = &mut self.all[*entry as usize - 1];
        taste.count += count;
        taste.lines += bought.baskets;
        taste.products += 1;
        taste.first_s = taste.first_s.min(bought.first_s);
        taste.last_s = taste.last_s.max(bought.last_s);
    }

    fn of(&self, number: u32) -> Option<&Taste> {
        let entry = *self.entries.get(number as usize)?;
        self.all.get((entry as usize).checked_sub(1)?)
    }
}

impl Person {
    /// Looks at a user.
    pub(crate) fn look(&mut self, user: &User, counters: &Counters, now_s: i64) {
        let Self { counts, categories, brands, .. } = self;
        counts.clear();
        categories.clear();
        brands.clear();
        let mut all = 0.0;
        // Asked of each before the first is looked at: memory brings many in the time of one.
        let listings = user.bought.iter().map(|bought| &counters.products[bought.product as usize].listing);
        std::hint::black_box(listings.fold(0, |all, listing| all | listing.category));
        for bought in &user.bought {
            let listing = &counters.products[bought.product as usize].listing;
            let count = bought.history(now_s);
            counts.push([count, bought.recent(now_s)]);
            all += count;
            categories.add(listing.category, count, bought);
            brands.add(listing.brand, count, bought);
        }
        self.now_s = now_s;
        self.count = if all > 0.0 { all } else { 1.0 };
        for Taste { count, lines, products, first_s, last_s, says, .. } in &mut categories.all {
            *says = [
                (*count / self.count * 100.0).ln_1p(),
                days(now_s - *last_s).ln_1p(),
                due(*first_s, *last_s, *lines, now_s),
                (*products as f32).ln_1p(),
            ];
        }
        for Taste { count, says, .. } in &mut brands.all {
            says[0] = (*count / self.count * 100.0).ln_1p();
        }
        let lines = user.lines.max(1) as f32;
        self.log_price = (user.log_price_sum / f64::from(lines)) as f32;
        self.shared = [
            (lines / user.baskets.max(1) as f32).ln(),
            user.repeats as f32 / lines,
            days(now_s - user.last_s).ln_1p(),
        ];
    }

    /// The numbers of a candidate of the user that was looked at.
    pub(crate) fn features(&self, user: &User, product: u32, standing: &Standing, hints: Hints) -> Features {
        let Standing { category, brand, log_price, category_share, alone, .. } = *standing;
        let [trend, rush, rise, fresh, fresh_rush, repeat, discount, age] = alone;
        let taste = self.categories.of(category);
        let [of_category, since_category, due_category, products] =
            taste.map_or([0.0, 6.0, 0.0, 0.0], |taste| taste.says);
        let brand = self.brands.of(brand).map_or(0.0, |taste| taste.says[0]);
        let [history, recent, baskets, since, interval, share, last, habit, passed, loyalty] =
            self.own(user, product, taste);
        let [log_basket, repeat_share, silent] = self.shared;
        [
            history,
            recent,
            baskets,
            since,
            interval,
            share,
            last,
            habit,
            passed,
            loyalty,
            trend,
            rush,
            rise,
            fresh,
            fresh_rush,
            repeat,
            discount,
            age,
            of_category,
            since_category,
            due_category,
            products,
            category_share,
            brand,
            log_price,
            (log_price - self.log_price).abs(),
            hints.factor,
            hints.near[0].ln_1p(),
            hints.near[1].ln_1p(),
            log_basket,
            repeat_share,
            silent,
        ]
    }

    /// What the user's own history says of a product.
    fn own(&self, user: &User, product: u32, category: Option<&Taste>) -> [f32; 10] {
        let at = user.bought.binary_search_by_key(&product, |bought| bought.product);
        let known = at.ok().and_then(|at| Some((user.bought.get(at)?, *self.counts.get(at)?)));
        let Some((bought, [history, recent])) = known else {
            return [0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0];
        };
        let now_s = self.now_s;
        let count = bought.baskets as f32;
        // Baskets that this user makes in the time since the first with this product.
        let pace = user.baskets as f32 / (days(user.last_s - user.first_s) + 7.0);
        let chances = pace * (days(now_s - bought.first_s) + 7.0);
        let of_category = category.map_or(history, |taste| taste.count);
        [
            history.ln_1p(),
            recent.ln_1p(),
            count.ln(),
            days(now_s - bought.last_s).ln_1p(),
            due(bought.first_s, bought.last_s, bought.baskets, now_s),
            (count / chances.max(1.0)).min(1.0),
            f32::from(u8::from(bought.last_s == user.last_s)),
            bought.habit(user.baskets).ln_1p(),
            ((user.baskets - bought.last_basket) as f32).ln_1p(),
            history / of_category.max(1e-6),
        ]
    }
}

/// Of the baskets with a product those whose buyers had it before.
fn repeat(product: &Product) -> f32 {
    (product.repeats as f32 + 0.5) / (product.baskets as f32 + 2.0)
}
