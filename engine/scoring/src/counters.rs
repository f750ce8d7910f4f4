//! What was counted of users, products and categories: O(1) for each line of a basket, but for the
//! place of a product among those that its buyer bought before.
//!
//! Baskets may come in any sequence, as shards are read one after the other; a user's habit alone counts
//! them as they come. Users and products can be added, and those that are wanted no more can leave.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::copy_on_write::Shared;
use crate::decayed::{DAY_S, Decayed};

/// In which time what a user bought counts half: the baseline's, and a short one.
pub const HISTORY_HALF_LIFE_S: f32 = 90.0 * DAY_S as f32;
/// After how many of the user's baskets a habit counts half.
const HABIT_HALF_LIFE: f32 = 6.0;
const RECENT_HALF_LIFE_S: f32 = 14.0 * DAY_S as f32;
/// In which time what is bought of a product counts half.
const TREND_HALF_LIFE_S: f32 = 28.0 * DAY_S as f32;
const RUSH_HALF_LIFE_S: f32 = 4.0 * DAY_S as f32;
/// How many lines a product's usual price looks back over.
const USUAL_LINES: f32 = 30.0;
/// Products remembered of a user; beyond them the one that counts least leaves.
pub const BOUGHT_MAX: usize = 1_024;
/// Products of a user that are known to be nothing new; beyond them a product counts as new each time.
pub const KNOWN_MAX: usize = 8_192;

/// A product as the catalogue has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Listing {
    /// Number of its category.
    pub category: u32,
    /// Number of its brand.
    pub brand: u32,
    /// Its price.
    pub price_cents: i64,
}

/// A line of a basket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Number of the product.
    pub product: u32,
    /// What was paid for one of it; `None` for the price of the catalogue.
    pub unit_cents: Option<i64>,
}

/// Products that were paid together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Basket<'a> {
    /// Number of the buyer.
    pub user: u32,
    /// When, in unix seconds.
    pub time_s: i64,
    /// Each product once.
    pub lines: &'a [Line],
}

/// A product that a user bought.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Bought {
    /// Number of the product.
    pub product: u32,
    /// Baskets with it.
    pub baskets: u32,
    /// The first and the last of them.
    pub first_s: i64,
    /// The last of them.
    pub last_s: i64,
    /// The number of the user's basket that was the last one with it.
    pub last_basket: u32,
    history: Decayed,
    recent: Decayed,
    /// A count of which half is left after six baskets of the user, as of `last_basket`.
    habit: f32,
}

/// What is known of a user.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct User {
    /// What they bought, by the number of the product; at most [`BOUGHT_MAX`].
    pub bought: Vec<Bought>,
    /// Numbers of all that they ever bought.
    known: Vec<u32>,
    /// Baskets, lines of them, and lines with what was bought before.
    pub baskets: u32,
    /// Lines of all baskets.
    pub lines: u32,
    /// Lines with what had been bought before.
    pub repeats: u32,
    /// The first basket.
    pub first_s: i64,
    /// The newest basket.
    pub last_s: i64,
    /// The sum of the logarithms of what was paid, over all lines.
    pub log_price_sum: f64,
}

/// What is known of a product.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Product {
    /// As the catalogue has it.
    pub listing: Listing,
    /// Baskets with it.
    pub baskets: u32,
    /// Baskets of users who had bought it before.
    pub repeats: u32,
    /// The first basket with it; `i64::MAX` without any.
    pub first_s: i64,
    trend: Decayed,
    rush: Decayed,
    /// The same of baskets whose buyers had not bought it before.
    fresh: Decayed,
    fresh_rush: Decayed,
    /// The usual price over the last lines, and the one of the last days.
    usual_cents: f32,
    last_cents: f32,
}

/// What is known of a category.
#[derive(Clone, Copy, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Category {
    trend: Decayed,
}

/// The counters.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Counters {
    /// By number.
    pub users: Vec<Shared<User>>,
    /// By number.
    pub products: Vec<Product>,
    /// By number.
    pub categories: Vec<Category>,
}

impl Bought {
    /// The count of which half is left after 90 days.
    pub fn history(&self, now_s: i64) -> f32 {
        self.history.at(now_s, HISTORY_HALF_LIFE_S)
    }

