//! What was counted of products and customers. Bounded: when there is no room, the eighth of products
//! (or customers) of which nothing was heard for longest is forgotten, at once, so that an event costs
//! the same on average.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::collections::HashMap;

use onrush_proto::{BrandName, CategoryName, CustomerId, Sku};
use rkyv::{Archive, Deserialize, Serialize};

use super::history::History;
use super::purchase::{Lesson, Listing, Purchase};
use super::together::Together;
use super::window::Trend;

/// Lines of an order that count as bought together: their pairs grow by the square.
const TOGETHER_MAX: usize = 12;

/// How much is remembered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bounds {
    /// Products.
    pub(super) products: usize,
    /// Customers.
    pub(super) customers: usize,
}

impl Bounds {
    /// Up to about 125 MB of products and 115 MB of customers, where each has all it can.
    pub(super) const RECOMMENDED: Self = Self { products: 131_072, customers: 100_000 };
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
    pub(super) sold: Option<Box<Sold>>,
}

/// What is known of a product that was bought.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Sold {
    pub(super) trend: Trend,
    pub(super) together: Together,
}

/// What is known of a customer.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Customer {
    customer: CustomerId,
    history: History,
}

/// All that is counted, without what finds it.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Counted {
    pub(super) products: Vec<Product>,
    pub(super) customers: Vec<Customer>,
    /// Paid orders.
    pub(super) purchases: u64,
}

/// The counters.
pub(super) struct Counters {
    bounds: Bounds,
    counted: Counted,
    places: HashMap<Sku, u32>,
    seats: HashMap<CustomerId, u32>,
}

impl Counters {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self::of(bounds, Counted::default())
    }

    /// Goes on from what was counted before.
    pub(super) fn of(bounds: Bounds, counted: Counted) -> Self {
        let mut counters = Self { bounds, counted, places: HashMap::new(), seats: HashMap::new() };
        counters.find_anew();
        counters
    }

    pub(super) fn counted(&self) -> &Counted {
        &self.counted
    }

    /// A product by its place.
    pub(super) fn product(&self, place: u32) -> Option<&Product> {
        self.counted.products.get(place as usize)
    }

    /// A product by its SKU.
    pub(super) fn find(&self, sku: &Sku) -> Option<&Product> {
        self.product(*self.places.get(sku)?)
    }

    /// What a customer bought.
    pub(super) fn history(&self, customer: &CustomerId) -> Option<&History> {
        let seat = *self.seats.get(customer)?;
        self.counted.customers.get(seat as usize).map(|known| &known.history)
    }

    /// Learns from what a record says.
    pub(super) fn learn(&mut self, lesson: &Lesson) {
        match lesson {
            Lesson::Bought(purchase) => self.buy(purchase),
            Lesson::Listed(listing) => self.list(listing),
        }
    }

    fn buy(&mut self, purchase: &Purchase) {
        let Purchase { customer, time_us, skus } = purchase;
        self.make_room(skus.len());
        let places: Vec<u32> = skus.iter().map(|sku| self.place(sku)).collect();
        let seat = self.seat(customer);
        for place in &places {
            self.counted.customers[seat].history.add(*place, *time_us);
            let product = &mut self.counted.products[*place as usize];
            product.heard_us = product.heard_us.max(*time_us);
            product.sold.get_or_insert_default().trend.add(*time_us);
        }
        let pairs = &places[..places.len().min(TOGETHER_MAX)];
        for one in pairs {
            let Some(sold) = &mut self.counted.products[*one as usize].sold else { continue };
            pairs.iter().filter(|other| *other != one).for_each(|other| sold.together.add(*other));
        }
        self.counted.purchases += 1;
    }

    fn list(&mut self, listing: &Listing) {
        let Listing { sku, category, brand, since_us, time_us } = *listing;
        self.make_room(1);
        let place = self.place(&sku) as usize;
        let product = &mut self.counted.products[place];
        (product.category, product.brand) = (category, brand);
        product.since_us = product.since_us.max(since_us);
        product.heard_us = product.heard_us.max(time_us);
    }

    /// The place of a product; there is room for it.
    fn place(&mut self, sku: &Sku) -> u32 {
        let products = &mut self.counted.products;
        *self.places.entry(*sku).or_insert_with(|| {
            products.push(Product {
                sku: *sku,
                category: CategoryName::EMPTY,
                brand: BrandName::EMPTY,
                since_us: 0,
                heard_us: 0,
                sold: None,
            });
            (products.len() - 1) as u32
        })
    }

    /// The seat of a customer; there is room for one.
    fn seat(&mut self, customer: &CustomerId) -> usize {
        let customers = &mut self.counted.customers;
        let seat = self.seats.entry(*customer).or_insert_with(|| {
            customers.push(Customer { customer: *customer, history: History::default() });
            (customers.len() - 1) as u32
        });
        *seat as usize
    }

    /// Room for so many more products and a customer.
    fn make_room(&mut self, products: usize) {
        if self.counted.products.len() + products > self.bounds.products {
            self.forget_products();
        }
        if self.counted.customers.len() >= self.bounds.customers {
            let oldest = oldest_eighth(self.counted.customers.iter().map(|known| known.history.last_us));
            let mut gone = oldest.iter();
            self.counted.customers.retain(|_| gone.next() != Some(&true));
            self.find_anew();
        }
    }

    /// Places change, so everything that names one is told.
    fn forget_products(&mut self) {
        let oldest = oldest_eighth(self.counted.products.iter().map(|product| product.heard_us));
        let mut next = 0;
        let place = |gone: &bool| {
            next += u32::from(!gone);
            (!gone).then(|| next - 1)
        };
        let places: Vec<Option<u32>> = oldest.iter().map(place).collect();
        let mut gone = oldest.iter();
        self.counted.products.retain(|_| gone.next() != Some(&true));
        let moved = |place: &mut u32| places[*place as usize].inspect(|to| *place = *to).is_some();
        for customer in &mut self.counted.customers {
            customer.history.bought.retain_mut(|bought| moved(&mut bought.product));
        }
        for sold in self.counted.products.iter_mut().filter_map(|product| product.sold.as_mut()) {
            sold.together.neighbours.retain_mut(|neighbour| moved(&mut neighbour.product));
        }
        self.find_anew();
    }

    fn find_anew(&mut self) {
        let Counted { products, customers, .. } = &self.counted;
        self.places = (0..).zip(products).map(|(place, product)| (product.sku, place)).collect();
        self.seats = (0..).zip(customers).map(|(seat, known)| (known.customer, seat)).collect();
    }
}

