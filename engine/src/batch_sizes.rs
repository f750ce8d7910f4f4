//! How large batches are: a histogram per shard, written once per batch by the shard's own thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Doublings told apart: batches of up to 1, 2, 4 .. 16,384, and larger ones.
const BUCKETS: usize = 16;

/// The histogram of one shard. One thread writes, any may read.
#[derive(Default)]
pub(crate) struct BatchCells([AtomicU64; BUCKETS]);

impl BatchCells {
    /// Counts a batch. Only the shard's own thread may call this.
    pub(crate) fn record(&self, size: usize) {
        let cell = &self.0[bucket(size)];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The bucket of a size: the exponent of the next power of two.
fn bucket(size: usize) -> usize {
    (size.max(1).next_power_of_two().ilog2() as usize).min(BUCKETS - 1)
}

/// How large the batches of some shards were.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BatchSizes([u64; BUCKETS]);

impl BatchSizes {
    pub(crate) fn add(&mut self, cells: &BatchCells) {
        self.0.iter_mut().zip(&cells.0).for_each(|(sum, cell)| *sum += cell.load(Ordering::Relaxed));
    }

    /// Each bound with the batches that are larger than the one before and no larger than it; the last has
    /// no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bound = |at: usize| (at + 1 < BUCKETS).then_some(1 << at);
        self.0.iter().enumerate().map(move |(at, batches)| (bound(at), *batches))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_counted_below_its_bound() {
        let cells = BatchCells::default();
        [1, 2, 3, 4, 5, 8_192, 1 << 20].into_iter().for_each(|size| cells.record(size));
        let mut sizes = BatchSizes::default();
        sizes.add(&cells);
        let counted: Vec<_> = sizes.buckets().filter(|(_, batches)| *batches > 0).collect();
        let expected = [(Some(1), 1), (Some(2), 1), (Some(4), 2), (Some(8), 1), (Some(8_192), 1), (None, 1)];
        assert_eq!(counted, expected);
    }
}