    /// The count of which half is left after 14 days.
    pub fn recent(&self, now_s: i64) -> f32 {
        self.recent.at(now_s, RECENT_HALF_LIFE_S)
    }

    /// The count of which half is left after six baskets of the user, who made so many.
    pub fn habit(&self, baskets: u32) -> f32 {
        self.habit * (-((baskets - self.last_basket) as f32) / HABIT_HALF_LIFE).exp2()
    }

    fn count(&mut self, time_s: i64, basket: u32) {
        self.baskets += 1;
        self.habit = self.habit(basket) + 1.0;
        self.last_basket = basket;
        self.first_s = self.first_s.min(time_s);
        self.last_s = self.last_s.max(time_s);
        self.history.add(1.0, time_s, HISTORY_HALF_LIFE_S);
        self.recent.add(1.0, time_s, RECENT_HALF_LIFE_S);
    }
}

impl User {
    /// What is known of a product that they bought.
    pub fn find(&self, product: u32) -> Option<&Bought> {
        let at = self.bought.binary_search_by_key(&product, |bought| bought.product).ok()?;
        self.bought.get(at)
    }

    /// Bytes that what they bought takes, about.
    pub fn bytes(&self) -> usize {
        self.bought.len() * size_of::<Bought>() + self.known.len() * size_of::<u32>()
    }

    /// True if they ever bought a product.
    pub fn knows(&self, product: u32) -> bool {
        self.known.binary_search(&product).is_ok()
    }

    /// Counts a product of a basket; true if it was bought before.
    fn count(&mut self, product: u32, time_s: i64) -> bool {
        let place = self.known.binary_search(&product);
        if let Err(place) = place
            && self.known.len() < KNOWN_MAX
        {
            self.known.insert(place, product);
        }
        match self.bought.binary_search_by_key(&product, |bought| bought.product) {
            Ok(at) => self.bought[at].count(time_s, self.baskets),
            Err(at) => {
                let mut new = Bought {
                    product,
                    baskets: 0,
                    first_s: time_s,
                    last_s: time_s,
                    last_basket: self.baskets,
                    history: Decayed::default(),
                    recent: Decayed::default(),
                    habit: 0.0,
                };
                new.count(time_s, self.baskets);
                self.bought.insert(at, new);
                if self.bought.len() > BOUGHT_MAX {
                    self.forget_least(time_s);
                }
            }
        }
        place.is_ok()
    }

    /// Products have other numbers, or none any more; none overtakes another.
    fn renumber(&mut self, numbers: &[Option<u32>]) {
        let number = |product: u32| numbers.get(product as usize).copied().flatten();
        self.bought.retain_mut(|bought| number(bought.product).inspect(|to| bought.product = *to).is_some());
        self.known.retain_mut(|known| number(*known).inspect(|to| *known = *to).is_some());
    }

    fn forget_least(&mut self, now_s: i64) {
        let counts = self.bought.iter().map(|bought| bought.history(now_s)).zip(0..);
        if let Some((_, least)) = counts.min_by(|(a, _), (b, _)| a.total_cmp(b)) {
            self.bought.remove(least);
        }
    }
}

impl Product {
    fn new(listing: Listing) -> Self {
        let price = listing.price_cents as f32;
        Self {
            listing,
            baskets: 0,
            repeats: 0,
            first_s: i64::MAX,
            trend: Decayed::default(),
            rush: Decayed::default(),
            fresh: Decayed::default(),
            fresh_rush: Decayed::default(),
            usual_cents: price,
            last_cents: price,
        }
    }

    /// Baskets, of which half is left after 28 days.
    pub fn trend(&self, now_s: i64) -> f32 {
        self.trend.at(now_s, TREND_HALF_LIFE_S)
    }

    /// Baskets, of which half is left after 4 days.
    pub fn rush(&self, now_s: i64) -> f32 {
        self.rush.at(now_s, RUSH_HALF_LIFE_S)
    }

    /// Baskets of first-time buyers, of which half is left after 28 days.
    pub fn fresh(&self, now_s: i64) -> f32 {
        self.fresh.at(now_s, TREND_HALF_LIFE_S)
    }

