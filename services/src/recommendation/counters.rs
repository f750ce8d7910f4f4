//! What was counted of products and customers, and by which numbers scoring knows them. Bounded: when there is no
//! room, the eighth of products (or customers) of which nothing was heard for longest is forgotten, at once, so that
//! an event costs the same on average.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::collections::HashMap;

use onrush_proto::{BrandName, CategoryName, CustomerId, Sku};
use onrush_scoring::copy_on_write::Shared;
use onrush_scoring::counters as scoring;
use rkyv::{Archive, Deserialize, Serialize};

use super::purchase::{Lesson, Listing, Purchase};
use super::together::Together;
use super::window::Trend;

/// Lines of an order that count as bought together: their pairs grow by the square.
const TOGETHER_MAX: usize = 12;
/// Categories and brands that are told apart; later ones count as if they had no name.
const NAMES_MAX: usize = 65_536;

/// How much is remembered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bounds {
    /// Products.
    pub(super) products: usize,
    /// Customers.
    pub(super) customers: usize,
    /// Bytes of what customers bought.
    pub(super) history_bytes: usize,
}

impl Bounds {
    /// Up to about 140 MB of products where each has all it can, and of customers 30 MB and up to twice what they
    /// bought, as lists double when they grow.
    pub(super) const RECOMMENDED: Self =
        Self { products: 131_072, customers: 250_000, history_bytes: 256 << 20 };
}

/// What is known of a product.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Product {
    pub(super) sku: Sku,
    pub(super) category: CategoryName,
    pub(super) brand: BrandName,
    /// When it came; 0 = nobody knows.
    pub(super) since_us: u64,
    /// When anything was last heard of it.
    heard_us: u64,
    pub(super) sold: Option<Shared<Sold>>,
}

/// What is known of a product that was bought.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Sold {
    pub(super) trend: Trend,
    pub(super) together: Together,
}

/// All that is counted, without what finds it. Products and customers stand at the places that are their numbers in
/// `scoring`.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Counted {
    pub(super) products: Vec<Product>,
    pub(super) customers: Vec<CustomerId>,
    /// Names by their numbers; the first one is the empty name.
    categories: Vec<CategoryName>,
    brands: Vec<BrandName>,
    pub(super) scoring: scoring::Counters,
    /// Paid orders.
    pub(super) purchases: u64,
}

/// The counters.
pub(super) struct Counters {
    bounds: Bounds,
    counted: Counted,
    places: HashMap<Sku, u32>,
    seats: HashMap<CustomerId, u32>,
    categories: HashMap<CategoryName, u32>,
    brands: HashMap<BrandName, u32>,
    /// Bytes of what customers bought.
    history_bytes: usize,
    /// Counts how often products got other places.
    generation: u64,
    /// Counts how often customers got other seats.
    seating: u64,
}

/// A customer as of their last purchase: another one with each of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    /// The place among customers.
    pub(super) number: u32,
    /// Which order of places that is.
    pub(super) seating: u64,
    /// Orders that they paid so far.
    pub(super) baskets: u32,
}

