//! Who is shown what, and why: candidates from a model, from a customer's history, from the charts and from what is
//! bought together, in one order. Whether they can be bought is looked at afterwards.

use std::cell::RefCell;
use std::collections::HashSet;

use onrush_grpc::recommendation::v1 as wire;
use onrush_proto::{BrandName, CategoryName, CustomerId, Money, Sku};
use onrush_scoring::candidates::Task;
use xxhash_rust::xxh3::xxh3_64;

use super::board::{Board, Shown};
use super::counters::{Counters, Product};
use super::evidence::{Evidence, Sheet};
use super::knowledge::{Knowledge, Sought};
use super::mix::{Mix, PREFERRED, SAME_CATEGORY, part};
use super::preferences::Preferences;
use super::window::Window;

/// How often new products change their turn.
const TURN_US: u64 = 24 * 3_600 * 1_000_000;
/// What history weighs on the page of a product: who looks at it looks for something else.
const HISTORY_ON_PAGE: f64 = 0.25;
/// How far down the chart of all is looked where nothing is filtered.
const CHARTED_MAX: usize = 300;
/// What speaks for a product that a model did not name, where one ranks: it stands below those it named.
const UNFORETOLD: f64 = 1e-4;
/// Of so many that are put in order one is something that the customer never bought, at most.
const FINDS_ONE_IN: usize = 4;
/// Orders with both products of which half the weight comes.
const TOGETHER_HALF: f64 = 3.0;

/// Where recommendations are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Home,
    ProductPage,
    Basket,
}

/// Which products come into question.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Filter {
    pub(super) categories: Vec<CategoryName>,
    pub(super) brands: Vec<BrandName>,
    /// What the request, the customer and the place leave out.
    pub(super) excluded: HashSet<Sku>,
    pub(super) max_unit_price: Option<Money>,
}

/// What is asked.
pub(super) struct Asked {
    /// For whom; `None` for a visitor.
    pub(super) customer: Option<CustomerId>,
    pub(super) preferences: Preferences,
    pub(super) place: Place,
    /// What is looked at, or lies in the basket.
    pub(super) skus: Vec<Sku>,
    pub(super) filter: Filter,
    pub(super) now_us: u64,
}

/// A product that may be shown.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Candidate {
    pub(super) shown: Shown,
    pub(super) score: f64,
    why: Why,
}

/// Why it may be.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Why {
    /// What speaks for it, with what history, togetherness and trend weigh, and whether category and brand are
    /// preferred; the product that it is bought with.
    Weighed(Evidence, [f64; 3], [bool; 2], Option<Sku>),
    /// It has its turn.
    New,
    /// It is there, and was bought so often in four weeks.
    There(u64),
}

/// The best of all candidates. Its room may be used again.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Ranked {
    /// The best first.
    pub(super) best: Vec<Candidate>,
    /// What a model foretells that the customer never bought, the likeliest first: on the shop's first page some of it
    /// has a turn.
    pub(super) finds: Vec<Candidate>,
    /// True if there are no more.
    pub(super) is_all: bool,
}

/// How candidates are weighed.
struct Weighing<'a> {
    mix: &'a Mix,
    /// True if a model ranks.
    is_foretold: bool,
    /// Categories of what is looked at.
    near: &'a [CategoryName],
    /// Candidates that stay.
    most: usize,
}

/// What a ranking needs, kept from one to the next, so that nothing is taken anew.
#[derive(Default)]
struct Slate {
    sheet: Sheet,
    /// Categories of what is looked at, and those whose charts are.
    near: Vec<CategoryName>,
    wanted: Vec<CategoryName>,
    orders: Orders,
}

/// Scores, and where what has them stands in the sheet.
#[derive(Default)]
struct Orders {
    /// Of all that is found.
    all: Vec<(f64, usize)>,
    /// Of what is a find.
    finds: Vec<(f64, usize)>,
}

thread_local! {
    static SLATE: RefCell<Slate> = RefCell::default();
}

impl Ranked {
    /// Forgets what was ranked.
    pub(super) fn clear(&mut self) {
        self.best.clear();
        self.finds.clear();
    }

    /// Candidates that there is room for.
    pub(super) fn room(&self) -> usize {
        self.best.capacity() + self.finds.capacity()
    }
}

impl Filter {
    /// True if only single products are left out.
    fn is_open(&self) -> bool {
        self.categories.is_empty() && self.brands.is_empty() && self.max_unit_price.is_none()
    }