    /// The same with half left after 4 days.
    pub fn fresh_rush(&self, now_s: i64) -> f32 {
        self.fresh_rush.at(now_s, RUSH_HALF_LIFE_S)
    }

    /// What was paid of late, as a share of what is usual: below 1 is a promotion.
    pub fn discount(&self) -> f32 {
        if self.usual_cents > 0.0 { self.last_cents / self.usual_cents } else { 1.0 }
    }

    fn count(&mut self, paid: f32, time_s: i64, is_repeat: bool) {
        self.trend.add(1.0, time_s, TREND_HALF_LIFE_S);
        self.rush.add(1.0, time_s, RUSH_HALF_LIFE_S);
        if !is_repeat {
            self.fresh.add(1.0, time_s, TREND_HALF_LIFE_S);
            self.fresh_rush.add(1.0, time_s, RUSH_HALF_LIFE_S);
        }
        self.first_s = self.first_s.min(time_s);
        self.repeats += u32::from(is_repeat);
        if self.baskets == 0 {
            (self.usual_cents, self.last_cents) = (paid, paid);
        }
        self.baskets += 1;
        self.usual_cents += (paid - self.usual_cents) / USUAL_LINES.min(self.baskets as f32);
        self.last_cents += (paid - self.last_cents) / 3f32.min(self.baskets as f32);
    }
}

impl Category {
    /// Lines, of which half is left after 28 days.
    pub fn trend(&self, now_s: i64) -> f32 {
        self.trend.at(now_s, TREND_HALF_LIFE_S)
    }
}

impl Counters {
    /// Counters of a catalogue of which nothing was bought yet.
    pub fn new(listings: &[Listing], users: usize) -> Self {
        let categories = listings.iter().map(|listing| listing.category as usize + 1).max().unwrap_or(0);
        Self {
            users: vec![Shared::default(); users],
            products: listings.iter().map(|listing| Product::new(*listing)).collect(),
            categories: vec![Category::default(); categories],
        }
    }

    /// The number of a user who comes now.
    pub fn add_user(&mut self) -> u32 {
        self.users.push(Shared::default());
        (self.users.len() - 1) as u32
    }

    /// The number of a product that comes now.
    pub fn add_product(&mut self, listing: Listing) -> u32 {
        self.make_category(listing.category);
        self.products.push(Product::new(listing));
        (self.products.len() - 1) as u32
    }

    /// Says what the catalogue has now.
    ///
    /// # Panics
    ///
    /// If there is no such product.
    pub fn list(&mut self, product: u32, listing: Listing) {
        self.make_category(listing.category);
        self.products[product as usize].listing = listing;
    }

    fn make_category(&mut self, category: u32) {
        let needed = category as usize + 1;
        if self.categories.len() < needed {
            self.categories.resize(needed, Category::default());
        }
    }

    /// Keeps some users: the next ones move up.
    pub fn retain_users(&mut self, keep: &[bool]) {
        let mut kept = keep.iter();
        self.users.retain(|_| kept.next() == Some(&true));
    }

    /// Keeps some products: the next ones move up. The new number of each, if it has one.
    pub fn retain_products(&mut self, keep: &[bool]) -> Vec<Option<u32>> {
        let mut next = 0;
        let number = |kept: &bool| {
            next += u32::from(*kept);
            kept.then(|| next - 1)
        };
        let numbers: Vec<Option<u32>> = keep.iter().map(number).collect();
        let mut kept = keep.iter();
        self.products.retain(|_| kept.next() == Some(&true));
        self.users.iter_mut().for_each(|user| user.change().renumber(&numbers));
        numbers
    }

