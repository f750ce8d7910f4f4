//! What speaks for a product and a user, as numbers.

use crate::counters::{Counters, Product, User};
use crate::decayed::DAY_S;

/// Numbers of a candidate.
pub const FEATURES: usize = 32;

/// The numbers of a candidate.
pub type Features = [f32; FEATURES];

/// What the models say of a product and a user.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Hints {
    /// The product of the factors.
    pub factor: f32,
    /// How near it is to what the user bought, all together.
    pub near: f32,
    /// The same for what was bought in the last weeks.
    pub near_recent: f32,
}

/// What a user bought of a category or a brand.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Taste {
    number: u32,
    /// The decayed count.
    count: f32,
    /// Lines, and different products.
    lines: u32,
    products: u32,
    first_s: i64,
    last_s: i64,
}

/// What is known of a user at a time, as far as all candidates share it.
pub struct Person<'a> {
    user: &'a User,
    now_s: i64,
    categories: Vec<Taste>,
    brands: Vec<Taste>,
    /// The decayed count of everything.
    count: f32,
    log_price: f32,
    silent_days: f32,
    log_basket: f32,
    repeat_share: f32,
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

/// Sums up by number.
fn tastes(mut all: Vec<Taste>) -> Vec<Taste> {
    all.sort_unstable_by_key(|taste| taste.number);
    all.dedup_by(|next, kept| {
        let is_same = next.number == kept.number;
        if is_same {
            kept.count += next.count;
            kept.lines += next.lines;
            kept.products += next.products;
            kept.first_s = kept.first_s.min(next.first_s);
            kept.last_s = kept.last_s.max(next.last_s);
        }
        is_same
    });
    all
}

fn taste(all: &[Taste], number: u32) -> Option<&Taste> {
    all.binary_search_by_key(&number, |taste| taste.number).ok().map(|at| &all[at])
}

impl<'a> Person<'a> {
    /// Looks at a user.
    pub fn of(user: &'a User, counters: &Counters, now_s: i64) -> Self {
        let mut categories = Vec::with_capacity(user.bought.len());
        let mut brands = Vec::with_capacity(user.bought.len());
        let mut all = 0.0;
        for bought in &user.bought {
            let listing = &counters.products[bought.product as usize].listing;
            let count = bought.history(now_s);
            all += count;
            let taste = Taste {
                number: listing.category,
                count,
                lines: bought.baskets,
                products: 1,
                first_s: bought.first_s,
                last_s: bought.last_s,
            };
            categories.push(taste);
            brands.push(Taste { number: listing.brand, ..taste });
        }
        let lines = user.lines.max(1) as f32;
        Self {
            user,
            now_s,
            categories: tastes(categories),
            brands: tastes(brands),
            count: if all > 0.0 { all } else { 1.0 },
            log_price: (user.log_price_sum / f64::from(lines)) as f32,
            silent_days: days(now_s - user.last_s),
            log_basket: (lines / user.baskets.max(1) as f32).ln(),
            repeat_share: user.repeats as f32 / lines,
        }
    }

    /// The numbers of a candidate.
    pub fn features(&self, product: u32, counters: &Counters, hints: Hints) -> Features {
        let now_s = self.now_s;
        let known = &counters.products[product as usize];
        let [trend, rush] = [known.trend(now_s), known.rush(now_s)];
        let category = known.listing.category;
        let of_category = counters.categories[category as usize].trend(now_s);
        let log_price = (1.0 + known.listing.price_cents.max(0) as f32).ln();
        let brand = taste(&self.brands, known.listing.brand).map_or(0.0, |taste| taste.count);
        let [history, recent, baskets, since, interval, share, last, habit, passed, loyalty] =
            self.own(product, category);
        let [category_share, category_since, category_due, category_products] = self.category(category);
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
            trend.ln_1p(),
            rush.ln_1p(),
            rush / (trend * 0.16 + 0.2),
            known.fresh(now_s).ln_1p(),
            known.fresh_rush(now_s).ln_1p(),
            repeat(known),
            (known.discount() - 1.0).clamp(-1.0, 1.0),
            days(now_s - known.first_s.min(now_s)).ln_1p(),
            category_share,
            category_since,
            category_due,
            category_products,
            trend / (of_category + 1.0),
            (brand / self.count * 100.0).ln_1p(),
            log_price,
            (log_price - self.log_price).abs(),
            hints.factor,
            hints.near.ln_1p(),
            hints.near_recent.ln_1p(),
            self.log_basket,
            self.repeat_share,
            self.silent_days.ln_1p(),
        ]
    }

    /// What the user's own history says of a product.
    fn own(&self, product: u32, category: u32) -> [f32; 10] {
        let Some(bought) = self.user.find(product) else {
            return [0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0];
        };
        let now_s = self.now_s;
        let count = bought.baskets as f32;
        let history = bought.history(now_s);
        // Baskets that this user makes in the time since the first with this product.
        let pace = self.user.baskets as f32 / (days(self.user.last_s - self.user.first_s) + 7.0);
        let chances = pace * (days(now_s - bought.first_s) + 7.0);
        let of_category = taste(&self.categories, category).map_or(history, |taste| taste.count);
        [
            history.ln_1p(),
            bought.recent(now_s).ln_1p(),
            count.ln(),
            days(now_s - bought.last_s).ln_1p(),
            due(bought.first_s, bought.last_s, bought.baskets, now_s),
            (count / chances.max(1.0)).min(1.0),
            f32::from(u8::from(bought.last_s == self.user.last_s)),
            bought.habit(self.user.baskets).ln_1p(),
            ((self.user.baskets - bought.last_basket) as f32).ln_1p(),
            history / of_category.max(1e-6),
        ]
    }

    /// What it says of the product's category.
    fn category(&self, category: u32) -> [f32; 4] {
        let Some(taste) = taste(&self.categories, category) else { return [0.0, 6.0, 0.0, 0.0] };
        [
            (taste.count / self.count * 100.0).ln_1p(),
            days(self.now_s - taste.last_s).ln_1p(),
            due(taste.first_s, taste.last_s, taste.lines, self.now_s),
            (taste.products as f32).ln_1p(),
        ]
    }
}

/// Of the baskets with a product those whose buyers had it before.
fn repeat(product: &Product) -> f32 {
    (product.repeats as f32 + 0.5) / (product.baskets as f32 + 2.0)
}