    fn keeps_named(&self, sku: &Sku, category: &CategoryName, brand: &BrandName) -> bool {
        (self.categories.is_empty() || self.categories.contains(category))
            && (self.brands.is_empty() || self.brands.contains(brand))
            && !self.excluded.contains(sku)
    }

    fn keeps_shown(&self, shown: &Shown) -> bool {
        self.keeps_named(&shown.sku, &shown.category, &shown.brand)
    }

    fn keeps(&self, product: &Product) -> bool {
        let Product { sku, category, brand, .. } = product;
        self.keeps_named(sku, category, brand)
    }
}

impl Asked {
    /// True if the customer's history is looked at.
    pub(super) fn is_personal(&self) -> bool {
        self.customer.is_some() && !self.preferences.opted_out
    }

    /// Of whom something is foretold; `None` of a visitor, and of who opted out.
    pub(super) fn sought(&self) -> Option<Sought> {
        let customer = self.customer.filter(|_| self.is_personal())?;
        // Who looks at a product looks for something that they do not have.
        let task = match self.place {
            Place::ProductPage => Task::Discovery,
            Place::Home | Place::Basket => Task::NextBasket,
        };
        Some(Sought { customer, task, now_us: self.now_us })
    }

    /// Puts candidates in order; at most so many stay in `ranked`, which forgets what it held.
    pub(super) fn rank(&self, knowledge: &Knowledge, board: &Board, most: usize, ranked: &mut Ranked) {
        let Knowledge { counters, mix, .. } = knowledge;
        let looked_at = self.skus.iter().filter(|_| self.place == Place::ProductPage);
        let looked_at = looked_at.filter_map(|sku| counters.find(sku)).map(|product| product.category);
        SLATE.with_borrow_mut(|Slate { sheet, near, wanted, orders }| {
            near.clear();
            near.extend(looked_at.filter(|category| !category.is_empty()));
            sheet.clear(counters.counted().products.len());
            let is_foretold = self.foretell(knowledge, sheet);
            if self.is_personal() {
                self.history(counters, sheet);
            }
            self.together(counters, sheet);
            wanted.clear();
            wanted.extend(near.iter().chain(&self.filter.categories).copied());
            wanted.extend(self.preferences.categories());
            self.trends(counters, board, mix, wanted, sheet);
            let weighing = Weighing { mix, is_foretold, near, most };
            self.best(counters, sheet.found(), &weighing, orders, ranked);
        });
    }

    fn best(
        &self,
        counters: &Counters,
        found: &[(u32, Evidence)],
        weighing: &Weighing<'_>,
        orders: &mut Orders,
        ranked: &mut Ranked,
    ) {
        let (Orders { all, finds }, most) = (orders, weighing.most);
        let wanted = found.iter().zip(0..).filter_map(|((place, evidence), at)| {
            let product = counters.product(*place).filter(|product| self.filter.keeps(product))?;
            Some((self.weigh(product, evidence, weighing).0, at))
        });
        all.clear();
        all.extend(wanted);
        let product = |at: usize| counters.product(found[at].0);
        let sku = |at: usize| product(at).map(|product| product.sku);
        let above =
            |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then_with(|| sku(a.1).cmp(&sku(b.1)));
        let first = |order: &mut Vec<(f64, usize)>, most: usize| {
            if order.len() > most {
                order.select_nth_unstable_by(most, above);
                order.truncate(most);
            }
            order.sort_unstable_by(above);
        };
        // The history keeps a thousand products; what was ever bought is known of many more.
        let user = self.customer.as_ref().and_then(|customer| counters.history(customer));
        let bought = |place: u32| user.is_some_and(|user| user.knows(place));
        let is_find = |(place, evidence): &(u32, Evidence)| evidence.foretold.is_some() && !bought(*place);
        let has_turns = weighing.is_foretold && self.place == Place::Home;
        finds.clear();
        finds.extend(all.iter().filter(|(_, at)| has_turns && is_find(&found[*at])).copied());
        first(finds, most / FINDS_ONE_IN);
        ranked.is_all = all.len() <= most;
        first(all, most);
        let candidate = |(score, at): &(f64, usize)| {
            let (score, at) = (*score, *at);
            let (product, evidence) = (product(at)?, found[at].1);
            let (_, weights, liked) = self.weigh(product, &evidence, weighing);
            let with = evidence.together.and_then(|(_, which, _)| self.skus.get(which)).copied();
            Some(Candidate {
                shown: Shown::of(product),
                score,
                why: Why::Weighed(evidence, weights, liked, with),
            })
        };
        ranked.clear();
        ranked.best.extend(all.iter().filter_map(candidate));
        ranked.finds.extend(finds.iter().filter_map(candidate));
    }