    /// Counts a basket.
    ///
    /// # Panics
    ///
    /// If a number is of no user or product.
    pub fn count(&mut self, basket: &Basket<'_>) {
        let Basket { user, time_s, lines } = *basket;
        let user = self.users[user as usize].change();
        if user.baskets == 0 {
            (user.first_s, user.last_s) = (time_s, time_s);
        }
        user.baskets += 1;
        user.first_s = user.first_s.min(time_s);
        user.last_s = user.last_s.max(time_s);
        for line in lines {
            let is_repeat = user.count(line.product, time_s);
            let product = &mut self.products[line.product as usize];
            user.lines += 1;
            user.repeats += u32::from(is_repeat);
            let paid_cents = line.unit_cents.unwrap_or(product.listing.price_cents);
            user.log_price_sum += (1.0 + paid_cents.max(0) as f64).ln();
            product.count(paid_cents as f32, time_s, is_repeat);
            let category = &mut self.categories[product.listing.category as usize];
            category.trend.add(1.0, time_s, TREND_HALF_LIFE_S);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who bought more than is remembered in full was shown as new what they had bought long ago.
    #[test]
    fn what_was_ever_bought_is_known_also_without_the_room_to_count_it() {
        let products = BOUGHT_MAX as u32 + 100;
        let listings = vec![Listing { category: 0, brand: 0, price_cents: 5 }; products as usize];
        let mut counters = Counters::new(&listings, 1);
        for product in 0..products {
            let lines = [Line { product, unit_cents: None }];
            counters.count(&Basket { user: 0, time_s: i64::from(product) * DAY_S, lines: &lines });
        }
        let user = &counters.users[0];
        assert_eq!((user.bought.len(), user.lines, user.repeats), (BOUGHT_MAX, products, 0));
        assert!(user.find(0).is_none() && user.find(products - 1).is_some());
        assert!((0..products).all(|product| user.knows(product)) && !user.knows(products));
        counters.count(&Basket {
            user: 0,
            time_s: 2_000 * DAY_S,
            lines: &[Line { product: 0, unit_cents: Some(9) }],
        });
        assert_eq!((counters.users[0].repeats, counters.products[0].repeats), (1, 1));
        assert!(counters.users[0].find(0).is_some());
    }

    #[test]
    fn who_and_what_leaves_takes_nothing_of_the_others_along() {
        let listing = |category| Listing { category, brand: 0, price_cents: 5 };
        let mut counters = Counters::default();
        for category in [0, 4, 2] {
            counters.add_product(listing(category));
        }
        assert_eq!((counters.add_user(), counters.add_user(), counters.categories.len()), (0, 1, 5));
        for (user, products) in [(0, [0, 1]), (1, [1, 2])] {
            let lines = products.map(|product| Line { product, unit_cents: None });
            counters.count(&Basket { user, time_s: DAY_S, lines: &lines });
        }
        counters.list(2, listing(7));
        assert_eq!(counters.categories.len(), 8);
        let before = counters.clone();
        assert_eq!(counters.retain_products(&[false, true, true]), [None, Some(0), Some(1)]);
        assert_eq!(counters.products, before.products[1..]);
        let first = &counters.users[0];
        assert_eq!((first.bought.len(), first.find(0).map(|found| found.baskets)), (1, Some(1)));
        assert!(first.knows(0) && !first.knows(1) && counters.users[1].knows(1));
        counters.retain_users(&[false, true]);
        assert_eq!((counters.users.len(), counters.users[0].bought.len()), (1, 2));
        counters.count(&Basket {
            user: 0,
            time_s: 2 * DAY_S,
            lines: &[Line { product: 1, unit_cents: None }],
        });
        assert_eq!((counters.users[0].repeats, counters.products[1].repeats), (1, 1));
    }

    #[test]
    fn a_habit_fades_with_baskets_and_a_price_is_told_against_the_usual_one() {
        let mut counters = Counters::new(&[Listing { category: 0, brand: 0, price_cents: 100 }; 2], 1);
        let mut buy = |day: i64, product, cents| {
            let lines = [Line { product, unit_cents: Some(cents) }];
            counters.count(&Basket { user: 0, time_s: day * DAY_S, lines: &lines });
        };
        buy(1, 0, 100);
        (2..=7).for_each(|day| buy(day, 1, 100));
        (8..=10).for_each(|day| buy(day, 1, 50));
        let user = &counters.users[0];
        let habit = user.find(0).unwrap().habit(user.baskets);
        assert!((habit - (-9f32 / 6.0).exp2()).abs() < 1e-5, "{habit}");
        assert!(counters.products[1].discount() < 0.8 && counters.products[0].discount() == 1.0);
    }
}
