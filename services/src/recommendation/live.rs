//! Candidates that can be bought now, by the published stock.

use std::collections::{HashSet, VecDeque};
use std::vec::IntoIter;

use onrush_engine::StockView;
use onrush_grpc::recommendation::v1 as wire;
use onrush_proto::{Money, Sku};

use super::board::Shown;
use super::rank::{Candidate, Ranked};
use crate::backend::Backend;
use crate::field;
use crate::status::Rejection;

/// Candidates that are looked up at once.
const CHUNK: usize = 256;
/// Every so manieth place is a new product's.
const NEW_EVERY: usize = 10;
/// A page that has fewer places gives the last one to a new product; one with fewer than this none.
const NEW_FROM: usize = 4;

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
pub(super) struct Live<'a, T> {
    backend: &'a Backend,
    max_unit_price: Option<Money>,
    left: IntoIter<T>,
    ready: VecDeque<(T, Money)>,
}

impl<'a, T: Showable> Live<'a, T> {
    pub(super) fn of(backend: &'a Backend, list: Vec<T>, max_unit_price: Option<Money>) -> Self {
        Self { backend, max_unit_price, left: list.into_iter(), ready: VecDeque::new() }
    }

    /// The next that can be bought, with its price.
    pub(super) async fn next(&mut self) -> Result<Option<(T, Money)>, Rejection> {
        while self.ready.is_empty() {
            let chunk: Vec<T> = self.left.by_ref().take(CHUNK).collect();
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
    pub(super) async fn take(mut self, limit: usize) -> Result<Vec<(T, Money)>, Rejection> {
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

/// A page: the best that can be bought, with places for new products among them, and what else there is
/// where that is not enough.
pub(super) async fn page(
    backend: &Backend,
    ranked: Ranked,
    max_unit_price: Option<Money>,
    limit: usize,
) -> Result<Vec<wire::RecommendedProduct>, Rejection> {
    let Ranked { best, new, rest } = ranked;
    let of = |list| Live::of(backend, list, max_unit_price);
    let (mut best, mut new, mut rest) = (of(best), of(new), of(rest));
    let (mut page, mut given) = (Vec::new(), HashSet::new());
    while page.len() < limit {
        let place = page.len() + 1;
        let is_last = place == limit && (NEW_FROM..NEW_EVERY).contains(&limit);
        let lists = match place.is_multiple_of(NEW_EVERY) || is_last {
            true => [&mut new, &mut best, &mut rest],
            false => [&mut best, &mut new, &mut rest],
        };
        let Some((candidate, price)) = first(lists, &mut given).await? else { break };
        // A new product stands where its turn is, not by its score.
        let above = page.last().map(|above: &wire::RecommendedProduct| above.score);
        page.push(message(candidate, price, above));
    }
    Ok(page)
}

/// The next product of the first list that has one which was not given.
async fn first(
    lists: [&mut Live<'_, Candidate>; 3],
    given: &mut HashSet<Sku>,
) -> Result<Option<(Candidate, Money)>, Rejection> {
    for list in lists {
        while let Some((candidate, price)) = list.next().await? {
            if given.insert(candidate.shown.sku) {
                return Ok(Some((candidate, price)));
            }
        }
    }
    Ok(None)
}

fn message(candidate: Candidate, price: Money, above: Option<f64>) -> wire::RecommendedProduct {
    let Candidate { shown, score, reasons } = candidate;
    let is_new = reasons.iter().any(|reason| reason.kind() == wire::ReasonKind::New);
    wire::RecommendedProduct {
        sku: shown.sku.to_string(),
        category: shown.category.to_string(),
        brand: shown.brand.to_string(),
        unit_price: Some(field::money_message(price)),
        score: if is_new { above.unwrap_or(score) } else { score },
        reasons,
    }
}
