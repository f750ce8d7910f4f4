//! The best of many that come in any sequence, in memory that is kept.

use crate::scan::{entry, key};

/// The best `keep` of the products that were offered; of equal scores the lower numbers.
#[derive(Debug, Default)]
pub(crate) struct Best {
    /// By `key`: the lower the better.
    keys: Vec<u64>,
    keep: usize,
    /// What is not below this key is not among the best.
    bound: u64,
}

impl Best {
    /// Begins anew.
    pub(crate) fn begin(&mut self, keep: usize) {
        self.keys.clear();
        self.keys.reserve(Self::room_for(keep));
        self.keep = keep;
        self.bound = if keep == 0 { 0 } else { u64::MAX };
    }

    /// How many keys a buffer takes before it is thinned.
    const fn room_for(keep: usize) -> usize {
        2 * keep + 32
    }

    /// What a score has to be at least to come among the best; nothing is below it but what lost already.
    pub(crate) fn at_least(&self) -> f32 {
        match self.bound {
            0 => f32::INFINITY,
            u64::MAX => f32::NEG_INFINITY,
            bound => entry(bound).1,
        }
    }

    /// Offers a product, each once.
    pub(crate) fn offer(&mut self, score: f32, product: u32) {
        let key = key(score, product);
        if key >= self.bound {
            return;
        }
        self.keys.push(key);
        if self.keys.len() == Self::room_for(self.keep) {
            let (_, last, _) = self.keys.select_nth_unstable(self.keep - 1);
            self.bound = *last;
            self.keys.truncate(self.keep);
        }
    }

    /// The best of them, in no order.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = u32> + '_ {
        if self.keys.len() > self.keep {
            self.keys.select_nth_unstable(self.keep.saturating_sub(1));
            self.keys.truncate(self.keep);
        }
        self.keys.iter().map(|key| entry(*key).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_those_that_sorting_all_would_put_first() {
        let mut random = fastrand::Rng::with_seed(6);
        let mut best = Best::default();
        for (count, keep) in [(0, 3), (2, 3), (3, 3), (5_000, 0), (5_000, 1), (5_000, 60), (500, 499)] {
            // Few values, so that many are equal.
            let mut offered: Vec<(f32, u32)> = (0..count).map(|at| (random.i32(-9..90) as f32, at)).collect();
            random.shuffle(&mut offered);
            best.begin(keep);
            for (score, product) in &offered {
                let was_below = *score < best.at_least();
                let before = best.keys.len();
                best.offer(*score, *product);
                assert!(!was_below || best.keys.len() == before);
            }
            let mut found: Vec<u32> = best.all().collect();
            found.sort_unstable();
            offered.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut wanted: Vec<u32> = offered.iter().take(keep).map(|(_, product)| *product).collect();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{keep} of {count}");
        }
    }
}
