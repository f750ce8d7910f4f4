//! Who is shown what, and why: candidates from a model, from a customer's history, from the charts and from what is
//! bought together, in one order. Whether they can be bought is looked at afterwards.

use std::collections::{HashMap, HashSet};

use onrush_grpc::recommendation::v1 as wire;
use onrush_proto::{BrandName, CategoryName, CustomerId, Money, Sku};
use onrush_scoring::candidates::Task;
use xxhash_rust::xxh3::xxh3_64;

use super::board::{Board, Charted, Shown};
use super::counters::Counters;
use super::knowledge::Knowledge;
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
const UNFORETOLD: f64 = 1e-3;
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
    /// What speaks for it, with what history, togetherness and trend weigh, and whether category and brand are preferred.
    Weighed(Evidence, [f64; 3], [bool; 2]),
    /// It has its turn.
    New,
    /// It is there, and was bought so often in four weeks.
    There(u64),
}

/// What speaks for a product.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Evidence {
    /// How likely it is bought, against the likeliest, as the model has it.
    foretold: Option<f64>,
    /// The decayed count, and the orders behind it.
    history: Option<(f64, u32)>,
    /// Orders with both over all that is looked at, and the strongest of them.
    together: Option<(u32, Sku, u32)>,
    trend: Option<(f64, Window, u64)>,
}

/// What speaks for products, by SKU.
type All = HashMap<Sku, (Shown, Evidence)>;

fn of(all: &mut All, shown: Shown) -> &mut Evidence {
    &mut all.entry(shown.sku).or_insert((shown, Evidence::default())).1
}

impl Filter {
    /// True if only single products are left out.
    fn is_open(&self) -> bool {
        self.categories.is_empty() && self.brands.is_empty() && self.max_unit_price.is_none()
    }

    fn keeps(&self, product: &Shown) -> bool {
        (self.categories.is_empty() || self.categories.contains(&product.category))
            && (self.brands.is_empty() || self.brands.contains(&product.brand))
            && !self.excluded.contains(&product.sku)
    }
}

impl Asked {
    /// True if the customer's history is looked at.
    pub(super) fn is_personal(&self) -> bool {
        self.customer.is_some() && !self.preferences.opted_out
    }

