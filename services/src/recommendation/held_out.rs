//! The last stretch of the log, which nothing that is tried has seen: how well what customers bought there is foretold.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use onrush_proto::{CustomerId, Sku};
use onrush_scoring::evaluation::Hits;
use onrush_scoring::model::Model as Network;

use super::board::Board;
use super::counters::{Bounds, Counters};
use super::knowledge::Knowledge;
use super::mix::Mix;
use super::ml::Ml;
use super::operation::Operation;
use super::preferences::Preferences;
use super::purchase::{Lesson, Listing, Purchase};
use super::rank::{Asked, Filter, Place, Ranked};
use super::training::Unfinished;

/// The held-out stretch, at most.
const HELD_OUT_US: u64 = 7 * 24 * 3_600 * 1_000_000;
/// The share of orders that is held out, at most: one in so many.
const HELD_OUT_ONE_IN: usize = 5;
/// Fewest baskets that say anything.
const BASKETS_MIN: usize = 20;
/// Baskets that are foretold, at most.
const BASKETS_MAX: usize = 2_000;
/// Products that are foretold.
const DEPTH: usize = 10;

/// A customer of the past, and what they bought first in the held-out stretch.
pub(super) struct Basket {
    customer: CustomerId,
    skus: HashSet<Sku>,
}

/// The log in two.
pub(super) struct HeldOut<'a> {
    /// Orders before the held-out stretch.
    pub(super) past: &'a [Purchase],
    /// Counters of them.
    pub(super) counters: Counters,
    /// Where it begins.
    pub(super) cutoff_us: u64,
    /// The baskets in it.
    pub(super) baskets: Vec<Basket>,
}

impl<'a> HeldOut<'a> {
    /// Divides orders, which come by time, with the catalogue as it is now. Baskets of customers who are barred are
    /// left out.
    ///
    /// # Errors
    /// There are too few baskets.
    pub(super) fn of(
        purchases: &'a [Purchase],
        listings: &[Listing],
        barred: &HashSet<CustomerId>,
    ) -> Result<Self, String> {
        let time_us = |index: usize| purchases.get(index).map_or(0, |purchase| purchase.time_us);
        let last_us = time_us(purchases.len().saturating_sub(1));
        let share_us = time_us(purchases.len() - purchases.len() / HELD_OUT_ONE_IN);
        let cutoff_us = last_us.saturating_sub(HELD_OUT_US).max(share_us);
        let first_held_out = purchases.partition_point(|found| found.time_us < cutoff_us);
        let (past, held_out) = purchases.split_at(first_held_out);
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        listings.iter().for_each(|listing| counters.learn(&Lesson::Listed(*listing)));
        past.iter().for_each(|purchase| counters.learn(&Lesson::Bought(purchase.clone())));
        let mut firsts: HashMap<CustomerId, &Purchase> = HashMap::new();
        for purchase in held_out.iter().filter(|purchase| counters.history(&purchase.customer).is_some()) {
            firsts.entry(purchase.customer).or_insert(purchase);
        }
        let basket = |(customer, purchase): (CustomerId, &Purchase)| Basket {
            customer,
            skus: purchase.lines.iter().map(|(sku, _)| *sku).collect(),
        };
        let willing = firsts.into_iter().filter(|(customer, _)| !barred.contains(customer));
        let mut baskets: Vec<Basket> = willing.map(basket).collect();
        baskets.sort_unstable_by_key(|basket| basket.customer);
        if baskets.len() < BASKETS_MIN {
            return Err(format!(
                "expected at least {BASKETS_MIN} customers with paid orders both before and in the last stretch \
                 of the log, whose history may be looked at, found {} among {} orders",
                baskets.len(),
                purchases.len()
            ));
        }
        let step = baskets.len().div_ceil(BASKETS_MAX);
        let baskets = baskets.into_iter().step_by(step).collect();
        Ok(Self { past, counters, cutoff_us, baskets })
    }
}

/// What is known at the beginning of the held-out stretch, with what is tried there.
pub(super) struct Field {
    knowledge: Knowledge,
    board: Board,
    cutoff_us: u64,
}

impl Field {
    pub(super) fn new(counters: Counters, cutoff_us: u64) -> Self {
        let board = Board::of(&counters, cutoff_us);
        let knowledge = Knowledge::new(counters, Mix::default(), None, Arc::default());
        Self { knowledge, board, cutoff_us }
    }

    /// What is tried next: a mix, with a model or else the network that is named, if there is any.
    pub(super) fn put(&mut self, mix: Mix, network: Option<Arc<Network>>, named: Arc<Ml>) {
        drop(self.knowledge.put(mix, network, named));
        // Nothing is known of what was tried before.
        drop(self.knowledge.take(None));
        let outlook = self.knowledge.outlook(self.cutoff_us);
        drop(self.knowledge.take(outlook));
    }