/// Which are among the eighth that was heard of longest ago, at least one.
fn oldest_eighth(heard_us: impl Iterator<Item = u64>) -> Vec<bool> {
    let mut ages: Vec<(u64, usize)> = heard_us.zip(0..).collect();
    let mut oldest = vec![false; ages.len()];
    let count = (ages.len() / 8).max(1).min(ages.len());
    if count > 0 {
        ages.select_nth_unstable(count - 1);
    }
    ages[..count].iter().for_each(|(_, index)| oldest[*index] = true);
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::window::Window;

    const DAY_US: u64 = 24 * 3_600 * 1_000_000;
    const START_US: u64 = 20_000 * DAY_US;

    fn bought(customer: &str, time_us: u64, skus: &[&str]) -> Lesson {
        let skus = skus.iter().map(|sku| sku.parse().unwrap()).collect();
        Lesson::Bought(Purchase { customer: customer.parse().unwrap(), time_us, skus })
    }

    /// Names and counts of a customer's history.
    fn history(counters: &Counters, customer: &str) -> Vec<(String, u32)> {
        let history = counters.history(&customer.parse().unwrap());
        let bought = history.map(|history| history.bought.as_slice()).unwrap_or_default();
        bought
            .iter()
            .map(|bought| (counters.product(bought.product).unwrap().sku.to_string(), bought.orders))
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
        let mut counters = Counters::new(Bounds { products: 16, customers: 16 });
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
            Lesson::Listed(Listing { sku, category, brand, since_us, time_us: START_US + DAY_US })
        };
        counters.learn(&listing("drinks", START_US));
        counters.learn(&listing("hot drinks", 0));
        let tea = counters.find(&"tea".parse().unwrap()).unwrap();
        assert_eq!((tea.category.as_str(), tea.since_us), ("hot drinks", START_US));
        assert!(tea.sold.is_none());
    }
}