impl Counters {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self::of(bounds, Counted::default())
    }

    /// Goes on from what was counted before.
    pub(super) fn of(bounds: Bounds, counted: Counted) -> Self {
        let mut counters = Self {
            bounds,
            categories: numbered(&counted.categories),
            brands: numbered(&counted.brands),
            counted,
            places: HashMap::new(),
            seats: HashMap::new(),
            history_bytes: 0,
            generation: 0,
            seating: 0,
        };
        number(&mut counters.counted.categories, &mut counters.categories, CategoryName::EMPTY);
        number(&mut counters.counted.brands, &mut counters.brands, BrandName::EMPTY);
        counters.find_anew();
        counters
    }

    pub(super) fn counted(&self) -> &Counted {
        &self.counted
    }

    /// The same in place of others: no place is what it was there.
    pub(super) fn instead_of(self, others: &Self) -> Self {
        Self { generation: others.generation + 1, seating: others.seating + 1, ..self }
    }

    /// Changes when products get other places.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A product by its place.
    pub(super) fn product(&self, place: u32) -> Option<&Product> {
        self.counted.products.get(place as usize)
    }

    /// The place of a product.
    pub(super) fn place_of(&self, sku: &Sku) -> Option<u32> {
        self.places.get(sku).copied()
    }

    /// A product by its SKU.
    pub(super) fn find(&self, sku: &Sku) -> Option<&Product> {
        self.product(self.place_of(sku)?)
    }

    /// What a customer bought.
    pub(super) fn history(&self, customer: &CustomerId) -> Option<&scoring::User> {
        self.seat_of(customer).map(|(_, user)| user)
    }

    /// The same with where they stand.
    pub(super) fn seat_of(&self, customer: &CustomerId) -> Option<(Seat, &scoring::User)> {
        let number = *self.seats.get(customer)?;
        let user: &scoring::User = self.counted.scoring.users.get(number as usize)?;
        Some((Seat { number, seating: self.seating, baskets: user.baskets }, user))
    }

    /// Products as they were last told of.
    pub(super) fn listings(&self) -> impl Iterator<Item = Listing> + '_ {
        let Counted { products, scoring, .. } = &self.counted;
        products.iter().zip(&scoring.products).map(|(product, known)| Listing {
            sku: product.sku,
            category: product.category,
            brand: product.brand,
            unit_minor: Some(known.listing.price_cents),
            since_us: product.since_us,
            time_us: product.heard_us,
        })
    }

    /// Learns from what a record says.
    pub(super) fn learn(&mut self, lesson: &Lesson) {
        match lesson {
            Lesson::Bought(purchase) => self.buy(purchase),
            Lesson::Listed(listing) => self.list(listing),
        }
    }

    fn buy(&mut self, purchase: &Purchase) {
        let Purchase { customer, time_us, lines } = purchase;
        self.make_room(lines.len());
        let line = |(sku, unit_minor): &(Sku, i64)| scoring::Line {
            product: self.place(sku),
            unit_cents: Some(*unit_minor),
        };
        let lines: Vec<scoring::Line> = lines.iter().map(line).collect();
        let seat = self.seat(customer);
        let Counted { products, scoring, .. } = &mut self.counted;
        for line in &lines {
            let product = &mut products[line.product as usize];
            product.heard_us = product.heard_us.max(*time_us);
            product.sold.get_or_insert_default().change().trend.add(*time_us);
            let listing = &mut scoring.products[line.product as usize].listing;
            listing.price_cents = line.unit_cents.unwrap_or(listing.price_cents);
        }
        let pairs = &lines[..lines.len().min(TOGETHER_MAX)];
        for one in pairs {
            let Some(sold) = &mut products[one.product as usize].sold else { continue };
            let sold = sold.change();
            let others = pairs.iter().filter(|other| other.product != one.product);
            others.for_each(|other| sold.together.add(other.product));
        }
        let before = scoring.users[seat as usize].bytes();
        let time_s = (time_us / 1_000_000) as i64;
        scoring.count(&scoring::Basket { user: seat, time_s, lines: &lines });
        self.history_bytes = self.history_bytes + scoring.users[seat as usize].bytes() - before;
        self.counted.purchases += 1;
    }

    fn list(&mut self, listing: &Listing) {
        let Listing { sku, category, brand, unit_minor, since_us, time_us } = *listing;
        self.make_room(1);
        let place = self.place(&sku);
        let Counted { products, categories, brands, scoring, .. } = &mut self.counted;
        let product = &mut products[place as usize];
        (product.category, product.brand) = (category, brand);
        product.since_us = product.since_us.max(since_us);
        product.heard_us = product.heard_us.max(time_us);
        let known = scoring.products[place as usize].listing;
        let listing = scoring::Listing {
            category: number(categories, &mut self.categories, category),
            brand: number(brands, &mut self.brands, brand),
            price_cents: unit_minor.unwrap_or(known.price_cents),
        };
        scoring.list(place, listing);
    }

    /// The place of a product; there is room for it.
    fn place(&mut self, sku: &Sku) -> u32 {
        let Counted { products, scoring, .. } = &mut self.counted;
        *self.places.entry(*sku).or_insert_with(|| {
            products.push(Product {
                sku: *sku,
                category: CategoryName::EMPTY,
                brand: BrandName::EMPTY,
                since_us: 0,
                heard_us: 0,
                sold: None,
            });
            scoring.add_product(scoring::Listing { category: 0, brand: 0, price_cents: 0 })
        })
    }

    /// The seat of a customer; there is room for one.
    fn seat(&mut self, customer: &CustomerId) -> u32 {
        let Counted { customers, scoring, .. } = &mut self.counted;
        *self.seats.entry(*customer).or_insert_with(|| {
            customers.push(*customer);
            scoring.add_user()
        })
    }

    /// Room for so many more products and a customer.
    fn make_room(&mut self, products: usize) {
        if self.counted.products.len() + products > self.bounds.products {
            self.forget_products();
        }
        if self.counted.customers.len() >= self.bounds.customers
            || self.history_bytes > self.bounds.history_bytes
        {
            let Counted { customers, scoring, .. } = &mut self.counted;
            let keep = all_but_oldest(scoring.users.iter().map(|user| user.last_s));
            let mut kept = keep.iter();
            customers.retain(|_| kept.next() == Some(&true));
            scoring.retain_users(&keep);
            self.seating += 1;
            self.find_anew();
        }
    }

    /// Places change, so everything that names one is told.
    fn forget_products(&mut self) {
        let Counted { products, scoring, .. } = &mut self.counted;
        let keep = all_but_oldest(products.iter().map(|product| product.heard_us));
        let mut kept = keep.iter();
        products.retain(|_| kept.next() == Some(&true));
        let places = scoring.retain_products(&keep);
        let moved = |place: &mut u32| places[*place as usize].inspect(|to| *place = *to).is_some();
        for sold in products.iter_mut().filter_map(|product| product.sold.as_mut()) {
            sold.change().together.neighbours.retain_mut(|neighbour| moved(&mut neighbour.product));
        }
        self.generation += 1;
        self.find_anew();
    }

    fn find_anew(&mut self) {
        let Counted { products, customers, scoring, .. } = &self.counted;
        self.places = (0..).zip(products).map(|(place, product)| (product.sku, place)).collect();
        self.seats = (0..).zip(customers).map(|(seat, customer)| (*customer, seat)).collect();
        self.history_bytes = scoring.users.iter().map(|user| user.bytes()).sum();
    }
}

