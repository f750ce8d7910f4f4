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

/// A board in the making: what stands in it of each product, looked at in stretches, between which whoever counts may
/// go on.
pub(super) struct Rows {
    now_us: u64,
    /// By place.
    rows: Vec<Row>,
}

struct Row {
    shown: Shown,
    since_us: u64,
    /// Orders by window.
    orders: [u64; 4],
}

impl Shown {
    pub(super) fn of(product: &Product) -> Self {
        Self { sku: product.sku, category: product.category, brand: product.brand }
    }
}

impl Rows {
    /// Of no product yet; everything is told as of a time.
    pub(super) fn at(now_us: u64) -> Self {
        Self { now_us, rows: Vec::new() }
    }

    /// Looks at the next products of counters, so many at most; true if there are more.
    pub(super) fn go_on(&mut self, counters: &Counters, most: usize) -> bool {
        let Self { now_us, rows } = self;
        let products = &counters.counted().products;
        rows.extend(products.iter().skip(rows.len()).take(most).map(|product| Row::of(product, *now_us)));
        rows.len() < products.len()
    }

    /// Puts everything in order. `generation` is that of the places of the products.
    pub(super) fn board(self, generation: u64) -> Board {
        let Self { now_us, rows } = self;
        let is_new = |row: &Row| row.since_us > 0 && row.since_us + NEW_US > now_us;
        let mut new: Vec<&Row> = rows.iter().filter(|row| is_new(row)).collect();
        new.sort_unstable_by(|a, b| b.since_us.cmp(&a.since_us).then(a.shown.sku.cmp(&b.shown.sku)));
        new.truncate(NEW_MAX);
        let rest = ordered(&rows, Window::Month, |row| !is_new(row));
        Board {
            charts: Window::ALL.map(|window| Chart::of(&rows, window)),
            generation,
            new: new.into_iter().map(|row| row.shown).collect(),
            rest: rest.into_iter().take(REST_MAX).collect(),
            categories: rows.iter().map(|row| row.shown.category).collect(),
            brands: rows.iter().map(|row| row.shown.brand).collect(),
        }
    }
}

impl Row {
    fn of(product: &Product, now_us: u64) -> Self {
        let orders = |window| product.sold.as_ref().map_or(0, |sold| sold.trend.orders(window, now_us));
        Self { shown: Shown::of(product), since_us: product.since_us, orders: Window::ALL.map(orders) }
    }
}

/// The products that are wanted, the most bought of a window first.
fn ordered(rows: &[Row], window: Window, wanted: impl Fn(&Row) -> bool) -> Vec<Charted> {
    let orders = |row: &Row| row.orders[window as usize];
    let mut order: Vec<(u64, u32)> = rows
        .iter()
        .zip(0..)
        .filter(|(row, _)| wanted(row))
        .map(|(row, place)| (orders(row), place))
        .collect();
    let sku = |place: u32| rows[place as usize].shown.sku;
    order.sort_unstable_by(|(a, one), (b, other)| b.cmp(a).then_with(|| sku(*one).cmp(&sku(*other))));
    let charted = |(orders, place)| Charted { shown: rows[place as usize].shown, orders, place };
    order.into_iter().map(charted).collect()
}

impl Chart {
    fn of(rows: &[Row], window: Window) -> Self {
        let mut all = ordered(rows, window, |row| row.orders[window as usize] > 0);
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
    /// Puts everything in order as of a time, at once.
    pub(super) fn of(counters: &Counters, now_us: u64) -> Self {
        let mut rows = Rows::at(now_us);
        rows.go_on(counters, usize::MAX);
        rows.board(counters.generation())
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
