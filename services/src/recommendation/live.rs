//! Candidates that can be bought now, by the published stock.

use std::collections::{HashSet, VecDeque};

use onrush_engine::StockView;
use onrush_grpc::recommendation::v1 as wire;
use onrush_proto::{Money, Sku};

use super::board::{Board, Shown};
use super::rank::{Asked, Candidate, Ranked};
use crate::backend::Backend;
use crate::field;
use crate::status::Rejection;

/// Candidates that are looked up at once: few at first, as most pages are short and most products are there.
const CHUNK_FIRST: usize = 32;
const CHUNK: usize = 256;
/// The same of those that have only some places of a page.
const CHUNK_OF_TURNS: usize = 8;
/// Every so manieth place is a new product's.
const NEW_EVERY: usize = 10;
/// A page that has fewer places gives the last one to a new product; one with fewer than this none.
const NEW_FROM: usize = 4;
/// Behind so many places every so manieth is a find's: what a model foretells that the customer never bought.
const FINDS_FROM: usize = 10;
const FIND_EVERY: usize = 3;

/// Something to show.
pub(super) trait Showable {
    fn sku(&self) -> Sku;
}

impl Showable for Candidate {
    fn sku(&self) -> Sku {
        self.shown.sku
    }
}

impl<T> Showable for (Shown, T) {
    fn sku(&self) -> Sku {
        self.0.sku
    }
}

/// What can be bought, in the order of a list.
pub(super) struct Live<'a, I: Iterator> {
    backend: &'a Backend,
    max_unit_price: Option<Money>,
    left: I,
    chunk: usize,
    ready: VecDeque<(I::Item, Money)>,
}

impl<'a, I: Iterator<Item: Showable>> Live<'a, I> {
    pub(super) fn of(
        backend: &'a Backend,
        list: impl IntoIterator<IntoIter = I>,
        max_unit_price: Option<Money>,
    ) -> Self {
        let left = list.into_iter();
        Self { backend, max_unit_price, left, chunk: CHUNK_FIRST, ready: VecDeque::new() }
    }

    /// The same for a list that has only some places of a page.
    fn of_turns(
        backend: &'a Backend,
        list: impl IntoIterator<IntoIter = I>,
        max_unit_price: Option<Money>,
    ) -> Self {
        Self { chunk: CHUNK_OF_TURNS, ..Self::of(backend, list, max_unit_price) }
    }

    /// The next that can be bought, with its price.
    pub(super) async fn next(&mut self) -> Result<Option<(I::Item, Money)>, Rejection> {
        while self.ready.is_empty() {
            let chunk: Vec<I::Item> = self.left.by_ref().take(self.chunk).collect();
            self.chunk = CHUNK;
            if chunk.is_empty() {
                return Ok(None);
            }
            let shelf = self.backend.shelf(chunk.iter().map(Showable::sku)).await?;
            for product in chunk {
                let stock = shelf.stock(&product.sku()).filter(StockView::is_on_sale);
                let price = stock.map(|stock| stock.price).filter(|price| self.affords(*price));
                self.ready.extend(price.map(|price| (product, price)));
            }
        }
        Ok(self.ready.pop_front())
    }

    /// The first so many.
    pub(super) async fn take(mut self, limit: usize) -> Result<Vec<(I::Item, Money)>, Rejection> {
        let mut taken = Vec::new();
        while taken.len() < limit {
            let Some(next) = self.next().await? else { break };
            taken.push(next);
        }
        Ok(taken)
    }

    fn affords(&self, price: Money) -> bool {
        self.max_unit_price.is_none_or(|max| price.currency == max.currency && price.minor <= max.minor)
    }
}

/// Products to show.
pub(super) struct Page {
    pub(super) products: Vec<wire::RecommendedProduct>,
    /// True if the best were all shown or looked at in vain: more of them would have changed the page.
    pub(super) ran_out: bool,
}

/// Whose turn a place is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Best,
    New,
    Find,
}

impl Turn {
    /// Of a place from 1 on, of so many.
    fn of(place: usize, limit: usize) -> Self {
        let is_last = place == limit && (NEW_FROM..NEW_EVERY).contains(&limit);
        match () {
            () if place.is_multiple_of(NEW_EVERY) || is_last => Self::New,
            () if place > FINDS_FROM && (place - FINDS_FROM).is_multiple_of(FIND_EVERY) => Self::Find,
            () => Self::Best,
        }
    }
}

/// A page: the best that can be bought, with places for new products and finds among them, and what else there is
/// where that is not enough.
pub(super) async fn page(
    backend: &Backend,
    asked: &Asked,
    ranked: &mut Ranked,
    board: &Board,
    limit: usize,
) -> Result<Page, Rejection> {
    let max = asked.filter.max_unit_price;
    let mut best = Live::of(backend, ranked.best.drain(..), max);
    let mut finds = Live::of_turns(backend, ranked.finds.drain(..), max);
    let mut new = Live::of_turns(backend, asked.newcomers(board), max);
    let mut rest = Live::of(backend, asked.rest(board), max);
    let (mut page, mut given, mut ran_out) = (Vec::new(), HashSet::new(), false);
    while page.len() < limit {
        let mut found = match Turn::of(page.len() + 1, limit) {
            Turn::New => first(&mut new, &mut given).await?,
            Turn::Find => first(&mut finds, &mut given).await?,
            Turn::Best => None,
        };
        let has_turn = found.is_some();
        if !has_turn {
            found = first(&mut best, &mut given).await?;
            ran_out |= found.is_none();
        }
        if found.is_none() {
            found = first(&mut new, &mut given).await?;
        }
        if found.is_none() {
            found = first(&mut rest, &mut given).await?;
        }
        let Some((candidate, price)) = found else { break };
        // What stands where its turn is stands there whatever its score.
        let above = page.last().map(|above: &wire::RecommendedProduct| above.score);
        page.push(message(candidate, price, above.filter(|_| has_turn || candidate.is_new())));
    }
    Ok(Page { products: page, ran_out })
}

/// The next product of a list that was not given.
async fn first<I: Iterator<Item = Candidate>>(
    list: &mut Live<'_, I>,
    given: &mut HashSet<Sku>,
) -> Result<Option<(Candidate, Money)>, Rejection> {
    while let Some((candidate, price)) = list.next().await? {
        if given.insert(candidate.shown.sku) {
            return Ok(Some((candidate, price)));
        }
    }
    Ok(None)
}

/// A product with its score, or with that of what stands above it.
fn message(candidate: Candidate, price: Money, above: Option<f64>) -> wire::RecommendedProduct {
    let Candidate { shown, score, .. } = candidate;
    wire::RecommendedProduct {
        sku: shown.sku.to_string(),
        category: shown.category.to_string(),
        brand: shown.brand.to_string(),
        unit_price: Some(field::money_message(price)),
        score: above.unwrap_or(score),
        reasons: candidate.reasons(),
    }
}