/// Names with their numbers.
fn numbered<N: Copy + Eq + std::hash::Hash>(names: &[N]) -> HashMap<N, u32> {
    names.iter().copied().zip(0..).collect()
}

/// The number of a name; that of the empty one if there are too many.
fn number<N: Copy + Eq + std::hash::Hash>(names: &mut Vec<N>, numbers: &mut HashMap<N, u32>, name: N) -> u32 {
    if let Some(known) = numbers.get(&name) {
        return *known;
    }
    if names.len() == NAMES_MAX {
        return 0;
    }
    names.push(name);
    numbers.insert(name, (names.len() - 1) as u32);
    (names.len() - 1) as u32
}

/// Which are not among the eighth that was heard of longest ago, which has at least one.
fn all_but_oldest<T: Ord + Copy>(heard: impl Iterator<Item = T>) -> Vec<bool> {
    let mut ages: Vec<(T, usize)> = heard.zip(0..).collect();
    let mut keep = vec![true; ages.len()];
    let count = (ages.len() / 8).max(1).min(ages.len());
    if count > 0 {
        ages.select_nth_unstable(count - 1);
    }
    ages[..count].iter().for_each(|(_, index)| keep[*index] = false);
    keep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::window::Window;

    const DAY_US: u64 = 24 * 3_600 * 1_000_000;
    const START_US: u64 = 20_000 * DAY_US;

    fn bought(customer: &str, time_us: u64, skus: &[&str]) -> Lesson {
        let lines = skus.iter().map(|sku| (sku.parse().unwrap(), 499)).collect();
        Lesson::Bought(Purchase { customer: customer.parse().unwrap(), time_us, lines })
    }

    /// Names and counts of a customer's history.
    fn history(counters: &Counters, customer: &str) -> Vec<(String, u32)> {
        let history = counters.history(&customer.parse().unwrap());
        let bought = history.map(|history| history.bought.as_slice()).unwrap_or_default();
        bought
            .iter()
            .map(|bought| (counters.product(bought.product).unwrap().sku.to_string(), bought.baskets))
            .collect()
    }

    fn together(counters: &Counters, sku: &str) -> Vec<(String, u32)> {
        let sold = counters.find(&sku.parse().unwrap()).unwrap().sold.as_ref().unwrap();
        let named = |place: u32| counters.product(place).unwrap().sku.to_string();
        sold.together.neighbours.iter().map(|found| (named(found.product), found.orders())).collect()
    }

    #[test]
    fn an_order_counts_for_its_customer_its_products_and_their_pairs() {
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        counters.learn(&bought("ada", START_US, &["tea", "cup"]));
        counters.learn(&bought("ada", START_US + DAY_US, &["tea"]));
        counters.learn(&bought("bob", START_US, &["tea", "cup", "pot"]));
        assert_eq!(history(&counters, "ada"), [("tea".into(), 2), ("cup".into(), 1)]);
        assert_eq!(history(&counters, "eve"), []);
        assert_eq!(together(&counters, "tea"), [("cup".into(), 2), ("pot".into(), 1)]);
        assert_eq!(together(&counters, "pot"), [("tea".into(), 1), ("cup".into(), 1)]);
        let tea = counters.find(&"tea".parse().unwrap()).unwrap().sold.as_ref().unwrap();
        assert_eq!(tea.trend.orders(Window::Month, START_US + DAY_US), 3);
        assert_eq!(counters.counted().purchases, 3);
    }

    #[test]
    fn a_wide_order_makes_no_more_pairs_than_a_few_lines_do() {
        let skus: Vec<String> = (0..5_000).map(|number| format!("sku-{number}")).collect();
        let skus: Vec<&str> = skus.iter().map(String::as_str).collect();
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        counters.learn(&bought("ada", START_US, &skus));
        assert_eq!(together(&counters, "sku-0").len(), TOGETHER_MAX - 1);
        assert_eq!(together(&counters, "sku-4999").len(), 0);
        assert_eq!(counters.counted().products.len(), 5_000);
    }

    #[test]
    fn without_room_those_unheard_of_for_longest_are_forgotten_and_the_rest_stays_true() {
        let mut counters = Counters::new(Bounds { products: 16, customers: 16, ..Bounds::RECOMMENDED });
        for number in 0..17u64 {
            let (customer, sku) = (format!("customer-{number}"), format!("sku-{number}"));
            let time_us = START_US + number * DAY_US;
            counters.learn(&bought(&customer, time_us, &[&sku]));
            counters.learn(&bought("ada", time_us, &[&sku, "tea"]));
        }
        let ada = history(&counters, "ada");
        assert!(ada.contains(&("tea".into(), 17)) && ada.contains(&("sku-16".into(), 1)), "{ada:?}");
        assert!(!ada.iter().any(|(sku, _)| sku == "sku-0"), "{ada:?}");
        assert_eq!(history(&counters, "customer-0"), []);
        assert_eq!(history(&counters, "customer-16"), [("sku-16".into(), 1)]);
        let with_tea = together(&counters, "tea");
        assert!(with_tea.contains(&("sku-16".into(), 1)), "{with_tea:?}");
        assert!(counters.counted().products.len() <= 16 && counters.counted().customers.len() <= 16);
        let newest = counters.find(&"sku-16".parse().unwrap()).unwrap();
        let trend = &newest.sold.as_ref().unwrap().trend;
        assert_eq!(trend.orders(Window::Hour, START_US + 16 * DAY_US), 2);
        assert!(counters.find(&"sku-0".parse().unwrap()).is_none());
    }

    #[test]
    fn a_product_is_as_old_as_its_first_version() {
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        let listing = |category: &str, since_us| {
            let category = category.parse().unwrap();
            let (sku, brand) = ("tea".parse().unwrap(), BrandName::EMPTY);
            Lesson::Listed(Listing {
                sku,
                category,
                brand,
                unit_minor: Some(7),
                since_us,
                time_us: START_US + DAY_US,
            })
        };
        counters.learn(&listing("drinks", START_US));
        counters.learn(&listing("hot drinks", 0));
        let tea = counters.find(&"tea".parse().unwrap()).unwrap();
        assert_eq!((tea.category.as_str(), tea.since_us), ("hot drinks", START_US));
        assert!(tea.sold.is_none());
    }

    #[test]
    fn places_are_the_numbers_of_scoring_whatever_comes_and_leaves() {
        let bounds = Bounds { products: 24, customers: 10, ..Bounds::RECOMMENDED };
        let mut counters = Counters::new(bounds);
        for number in 0..200u64 {
            let sku = format!("sku-{}", number % 37);
            let category = format!("category-{}", number % 5);
            counters.learn(&Lesson::Listed(Listing {
                sku: sku.parse().unwrap(),
                category: category.parse().unwrap(),
                brand: BrandName::EMPTY,
                unit_minor: Some(number as i64),
                since_us: 0,
                time_us: START_US + number,
            }));
            let customer = format!("customer-{}", number % 13);
            counters.learn(&bought(&customer, START_US + number * DAY_US, &[&sku]));
        }
        let Counted { products, customers, categories, scoring, .. } = counters.counted();
        assert_eq!((products.len(), customers.len()), (scoring.products.len(), scoring.users.len()));
        assert!(products.len() <= 24 && customers.len() <= 10 && counters.generation() > 0);
        for (product, known) in products.iter().zip(&scoring.products) {
            let named = categories[known.listing.category as usize];
            assert_eq!((product.category, known.listing.price_cents), (named, 499), "{product:?}");
        }
        assert_eq!(categories.len(), 6, "each name once, and the empty one");
        for customer in customers {
            let history = counters.history(customer).unwrap();
            assert!(history.bought.iter().all(|bought| counters.product(bought.product).is_some()));
        }
        // As it is after a restart.
        let again = Counters::of(bounds, counters.counted().clone());
        assert_eq!(again.counted(), counters.counted());
        assert_eq!(again.history_bytes, counters.history_bytes);
    }

    #[test]
    fn customers_who_bought_much_leave_no_more_room_than_there_is() {
        let bounds = Bounds { history_bytes: 4_000, ..Bounds::RECOMMENDED };
        let mut counters = Counters::new(bounds);
        for number in 0..400u64 {
            let (customer, sku) = (format!("customer-{}", number / 10), format!("sku-{number}"));
            counters.learn(&bought(&customer, START_US + number * DAY_US, &[&sku]));
        }
        assert!(counters.history_bytes < 5_000, "{}", counters.history_bytes);
        assert!(counters.history(&"customer-0".parse().unwrap()).is_none());
        assert_eq!(history(&counters, "customer-39").len(), 10);
    }
}