    /// How well that foretells each of some baskets.
    pub(super) fn score(&self, baskets: &[&Basket], operation: &Operation) -> Result<Vec<Hits>, Unfinished> {
        let (mut found, mut ranked) = (Vec::with_capacity(baskets.len()), Ranked::default());
        for basket in baskets {
            if operation.is_cancelled() {
                return Err(Unfinished::Cancelled);
            }
            let asked = Asked {
                customer: Some(basket.customer),
                preferences: Preferences::default(),
                place: Place::Home,
                skus: Vec::new(),
                filter: Filter::default(),
                now_us: self.cutoff_us,
            };
            asked.rank(&self.knowledge, &self.board, DEPTH, &mut ranked);
            let bought = ranked.best.iter().map(|candidate| basket.skus.contains(&candidate.shown.sku));
            found.push(Hits::of(DEPTH, bought, basket.skus.len()));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::operation::Operations;

    const DAY_US: u64 = 24 * 3_600 * 1_000_000;
    const START_US: u64 = 20_000 * DAY_US;

    fn skus(names: &[&str]) -> Vec<Sku> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn purchase(customer: &str, day: u64, names: &[&str]) -> Purchase {
        let customer = customer.parse().unwrap();
        let lines = skus(names).into_iter().map(|sku| (sku, 499)).collect();
        Purchase { customer, time_us: START_US + day * DAY_US, lines }
    }

    #[test]
    fn baskets_are_the_first_of_known_customers_in_the_last_stretch() {
        let names: Vec<String> = (0..BASKETS_MIN).map(|number| format!("customer-{number:02}")).collect();
        let days = 0..10;
        let teas = days.flat_map(|day| names.iter().map(move |name| purchase(name, day, &["tea"])));
        let mut purchases: Vec<Purchase> = teas.collect();
        purchases.extend(names.iter().map(|name| purchase(name, 95, &["cup"])));
        purchases.extend(names.iter().map(|name| purchase(name, 100, &["pot"])));
        purchases.push(purchase("nobody-knew-her", 100, &["pot"]));
        let nobody = HashSet::new();
        let HeldOut { past, counters, cutoff_us, baskets } = HeldOut::of(&purchases, &[], &nobody).unwrap();
        assert_eq!(past.len(), 10 * BASKETS_MIN);
        assert_eq!(cutoff_us, START_US + 93 * DAY_US);
        assert_eq!(counters.counted().purchases as usize, 10 * BASKETS_MIN);
        assert_eq!(baskets.len(), BASKETS_MIN);
        let cup: HashSet<Sku> = skus(&["cup"]).into_iter().collect();
        assert!(baskets.iter().all(|basket| basket.skus == cup));
        // One customer fewer may be looked at.
        let barred = HashSet::from(["customer-00".parse().unwrap()]);
        let few = HeldOut::of(&purchases, &[], &barred).err().unwrap();
        assert!(few.contains("found 19 among 241 orders"), "{few}");
        // One customer fewer has bought before.
        purchases
            .retain(|found| found.customer != "customer-00".parse().unwrap() || found.time_us > cutoff_us);
        let few = HeldOut::of(&purchases, &[], &nobody).err().unwrap();
        assert!(few.contains("found 19 among 231 orders"), "{few}");
        assert!(HeldOut::of(&[], &[], &nobody).is_err());
    }

    #[test]
    fn baskets_are_foretold_until_it_is_called_off() {
        let names: Vec<String> = (0..BASKETS_MIN).map(|number| format!("customer-{number:02}")).collect();
        let days = (0..10).chain([95]);
        let purchases = days.flat_map(|day| names.iter().map(move |name| purchase(name, day, &["tea"])));
        let purchases: Vec<Purchase> = purchases.collect();
        let held_out = HeldOut::of(&purchases, &[], &HashSet::new()).unwrap();
        let baskets: Vec<&Basket> = held_out.baskets.iter().collect();
        let field = Field::new(held_out.counters, held_out.cutoff_us);
        let operations = Operations::default();
        let operation = operations.begin(|_| ()).unwrap();
        let found = field.score(&baskets, &operation).ok().unwrap();
        assert_eq!((found.len(), Hits::mean(&found).ndcg), (BASKETS_MIN, 1.0));
        operations.cancel(&operation.message().operation_id).unwrap();
        assert!(matches!(field.score(&baskets, &operation), Err(Unfinished::Cancelled)));
    }
}
