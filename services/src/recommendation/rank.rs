//! Who is shown what, and why: candidates from a customer's history, from the charts and from what is
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
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Candidate {
    pub(super) shown: Shown,
    pub(super) score: f64,
    pub(super) reasons: Vec<wire::Reason>,
}

/// Candidates in three lists: the known ones by score, new ones by turn, and others.
#[derive(Default, Debug)]
pub(super) struct Ranked {
    pub(super) best: Vec<Candidate>,
    pub(super) new: Vec<Candidate>,
    pub(super) rest: Vec<Candidate>,
}

/// What speaks for a product.
struct Parts {
    shown: Shown,
    /// How likely it is bought, against the likeliest, as the model has it.
    foretold: Option<f64>,
    /// The decayed count, and the orders behind it.
    history: Option<(f64, u32)>,
    trend: Option<(f64, Window, u64)>,
    /// Orders with both over all that is looked at, and the strongest of them.
    together: Option<(u32, Sku, u32)>,
}

impl Filter {
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

    /// Puts candidates in order.
    pub(super) fn rank(&self, knowledge: &Knowledge, board: &Board) -> Ranked {
        let Knowledge { counters, mix, .. } = knowledge;
        let mut parts = HashMap::new();
        let is_foretold = self.is_personal() && self.foretell(knowledge, &mut parts);
        if self.is_personal() {
            self.history(counters, &mut parts);
        }
        self.together(counters, &mut parts);
        let near: Vec<CategoryName> = match self.place {
            Place::ProductPage => self.skus.iter().filter_map(|sku| counters.find(sku)).collect(),
            Place::Home | Place::Basket => Vec::new(),
        }
        .into_iter()
        .map(|product| product.category)
        .filter(|category| !category.is_empty())
        .collect();
        self.trends(board, mix, &near, &mut parts);
        let candidates = parts.into_values().filter(|parts| self.filter.keeps(&parts.shown));
        let weighed = candidates.map(|parts| self.candidate(parts, mix, is_foretold, &near));
        let mut best: Vec<Candidate> = weighed.collect();
        best.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.shown.sku.cmp(&b.shown.sku)));
        Ranked {
            best,
            new: self.turn(&board.new),
            rest: self.plain(&board.rest, wire::ReasonKind::Catalogue),
        }
    }

    /// What the model says; false if it says nothing.
    fn foretell(&self, knowledge: &Knowledge, parts: &mut HashMap<Sku, Parts>) -> bool {
        let Some(customer) = &self.customer else { return false };
        // Who looks at a product looks for something that they do not have.
        let task = match self.place {
            Place::ProductPage => Task::Discovery,
            Place::Home | Place::Basket => Task::NextBasket,
        };
        let foretold = knowledge.foretold(customer, task, self.now_us);
        for (place, likely) in &foretold {
            let Some(product) = knowledge.counters.product(*place) else { continue };
            Parts::of(parts, Shown::of(product)).foretold = Some(*likely);
        }
        !foretold.is_empty()
    }

    fn history(&self, counters: &Counters, parts: &mut HashMap<Sku, Parts>) {
        let known = self.customer.as_ref().and_then(|customer| counters.history(customer));
        for bought in known.iter().flat_map(|user| &user.bought) {
            let Some(product) = counters.product(bought.product) else { continue };
            let count = f64::from(bought.history((self.now_us / 1_000_000) as i64));
            Parts::of(parts, Shown::of(product)).history = Some((count, bought.baskets));
        }
    }

    fn together(&self, counters: &Counters, parts: &mut HashMap<Sku, Parts>) {
        for sku in &self.skus {
            let sold = counters.find(sku).and_then(|product| product.sold.as_ref());
            for neighbour in sold.iter().flat_map(|sold| &sold.together.neighbours) {
                let Some(product) = counters.product(neighbour.product) else { continue };
                let orders = neighbour.orders();
                let together = &mut Parts::of(parts, Shown::of(product)).together;
                *together = Some(match *together {
                    Some((all, other, most)) if most >= orders => (all.saturating_add(orders), other, most),
                    Some((all, _, _)) => (all.saturating_add(orders), *sku, orders),
                    None => (orders, *sku, orders),
                });
            }
        }
    }

    /// The chart of all, and of each category that is wanted: what sells there may be far down in all.
    fn trends(&self, board: &Board, mix: &Mix, near: &[CategoryName], parts: &mut HashMap<Sku, Parts>) {
        let (window, chart) = board.chart_from(mix.window);
        let top = chart.all.first().map_or(1, |first| first.orders) as f64;
        let wanted = near.iter().copied().chain(self.filter.categories.iter().copied());
        let wanted = wanted.chain(self.preferences.categories());
        let charted = |charted: &Charted, parts: &mut HashMap<Sku, Parts>| {
            let share = charted.orders as f64 / top;
            Parts::of(parts, charted.shown).trend = Some((share, window, charted.orders));
        };
        chart.all.iter().for_each(|product| charted(product, parts));
        for category in wanted {
            chart.category(&category).iter().for_each(|product| charted(product, parts));
        }
    }

    fn candidate(&self, parts: Parts, mix: &Mix, is_foretold: bool, near: &[CategoryName]) -> Candidate {
        let mut weighed = Vec::with_capacity(4);
        let personal = if self.place == Place::ProductPage { HISTORY_ON_PAGE } else { 1.0 };
        // Where a model ranks, it has weighed history and trends already: they are told as reasons.
        let own = match (is_foretold, parts.foretold) {
            (true, Some(_)) => 0.0,
            (true, None) => UNFORETOLD,
            (false, _) => 1.0,
        };
        let reason = |kind: wire::ReasonKind, orders: u64| wire::Reason {
            kind: kind.into(),
            orders,
            ..wire::Reason::default()
        };
        let mut score = parts.foretold.map_or(0.0, |likely| mix.history * personal * likely);
        if let Some((count, orders)) = parts.history {
            let why = reason(wire::ReasonKind::BoughtBefore, u64::from(orders));
            weighed.push((own * mix.history * personal * part(count, 1.0), why));
        } else if parts.foretold.is_some() {
            weighed.push((0.0, reason(wire::ReasonKind::SimilarCustomers, 0)));
        }
        if let Some((all, sku, most)) = parts.together {
            let why = reason(wire::ReasonKind::BoughtTogether, u64::from(most));
            let why = wire::Reason { sku: sku.to_string(), ..why };
            weighed.push((mix.together * part(f64::from(all), TOGETHER_HALF), why));
        }
        if let Some((share, window, orders)) = parts.trend {
            let why = reason(wire::ReasonKind::Trending, orders);
            weighed.push((own * mix.trend * share, wire::Reason { window: window.message().into(), ..why }));
        }
        weighed.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        score += weighed.iter().map(|(weight, _)| weight).sum::<f64>();
        let mut reasons: Vec<wire::Reason> = weighed.into_iter().map(|(_, why)| why).collect();
        if near.contains(&parts.shown.category) {
            score *= SAME_CATEGORY;
        }
        for (liked, kind) in [
            (self.preferences.like_category(&parts.shown), wire::ReasonKind::PreferredCategory),
            (self.preferences.like_brand(&parts.shown), wire::ReasonKind::PreferredBrand),
        ] {
            if liked {
                score *= PREFERRED;
                reasons.push(reason(kind, 0));
            }
        }
        Candidate { shown: parts.shown, score, reasons }
    }

    /// New products, beginning with another one for each customer and each day, so that each has its turn.
    fn turn(&self, new: &[Shown]) -> Vec<Candidate> {
        let mut candidates = self.plain(new, wire::ReasonKind::New);
        if !candidates.is_empty() {
            let name = self.customer.as_ref().filter(|_| self.is_personal());
            let name = name.map_or("", |customer| customer.as_str());
            let turn = xxh3_64(name.as_bytes()).wrapping_add(self.now_us / TURN_US);
            let first = (turn % candidates.len() as u64) as usize;
            candidates.rotate_left(first);
        }
        candidates
    }

    fn plain(&self, products: &[Shown], kind: wire::ReasonKind) -> Vec<Candidate> {
        let reasons = vec![wire::Reason { kind: kind.into(), ..wire::Reason::default() }];
        let wanted = products.iter().filter(|product| self.filter.keeps(product));
        wanted.map(|shown| Candidate { shown: *shown, score: 0.0, reasons: reasons.clone() }).collect()
    }
}

impl Parts {
    fn of(all: &mut HashMap<Sku, Self>, shown: Shown) -> &mut Self {
        all.entry(shown.sku).or_insert(Self {
            shown,
            foretold: None,
            history: None,
            trend: None,
            together: None,
        })
    }
}
