//! How the simulated carrier behaves: how fast its parcels go, and what goes wrong.

use std::str::FromStr;
use std::time::Duration;

use crate::dice::Roll;

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

/// A text that does not describe a behaviour.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BehaviourError {
    /// Not `name=value`.
    #[error("expected name=value, found {0:?}")]
    Pair(String),
    /// No such name.
    #[error("expected one of {names}, found {0:?}", names = NAMES.join(", "))]
    Name(String),
    /// A value out of range.
    #[error("{name}: expected {expected}, found {found:?}")]
    Value {
        /// The name.
        name: String,
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
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
    type Err = BehaviourError;

    fn from_str(text: &str) -> Result<Self, BehaviourError> {
        let mut behaviour = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| BehaviourError::Pair(pair.into()))?;
            behaviour.set(name.trim(), value.trim())?;
        }
        if behaviour.p99_ms < behaviour.p50_ms {
            return Err(wrong("p99_ms", "at least p50_ms", &behaviour.p99_ms.to_string()));
        }
        Ok(behaviour)
    }
}

impl Behaviour {
    fn set(&mut self, name: &str, value: &str) -> Result<(), BehaviourError> {
        match name {
            "seed" => self.seed = value.parse().map_err(|_| wrong(name, "a whole number", value))?,
            "timeout" => self.timeout = share(name, value)?,
            "dropped" => self.dropped = share(name, value)?,
            "refused" => self.refused = share(name, value)?,
            "exception" => self.exception = share(name, value)?,
            "doubled" => self.doubled = share(name, value)?,
            "reordered" => self.reordered = share(name, value)?,
            "p50_ms" => self.p50_ms = millis(name, value)?,
            "p99_ms" => self.p99_ms = millis(name, value)?,
            "pickup_ms" => self.pickup_ms = way(name, value)?,
            "transit_ms" => self.transit_ms = way(name, value)?,
            "delivery_ms" => self.delivery_ms = way(name, value)?,
            _ => return Err(BehaviourError::Name(name.into())),
        }
        Ok(())
    }

    /// How long a call takes.
    pub(super) fn latency(&self, roll: Roll) -> Duration {
        roll.latency(self.p50_ms, self.p99_ms)
    }
}

fn share(name: &str, value: &str) -> Result<f64, BehaviourError> {
    let share = value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| wrong(name, "a share of 0 to 1", value))
}

fn millis(name: &str, value: &str) -> Result<f64, BehaviourError> {
    let millis = value.parse().ok().filter(|millis| (0.0..=60_000.0).contains(millis));
    millis.ok_or_else(|| wrong(name, "milliseconds, 0 to 60,000", value))
}

fn way(name: &str, value: &str) -> Result<u64, BehaviourError> {
    let millis = value.parse().ok().filter(|millis| *millis <= 2_592_000_000);
    millis.ok_or_else(|| wrong(name, "milliseconds, 0 to 2,592,000,000", value))
}

fn wrong(name: &str, expected: &'static str, found: &str) -> BehaviourError {
    BehaviourError::Value { name: name.into(), expected, found: found.into() }
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
