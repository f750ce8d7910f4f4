//! How long calls take: a histogram with the same bounds everywhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::family::Times;

/// Bounds of the buckets in us; the last bucket has none.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// The histogram of one row.
#[derive(Default)]
pub(super) struct Latency {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    total_us: AtomicU64,
}

impl Latency {
    pub(super) fn record(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Adds what was counted here.
    pub(super) fn add_to(&self, times: &mut Times) {
        let bounds_s = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        if times.buckets.is_empty() {
            times.buckets = bounds_s.map(|bound| (bound, 0)).collect();
        }
        for ((_, count), cell) in times.buckets.iter_mut().zip(&self.buckets) {
            *count += cell.load(Ordering::Relaxed);
        }
        times.sum += self.total_us.load(Ordering::Relaxed) as f64 / 1e6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_at_the_first_bound_that_holds_it() {
        let latency = Latency::default();
        for us in [0, 100, 101, 10_000_000, 10_000_001] {
            latency.record(Duration::from_micros(us));
        }
        let mut times = Times::default();
        latency.add_to(&mut times);
        latency.add_to(&mut times);
        let counted: Vec<_> = times.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(counted, [(0.0001, 4), (0.00025, 2), (10.0, 2), (f64::INFINITY, 2)]);
        assert!((times.sum - 40.000404).abs() < 1e-9, "{}", times.sum);
    }
}
