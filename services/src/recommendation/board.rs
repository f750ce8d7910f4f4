//! What everybody may be shown, put in order now and then, so that an answer costs a look-up and not
//! a walk over all products.

use std::collections::{HashMap, HashSet};

use onrush_proto::{BrandName, CategoryName, Sku};

use super::counters::{Counters, Product};
use super::window::Window;

/// Products of a chart.
const CHART_MAX: usize = 1_000;
/// Products of a category's chart.
const CATEGORY_CHART_MAX: usize = 200;
/// New products that have a turn.
const NEW_MAX: usize = 2_000;
/// Other products that fill a page.
const REST_MAX: usize = 2_000;
/// How long a product is new.
const NEW_US: u64 = 14 * 24 * 3_600 * 1_000_000;

/// A product as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    pub(super) sku: Sku,
    pub(super) category: CategoryName,
    pub(super) brand: BrandName,
}

/// A product and how many orders of a window have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Charted {
    pub(super) shown: Shown,
    pub(super) orders: u64,
    /// Its place when the chart was made.
    pub(super) place: u32,
}

/// What is bought most in a window, the most bought first.
#[derive(Default, Debug)]
pub(super) struct Chart {
    pub(super) all: Vec<Charted>,
    categories: HashMap<CategoryName, Vec<Charted>>,
}

/// What everybody may be shown.
#[derive(Default, Debug)]
pub(super) struct Board {
    charts: [Chart; 4],
    /// Of which places of products it speaks.
    pub(super) generation: u64,
    /// New products, the newest first.
    pub(super) new: Vec<Shown>,
    /// All other products, the most bought of four weeks first: what is left when the charts are sold out.
    pub(super) rest: Vec<Charted>,
    categories: HashSet<CategoryName>,
    brands: HashSet<BrandName>,
}

impl Shown {
    pub(super) fn of(product: &Product) -> Self {
        Self { sku: product.sku, category: product.category, brand: product.brand }
    }
}

impl Chart {
    fn of(counters: &Counters, window: Window, now_us: u64) -> Self {
        let orders = |(product, place): (&Product, u32)| {
            let sold = product.sold.as_ref()?;
            let orders = sold.trend.orders(window, now_us);
            (orders > 0).then(|| Charted { shown: Shown::of(product), orders, place })
        };
        let products = counters.counted().products.iter().zip(0..);
        let mut all: Vec<Charted> = products.filter_map(orders).collect();
        all.sort_unstable_by(|a, b| b.orders.cmp(&a.orders).then(a.shown.sku.cmp(&b.shown.sku)));
        let mut categories: HashMap<CategoryName, Vec<Charted>> = HashMap::new();
        for charted in all.iter().filter(|charted| !charted.shown.category.is_empty()) {
            let chart = categories.entry(charted.shown.category).or_default();
            if chart.len() < CATEGORY_CHART_MAX {
                chart.push(*charted);
            }
        }
        all.truncate(CHART_MAX);
        all.shrink_to_fit();
        Self { all, categories }
    }

    /// The chart of a category.
    pub(super) fn category(&self, category: &CategoryName) -> &[Charted] {
        self.categories.get(category).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Board {
    /// Puts everything in order as of a time.
    pub(super) fn of(counters: &Counters, now_us: u64) -> Self {
        let charts = Window::ALL.map(|window| Chart::of(counters, window, now_us));
        let products = &counters.counted().products;
        let is_new = |product: &&Product| product.since_us > 0 && product.since_us + NEW_US > now_us;
        let mut new: Vec<&Product> = products.iter().filter(is_new).collect();
        new.sort_unstable_by(|a, b| b.since_us.cmp(&a.since_us).then(a.sku.cmp(&b.sku)));
        new.truncate(NEW_MAX);
        let orders = |product: &Product| {
            product.sold.as_ref().map_or(0, |sold| sold.trend.orders(Window::Month, now_us))
        };
        let others = products.iter().zip(0..).filter(|(product, _)| !is_new(product));
        let mut rest: Vec<(u64, &Product, u32)> =
            others.map(|(product, place)| (orders(product), product, place)).collect();
        rest.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.sku.cmp(&b.1.sku)));
        rest.truncate(REST_MAX);
        Self {
            charts,
            generation: counters.generation(),
            new: new.into_iter().map(Shown::of).collect(),
            rest: rest
                .into_iter()
                .map(|(orders, product, place)| Charted { shown: Shown::of(product), orders, place })
                .collect(),
            categories: products.iter().map(|product| product.category).collect(),
            brands: products.iter().map(|product| product.brand).collect(),
        }
    }

    /// What is bought in a window.
    pub(super) fn chart(&self, window: Window) -> &Chart {
        &self.charts[window as usize]
    }

    /// The same, or of the next longer window in which anything is.
    pub(super) fn chart_from(&self, window: Window) -> (Window, &Chart) {
        let longer = Window::ALL.into_iter().skip(window as usize);
        let mut charts = longer.map(|window| (window, self.chart(window)));
        charts.find(|(_, chart)| !chart.all.is_empty()).unwrap_or((window, self.chart(window)))
    }

    /// True if a product of this category is known.
    pub(super) fn has_category(&self, category: &CategoryName) -> bool {
        self.categories.contains(category)
    }

    /// True if a product of this brand is known.
    pub(super) fn has_brand(&self, brand: &BrandName) -> bool {
        self.brands.contains(brand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::counters::Bounds;
    use crate::recommendation::purchase::{Lesson, Purchase};

    const DAY_US: u64 = 24 * 3_600 * 1_000_000;

    /// What sold last week once was neither in the chart of the day nor among the rest: nobody saw it again.
    #[test]
    fn whatever_is_not_new_fills_a_page_the_most_bought_first() {
        let (mut counters, now_us) = (Counters::new(Bounds::RECOMMENDED), 20_000 * DAY_US);
        for (sku, days) in [("long-ago", 100), ("then", 10), ("then", 10), ("now", 0)] {
            let (customer, time_us) = ("ada".parse().unwrap(), now_us - days * DAY_US);
            let lines = vec![(sku.parse().unwrap(), 499)];
            counters.learn(&Lesson::Bought(Purchase { customer, time_us, lines }));
        }
        let board = Board::of(&counters, now_us);
        let rest: Vec<&str> = board.rest.iter().map(|charted| charted.shown.sku.as_str()).collect();
        assert_eq!(rest, ["then", "now", "long-ago"]);
        assert_eq!(board.chart(Window::Day).all.len(), 1);
    }
}
