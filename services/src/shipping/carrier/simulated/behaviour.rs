//! How the simulated carrier behaves: how fast its parcels go, and what goes wrong.

use std::str::FromStr;
use std::time::Duration;

use crate::dice::Roll;
use crate::pairs::{Pair, PairsError, pairs, percentiles};

/// Probabilities and times, read from text such as `timeout=0.02,dropped=0.02,pickup_ms=1000`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Behaviour {
    /// Of every decision.
    pub seed: u64,
    /// Share of first calls that never arrive.
    pub timeout: f64,
    /// Share of first calls that are done and lose their reply.
    pub dropped: f64,
    /// Share of parcels that the carrier refuses.
    pub refused: f64,
    /// Share of parcels that meet an exception on their way, and go on.
    pub exception: f64,
    /// Share of updates that are told twice.
    pub doubled: f64,
    /// Share of updates that are told after later ones.
    pub reordered: f64,
    /// Median latency of a call in ms.
    pub p50_ms: f64,
    /// 99th percentile of the latency in ms.
    pub p99_ms: f64,
    /// From the label to the pick-up, in ms.
    pub pickup_ms: u64,
    /// From the pick-up to the last van, in ms.
    pub transit_ms: u64,
    /// From the last van to the door, in ms.
    pub delivery_ms: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            seed: 1,
            timeout: 0.0,
            dropped: 0.0,
            refused: 0.0,
            exception: 0.0,
            doubled: 0.0,
            reordered: 0.0,
            p50_ms: 5.0,
            p99_ms: 25.0,
            pickup_ms: 1_000,
            transit_ms: 2_000,
            delivery_ms: 2_000,
        }
    }
}

const NAMES: [&str; 12] = [
    "seed",
    "timeout",
    "dropped",
    "refused",
    "exception",
    "doubled",
    "reordered",
    "p50_ms",
    "p99_ms",
    "pickup_ms",
    "transit_ms",
    "delivery_ms",
];

impl FromStr for Behaviour {
    type Err = PairsError;

    fn from_str(text: &str) -> Result<Self, PairsError> {
        let mut behaviour = Self::default();
        for pair in pairs(text) {
            behaviour.set(pair?)?;
        }
        percentiles(behaviour.p50_ms, behaviour.p99_ms)?;
        Ok(behaviour)
    }
}

impl Behaviour {
    fn set(&mut self, pair: Pair<'_>) -> Result<(), PairsError> {
        match pair.name {
            "seed" => self.seed = pair.whole()?,
            "timeout" => self.timeout = pair.share()?,
            "dropped" => self.dropped = pair.share()?,
            "refused" => self.refused = pair.share()?,
            "exception" => self.exception = pair.share()?,
            "doubled" => self.doubled = pair.share()?,
            "reordered" => self.reordered = pair.share()?,
            "p50_ms" => self.p50_ms = pair.millis()?,
            "p99_ms" => self.p99_ms = pair.millis()?,
            "pickup_ms" => self.pickup_ms = pair.month_ms()?,
            "transit_ms" => self.transit_ms = pair.month_ms()?,
            "delivery_ms" => self.delivery_ms = pair.month_ms()?,
            _ => return Err(pair.unknown(&NAMES)),
        }
        Ok(())
    }

    /// How long a call takes.
    pub(super) fn latency(&self, roll: Roll) -> Duration {
        roll.latency(self.p50_ms, self.p99_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_behaviour_and_names_what_is_wrong() {
        let read: Behaviour = "timeout=0.12, p50_ms=300,p99_ms=3000,pickup_ms=9".parse().unwrap();
        assert_eq!((read.timeout, read.p50_ms, read.pickup_ms), (0.12, 300.0, 9));
        for (text, expected) in [
            ("timeout", "expected name=value"),
            ("luck=1", "expected one of seed, timeout"),
            ("refused=2", "refused: expected a share"),
            ("p50_ms=50,p99_ms=5", "p99_ms: expected at least p50_ms"),
            ("transit_ms=-1", "transit_ms: expected milliseconds"),
        ] {
            let error = text.parse::<Behaviour>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for name in NAMES {
            assert!(format!("p50_ms=0.5,{name}=1,p99_ms=1").parse::<Behaviour>().is_ok(), "{name}");
        }
    }
}