    /// Puts candidates in order, the best first.
    pub(super) fn rank(&self, knowledge: &Knowledge, board: &Board) -> Vec<Candidate> {
        let Knowledge { counters, mix, .. } = knowledge;
        let mut all = All::new();
        let is_foretold = self.is_personal() && self.foretell(knowledge, &mut all);
        if self.is_personal() {
            self.history(counters, &mut all);
        }
        self.together(counters, &mut all);
        let looked_at = self.skus.iter().filter(|_| self.place == Place::ProductPage);
        let looked_at = looked_at.filter_map(|sku| counters.find(sku)).map(|product| product.category);
        let near: Vec<CategoryName> = looked_at.filter(|category| !category.is_empty()).collect();
        self.trends(board, mix, &near, &mut all);
        let wanted = all.into_values().filter(|(shown, _)| self.filter.keeps(shown));
        let weigh = |(shown, evidence)| self.candidate(shown, evidence, mix, is_foretold, &near);
        let candidates: Vec<Candidate> = wanted.map(weigh).collect();
        // Numbers are moved about more easily than candidates.
        let mut order: Vec<(f64, usize)> =
            candidates.iter().zip(0..).map(|(candidate, at)| (candidate.score, at)).collect();
        let sku = |at: usize| candidates[at].shown.sku;
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| sku(a.1).cmp(&sku(b.1))));
        order.into_iter().map(|(_, at)| candidates[at]).collect()
    }

    /// New products, beginning with another one for each customer and each day, so that each has its turn.
    pub(super) fn new<'a>(&'a self, board: &'a Board) -> impl Iterator<Item = Candidate> + Send + 'a {
        let name = self.customer.as_ref().filter(|_| self.is_personal());
        let name = name.map_or("", |customer| customer.as_str());
        let turn = xxh3_64(name.as_bytes()).wrapping_add(self.now_us / TURN_US);
        let wanted = board.new.iter().filter(|shown| self.filter.keeps(shown)).count();
        let first = (turn % wanted.max(1) as u64) as usize;
        let kept = || board.new.iter().filter(|shown| self.filter.keeps(shown));
        let turned = kept().skip(first).chain(kept().take(first));
        turned.map(|shown| Candidate { shown: *shown, score: 0.0, why: Why::New })
    }

    /// What there is beside, the most bought first.
    pub(super) fn rest<'a>(&'a self, board: &'a Board) -> impl Iterator<Item = Candidate> + Send + 'a {
        let wanted = board.rest.iter().filter(|charted| self.filter.keeps(&charted.shown));
        wanted.map(|charted| Candidate { shown: charted.shown, score: 0.0, why: Why::There(charted.orders) })
    }

    /// What the model says; false if it says nothing.
    fn foretell(&self, knowledge: &Knowledge, all: &mut All) -> bool {
        let Some(customer) = &self.customer else { return false };
        // Who looks at a product looks for something that they do not have.
        let task = match self.place {
            Place::ProductPage => Task::Discovery,
            Place::Home | Place::Basket => Task::NextBasket,
        };
        let foretold = knowledge.foretold(customer, task, self.now_us);
        for (place, likely) in &foretold {
            let Some(product) = knowledge.counters.product(*place) else { continue };
            of(all, Shown::of(product)).foretold = Some(*likely);
        }
        !foretold.is_empty()
    }

    fn history(&self, counters: &Counters, all: &mut All) {
        let known = self.customer.as_ref().and_then(|customer| counters.history(customer));
        for bought in known.iter().flat_map(|user| &user.bought) {
            let Some(product) = counters.product(bought.product) else { continue };
            let count = f64::from(bought.history((self.now_us / 1_000_000) as i64));
            of(all, Shown::of(product)).history = Some((count, bought.baskets));
        }
    }

    fn together(&self, counters: &Counters, found: &mut All) {
        for sku in &self.skus {
            let sold = counters.find(sku).and_then(|product| product.sold.as_ref());
            for neighbour in sold.iter().flat_map(|sold| &sold.together.neighbours) {
                let Some(product) = counters.product(neighbour.product) else { continue };
                let orders = neighbour.orders();
                let together = &mut of(found, Shown::of(product)).together;
                *together = Some(match *together {
                    Some((all, other, most)) if most >= orders => (all.saturating_add(orders), other, most),
                    Some((all, _, _)) => (all.saturating_add(orders), *sku, orders),
                    None => (orders, *sku, orders),
                });
            }
        }
    }

    /// The chart of all, and of each category that is wanted: what sells there may be far down in all.
    fn trends(&self, board: &Board, mix: &Mix, near: &[CategoryName], all: &mut All) {
        let (window, chart) = board.chart_from(mix.window);
        let top = chart.all.first().map_or(1, |first| first.orders) as f64;
        let wanted = near.iter().copied().chain(self.filter.categories.iter().copied());
        let wanted = wanted.chain(self.preferences.categories());
        let charted = |charted: &Charted, all: &mut All| {
            let share = charted.orders as f64 / top;
            of(all, charted.shown).trend = Some((share, window, charted.orders));
        };
        // A filter may leave only what stands far down.
        let depth = if self.filter.is_open() { CHARTED_MAX } else { usize::MAX };
        chart.all.iter().take(depth).for_each(|product| charted(product, all));
        for category in wanted {
            chart.category(&category).iter().for_each(|product| charted(product, all));
        }
    }

    fn candidate(
        &self,
        shown: Shown,
        evidence: Evidence,
        mix: &Mix,
        is_foretold: bool,
        near: &[CategoryName],
    ) -> Candidate {
        let personal = if self.place == Place::ProductPage { HISTORY_ON_PAGE } else { 1.0 };
        // Where a model ranks, it has weighed history and trends already: they are told as reasons.
        let own = match (is_foretold, evidence.foretold) {
            (true, Some(_)) => 0.0,
            (true, None) => UNFORETOLD,
            (false, _) => 1.0,
        };
        let Evidence { foretold, history, together, trend } = evidence;
        let history = history.map_or(0.0, |(count, _)| own * mix.history * personal * part(count, 1.0));
        let together = together.map_or(0.0, |(all, _, _)| mix.together * part(f64::from(all), TOGETHER_HALF));
        let trend = trend.map_or(0.0, |(share, _, _)| own * mix.trend * share);
        let foretold = foretold.map_or(0.0, |likely| mix.history * personal * likely);
        let mut score = foretold + history + together + trend;
        if near.contains(&shown.category) {
            score *= SAME_CATEGORY;
        }
        let liked = [self.preferences.like_category(&shown), self.preferences.like_brand(&shown)];
        liked.iter().filter(|liked| **liked).for_each(|_| score *= PREFERRED);
        Candidate { shown, score, why: Why::Weighed(evidence, [history, together, trend], liked) }
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
        let (evidence, weights, liked) = match self.why {
            Why::New => return vec![reason(wire::ReasonKind::New)],
            Why::There(0) => return vec![reason(wire::ReasonKind::Catalogue)],
            Why::There(orders) => return vec![many(orders, Window::Month)],
            Why::Weighed(evidence, weights, liked) => (evidence, weights, liked),
        };
        let own = match (evidence.history, evidence.foretold) {
            (Some((_, orders)), _) => {
                let why = reason(wire::ReasonKind::BoughtBefore);
                Some(wire::Reason { orders: u64::from(orders), ..why })
            }
            (None, Some(_)) => Some(reason(wire::ReasonKind::SimilarCustomers)),
            (None, None) => None,
        };
        let together = evidence.together.map(|(_, sku, most)| {
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
