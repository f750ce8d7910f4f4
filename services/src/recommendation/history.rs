//! What a customer bought: per product a count that halves every 90 days.
//!
//! A count is kept as its logarithm, as if it had grown since the epoch and never decayed: then adding
//! an order is the same whenever it comes, and so is what comes out, whichever shard is read first.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use rkyv::{Archive, Deserialize, Serialize};

/// In which time a count halves.
const HALF_LIFE_US: f64 = 90.0 * 24.0 * 3_600.0 * 1e6;
/// Products remembered of a customer; beyond them the one that counts least leaves.
pub(super) const BOUGHT_MAX: usize = 64;

/// A product that a customer bought.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Bought {
    /// Its place among the products.
    pub(super) product: u32,
    /// Orders with it.
    pub(super) orders: u32,
    /// The count: 2 to the power of this, as of the epoch.
    level: f64,
}

/// What a customer bought.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct History {
    /// Time of the newest order.
    pub(super) last_us: u64,
    pub(super) bought: Vec<Bought>,
}

impl Bought {
    /// The count as of a time.
    pub(super) fn count(&self, now_us: u64) -> f64 {
        (self.level - now_us as f64 / HALF_LIFE_US).exp2()
    }
}

impl History {
    /// Counts one order with a product.
    pub(super) fn add(&mut self, product: u32, time_us: u64) {
        self.last_us = self.last_us.max(time_us);
        let level = time_us as f64 / HALF_LIFE_US;
        if let Some(known) = self.bought.iter_mut().find(|known| known.product == product) {
            known.orders = known.orders.saturating_add(1);
            let (more, less) = (known.level.max(level), known.level.min(level));
            known.level = more + (less - more).exp2().ln_1p() / std::f64::consts::LN_2;
            return;
        }
        let new = Bought { product, orders: 1, level };
        if self.bought.len() < BOUGHT_MAX {
            self.bought.push(new);
            return;
        }
        let least = self.bought.iter_mut().min_by(|a, b| a.level.total_cmp(&b.level));
        if let Some(least) = least.filter(|least| least.level <= level) {
            *least = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: u64 = 24 * 3_600 * 1_000_000;
    const START_US: u64 = 20_000 * DAY_US;

    #[test]
    fn a_count_halves_in_90_days_and_adds_up_in_any_sequence() {
        let table: [(&[u64], u64, f64); 5] = [
            (&[0], 0, 1.0),
            (&[0], 90, 0.5),
            (&[0, 0, 0], 180, 0.75),
            (&[0, 90], 90, 1.5),
            (&[90, 0, 45], 90, 1.5 + 0.5f64.sqrt()),
        ];
        for (days, now, expected) in table {
            let mut history = History::default();
            days.iter().for_each(|day| history.add(7, START_US + day * DAY_US));
            let found = history.bought[0].count(START_US + now * DAY_US);
            assert!((found - expected).abs() < 1e-9, "{days:?} after {now} days: {found}");
            assert_eq!(history.bought[0].orders as usize, days.len());
        }
    }

    #[test]
    fn what_counts_least_leaves() {
        let mut history = History::default();
        for product in 0..BOUGHT_MAX as u32 {
            history.add(product, START_US + u64::from(product) * DAY_US);
        }
        history.add(0, START_US + 100 * DAY_US);
        history.add(999, START_US + 101 * DAY_US);
        let products: Vec<u32> = history.bought.iter().map(|bought| bought.product).collect();
        assert_eq!(products.len(), BOUGHT_MAX);
        assert!(products.contains(&0) && products.contains(&999) && !products.contains(&1), "{products:?}");
        // One that is older than all others does not come in.
        history.add(1_000, START_US);
        assert!(!history.bought.iter().any(|bought| bought.product == 1_000));
    }
}