    /// New products, beginning with another one for each customer and each day, so that each has its turn.
    pub(super) fn newcomers<'a>(&'a self, board: &'a Board) -> impl Iterator<Item = Candidate> + Send + 'a {
        let name = self.customer.as_ref().filter(|_| self.is_personal());
        let name = name.map_or("", |customer| customer.as_str());
        let turn = xxh3_64(name.as_bytes()).wrapping_add(self.now_us / TURN_US);
        let wanted = board.new.iter().filter(|shown| self.filter.keeps_shown(shown)).count();
        let first = (turn % wanted.max(1) as u64) as usize;
        let kept = || board.new.iter().filter(|shown| self.filter.keeps_shown(shown));
        let turned = kept().skip(first).chain(kept().take(first));
        turned.map(|shown| Candidate { shown: *shown, score: 0.0, why: Why::New })
    }

    /// What there is beside, the most bought first.
    pub(super) fn rest<'a>(&'a self, board: &'a Board) -> impl Iterator<Item = Candidate> + Send + 'a {
        let wanted = board.rest.iter().filter(|charted| self.filter.keeps_shown(&charted.shown));
        wanted.map(|charted| Candidate { shown: charted.shown, score: 0.0, why: Why::There(charted.orders) })
    }

    /// What the model says; false if it says nothing.
    fn foretell(&self, knowledge: &Knowledge, sheet: &mut Sheet) -> bool {
        let Some(sought) = self.sought() else { return false };
        let mut is_foretold = false;
        knowledge.foretell(&sought, |place, likely| {
            sheet.of(place).foretold = Some(likely);
            is_foretold = true;
        });
        is_foretold
    }

    fn history(&self, counters: &Counters, sheet: &mut Sheet) {
        let known = self.customer.as_ref().and_then(|customer| counters.history(customer));
        for bought in known.iter().flat_map(|user| &user.bought) {
            let count = f64::from(bought.history((self.now_us / 1_000_000) as i64));
            sheet.of(bought.product).history = Some((count, bought.baskets));
        }
    }

    fn together(&self, counters: &Counters, sheet: &mut Sheet) {
        for (sku, which) in self.skus.iter().zip(0..) {
            let sold = counters.find(sku).and_then(|product| product.sold.as_ref());
            for neighbour in sold.iter().flat_map(|sold| &sold.together.neighbours) {
                let orders = neighbour.orders();
                let together = &mut sheet.of(neighbour.product).together;
                *together = Some(match *together {
                    Some((all, other, most)) if most >= orders => (all.saturating_add(orders), other, most),
                    Some((all, _, _)) => (all.saturating_add(orders), which, orders),
                    None => (orders, which, orders),
                });
            }
        }
    }

    /// The chart of all, and of each category that is wanted: what sells there may be far down in all.
    fn trends(
        &self,
        counters: &Counters,
        board: &Board,
        mix: &Mix,
        wanted: &[CategoryName],
        sheet: &mut Sheet,
    ) {
        let (window, chart) = board.chart_from(mix.window);
        let top = chart.all.first().map_or(1, |first| first.orders) as f64;
        // A filter may leave only what stands far down.
        let depth = if self.filter.is_open() { CHARTED_MAX } else { usize::MAX };
        let of_categories = wanted.iter().flat_map(|category| chart.category(category));
        for charted in chart.all.iter().take(depth).chain(of_categories) {
            // Places are those of when the charts were made.
            let place = match board.generation == counters.generation() {
                true => Some(charted.place),
                false => counters.place_of(&charted.shown.sku),
            };
            let Some(place) = place else { continue };
            sheet.of(place).trend = Some((charted.orders as f64 / top, window, charted.orders));
        }
    }

