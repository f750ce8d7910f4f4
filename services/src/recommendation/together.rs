//! What is bought together with a product: the most frequent neighbours in bounded memory (the
//! Space-Saving sketch). A neighbour that comes into a full list takes the place of the least frequent
//! one and its count, and remembers that count as what it may be wrong by; only the rest is told.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use rkyv::{Archive, Deserialize, Serialize};

/// Neighbours remembered of a product.
pub(super) const NEIGHBOURS_MAX: usize = 24;

/// A product bought together with another.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its place among the products.
    pub(super) product: u32,
    /// Orders with both, at most.
    orders: u32,
    /// By how much that may be too many.
    excess: u32,
}

impl Neighbour {
    /// Orders with both, at least.
    pub(super) fn orders(&self) -> u32 {
        self.orders - self.excess
    }
}

/// What is bought together with a product.
#[derive(Clone, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Together {
    pub(super) neighbours: Vec<Neighbour>,
}

impl Together {
    /// Counts one order with both.
    pub(super) fn add(&mut self, product: u32) {
        if let Some(known) = self.neighbours.iter_mut().find(|known| known.product == product) {
            known.orders = known.orders.saturating_add(1);
            return;
        }
        if self.neighbours.len() < NEIGHBOURS_MAX {
            self.neighbours.push(Neighbour { product, orders: 1, excess: 0 });
            return;
        }
        if let Some(least) = self.neighbours.iter_mut().min_by_key(|known| known.orders) {
            let excess = least.orders;
            *least = Neighbour { product, orders: excess.saturating_add(1), excess };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_never_too_much_and_the_frequent_ones_stay() {
        let mut together = Together::default();
        // Product 1 in every third order among a stream of products that come once.
        for number in 0..3_000u32 {
            together.add(if number % 3 == 0 { 1 } else { 1_000 + number });
        }
        assert_eq!(together.neighbours.len(), NEIGHBOURS_MAX);
        let frequent = together.neighbours.iter().find(|known| known.product == 1).unwrap();
        assert!((900..=1_000).contains(&frequent.orders()), "{frequent:?}");
        let others = together.neighbours.iter().filter(|known| known.product != 1);
        assert!(others.clone().all(|known| known.orders() == 1), "{:?}", others.collect::<Vec<_>>());
    }
}
