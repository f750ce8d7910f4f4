//! Dice for what is simulated: each roll is a hash of a seed and a name, so a run with the same seed
//! and names goes the same way.

use std::f64::consts::TAU;
use std::time::Duration;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The longest that anything simulated takes.
const LATENCY_MAX_MS: f64 = 60_000.0;

/// One roll.
#[derive(Clone, Copy)]
pub(crate) struct Roll(u64);

impl Roll {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Self(xxh3_64_with_seed(name.as_bytes(), seed))
    }

    /// Another roll of the same name.
    pub(crate) fn salted(self, salt: &str) -> Self {
        Self(xxh3_64_with_seed(salt.as_bytes(), self.0) ^ xxh3_64(salt.as_bytes()))
    }

    pub(crate) fn hits(self, share: f64) -> bool {
        self.share() < share
    }

    /// 0 up to, not including, 1.
    pub(crate) fn share(self) -> f64 {
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A time with these percentiles; log-normal between and beyond.
    pub(crate) fn latency(self, p50_ms: f64, p99_ms: f64) -> Duration {
        if p50_ms <= 0.0 {
            return Duration::ZERO;
        }
        // The 99th percentile of a standard normal is 2.326; Box-Muller makes one of two rolls.
        let sigma = (p99_ms / p50_ms).ln() / 2.326;
        let (one, two) = (self.salted("latency").share(), self.salted("phase").share());
        let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (TAU * two).cos();
        Duration::from_secs_f64((p50_ms * (sigma * normal).exp()).min(LATENCY_MAX_MS) / 1_000.0)
    }
}