    /// The score of a product; what history, togetherness and trend weigh in it; whether category and brand are preferred.
    fn weigh(
        &self,
        product: &Product,
        evidence: &Evidence,
        weighing: &Weighing<'_>,
    ) -> (f64, [f64; 3], [bool; 2]) {
        let Weighing { mix, is_foretold, near, .. } = weighing;
        let personal = if self.place == Place::ProductPage { HISTORY_ON_PAGE } else { 1.0 };
        // Where a model ranks, it has weighed history and trends already: they are told as reasons.
        let own = match (is_foretold, evidence.foretold) {
            (true, Some(_)) => 0.0,
            (true, None) => UNFORETOLD,
            (false, _) => 1.0,
        };
        let Evidence { foretold, history, together, trend } = *evidence;
        let history = history.map_or(0.0, |(count, _)| own * mix.history * personal * part(count, 1.0));
        let together = together.map_or(0.0, |(all, _, _)| mix.together * part(f64::from(all), TOGETHER_HALF));
        let trend = trend.map_or(0.0, |(share, _, _)| own * mix.trend * share);
        let foretold = foretold.map_or(0.0, |likely| mix.history * personal * likely);
        let mut score = foretold + history + together + trend;
        if near.contains(&product.category) {
            score *= SAME_CATEGORY;
        }
        let liked =
            [self.preferences.like_category(&product.category), self.preferences.like_brand(&product.brand)];
        liked.iter().filter(|liked| **liked).for_each(|_| score *= PREFERRED);
        (score, [foretold + history, together, trend], liked)
    }
}

impl Candidate {
    /// True if it has its turn, whatever its score.
    pub(super) fn is_new(&self) -> bool {
        self.why == Why::New
    }

    /// Why it is shown, what weighs most first.
    pub(super) fn reasons(&self) -> Vec<wire::Reason> {
        let reason = |kind: wire::ReasonKind| wire::Reason { kind: kind.into(), ..wire::Reason::default() };
        let many = |orders: u64, window: Window| {
            let why = reason(wire::ReasonKind::Trending);
            wire::Reason { orders, window: window.message().into(), ..why }
        };
        let (evidence, weights, liked, with) = match self.why {
            Why::New => return vec![reason(wire::ReasonKind::New)],
            Why::There(0) => return vec![reason(wire::ReasonKind::Catalogue)],
            Why::There(orders) => return vec![many(orders, Window::Month)],
            Why::Weighed(evidence, weights, liked, with) => (evidence, weights, liked, with),
        };
        let own = match (evidence.history, evidence.foretold) {
            (Some((_, orders)), _) => {
                let why = reason(wire::ReasonKind::BoughtBefore);
                Some(wire::Reason { orders: u64::from(orders), ..why })
            }
            (None, Some(_)) => Some(reason(wire::ReasonKind::Foretold)),
            (None, None) => None,
        };
        let together = evidence.together.zip(with).map(|((_, _, most), sku)| {
            let why = reason(wire::ReasonKind::BoughtTogether);
            wire::Reason { orders: u64::from(most), sku: sku.to_string(), ..why }
        });
        let trend = evidence.trend.map(|(_, window, orders)| many(orders, window));
        let mut weighed: Vec<(f64, wire::Reason)> = weights
            .into_iter()
            .zip([own, together, trend])
            .filter_map(|(weight, why)| Some((weight, why?)))
            .collect();
        weighed.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut reasons: Vec<wire::Reason> = weighed.into_iter().map(|(_, why)| why).collect();
        let kinds = [wire::ReasonKind::PreferredCategory, wire::ReasonKind::PreferredBrand];
        reasons
            .extend(kinds.into_iter().zip(liked).filter(|(_, liked)| *liked).map(|(kind, _)| reason(kind)));
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::counters::Bounds;
    use crate::recommendation::purchase::{Lesson, Listing};

    const NEW: u64 = 5;

    #[test]
    fn each_new_product_is_the_first_of_a_customer_on_one_of_as_many_days() {
        let (mut counters, now_us) = (Counters::new(Bounds::RECOMMENDED), 20_000 * TURN_US);
        for number in 0..NEW {
            counters.learn(&Lesson::Listed(Listing {
                sku: format!("new-{number}").parse().unwrap(),
                category: CategoryName::EMPTY,
                brand: BrandName::EMPTY,
                unit_minor: Some(499),
                since_us: now_us - number,
                time_us: now_us,
            }));
        }
        let board = Board::of(&counters, now_us);
        for customer in ["ada", "bob"] {
            let first = |day: u64| {
                let asked = Asked {
                    customer: Some(customer.parse().unwrap()),
                    preferences: Preferences::default(),
                    place: Place::Home,
                    skus: Vec::new(),
                    filter: Filter::default(),
                    now_us: now_us + day * TURN_US,
                };
                let turns: Vec<Sku> = asked.newcomers(&board).map(|new| new.shown.sku).collect();
                assert_eq!(turns.iter().collect::<HashSet<_>>().len(), NEW as usize);
                turns[0]
            };
            let firsts: HashSet<Sku> = (0..NEW).map(first).collect();
            assert_eq!(firsts.len(), NEW as usize, "{customer}");
            assert_eq!(first(0), first(NEW), "{customer}");
        }
    }
}
