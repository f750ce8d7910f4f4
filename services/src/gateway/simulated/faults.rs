//! How the simulated gateway misbehaves. Each decision is a hash of seed, key and call, so a run
//! with the same seed and keys goes the same way.

use std::str::FromStr;
use std::time::Duration;

use crate::dice::Roll;
use crate::gateway::GatewayKey;
use crate::pairs::{Pair, PairsError, pairs, percentiles};

/// Probabilities and times, read from text such as `decline=0.12,timeout=0.02,p50_ms=300,p99_ms=3000`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Faults {
    /// Of every decision.
    pub seed: u64,
    /// Share of charges that are declined.
    pub decline: f64,
    /// Share of captures that are refused: the reservation has lapsed.
    pub capture_decline: f64,
    /// Share of first calls that never arrive.
    pub timeout: f64,
    /// Share of first calls that are done and lose their reply.
    pub dropped: f64,
    /// Share of webhooks that come twice.
    pub doubled: f64,
    /// Share of webhooks that come 250 ms late, after later ones.
    pub reordered: f64,
    /// Share of calls that fail during a brown-out.
    pub brownout_ratio: f64,
    /// When the brown-out begins, in ms after the start.
    pub brownout_at_ms: u64,
    /// How long it lasts, in ms.
    pub brownout_ms: u64,
    /// When the outage begins in which every call fails, in ms after the start.
    pub outage_at_ms: u64,
    /// How long it lasts, in ms.
    pub outage_ms: u64,
    /// Median latency of a call in ms.
    pub p50_ms: f64,
    /// 99th percentile of the latency in ms; log-normal between and beyond.
    pub p99_ms: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 1,
            decline: 0.0,
            capture_decline: 0.0,
            timeout: 0.0,
            dropped: 0.0,
            doubled: 0.0,
            reordered: 0.0,
            brownout_ratio: 0.0,
            brownout_at_ms: 0,
            brownout_ms: 0,
            outage_at_ms: 0,
            outage_ms: 0,
            p50_ms: 5.0,
            p99_ms: 25.0,
        }
    }
}

const NAMES: [&str; 14] = [
    "seed",
    "decline",
    "capture_decline",
    "timeout",
    "dropped",
    "doubled",
    "reordered",
    "brownout_ratio",
    "brownout_at_ms",
    "brownout_ms",
    "outage_at_ms",
    "outage_ms",
    "p50_ms",
    "p99_ms",
];

impl FromStr for Faults {
    type Err = PairsError;

    fn from_str(text: &str) -> Result<Self, PairsError> {
        let mut faults = Self::default();
        for pair in pairs(text) {
            faults.set(pair?)?;
        }
        percentiles(faults.p50_ms, faults.p99_ms)?;
        Ok(faults)
    }
}

impl Faults {
    fn set(&mut self, pair: Pair<'_>) -> Result<(), PairsError> {
        match pair.name {
            "seed" => self.seed = pair.whole()?,
            "decline" => self.decline = pair.share()?,
            "capture_decline" => self.capture_decline = pair.share()?,
            "timeout" => self.timeout = pair.share()?,
            "dropped" => self.dropped = pair.share()?,
            "doubled" => self.doubled = pair.share()?,
            "reordered" => self.reordered = pair.share()?,
            "brownout_ratio" => self.brownout_ratio = pair.share()?,
            "brownout_at_ms" => self.brownout_at_ms = pair.whole()?,
            "brownout_ms" => self.brownout_ms = pair.whole()?,
            "outage_at_ms" => self.outage_at_ms = pair.whole()?,
            "outage_ms" => self.outage_ms = pair.whole()?,
            "p50_ms" => self.p50_ms = pair.millis()?,
            "p99_ms" => self.p99_ms = pair.millis()?,
            _ => return Err(pair.unknown(&NAMES)),
        }
        Ok(())
    }

    pub(super) fn in_brownout(&self, since_start: Duration) -> bool {
        within(since_start, self.brownout_at_ms, self.brownout_ms)
    }

    pub(super) fn in_outage(&self, since_start: Duration) -> bool {
        within(since_start, self.outage_at_ms, self.outage_ms)
    }

    /// How long a call takes.
    pub(super) fn latency(&self, roll: Roll) -> Duration {
        roll.latency(self.p50_ms, self.p99_ms)
    }
}

fn within(since_start: Duration, at_ms: u64, length_ms: u64) -> bool {
    let now_ms = since_start.as_millis() as u64;
    now_ms >= at_ms && now_ms - at_ms < length_ms
}

/// The dice of one call.
pub(super) fn cast(seed: u64, key: GatewayKey, call: u32) -> Roll {
    Roll::new(seed, &format!("{key}/{call}"))
}

#[cfg(test)]
mod tests {
    use onrush_proto::OrderId;

    use super::*;
    use crate::gateway::Op;

    #[test]
    fn reads_faults_and_names_what_is_wrong() {
        let faults: Faults = "decline=0.12, p50_ms=300,p99_ms=3000,seed=9".parse().unwrap();
        assert_eq!((faults.decline, faults.p50_ms, faults.seed), (0.12, 300.0, 9));
        for (text, expected) in [
            ("decline", "expected name=value"),
            ("luck=1", "found \"luck\""),
            ("decline=2", "decline: expected a share"),
            ("decline=NaN", "decline: expected a share"),
            ("p50_ms=50,p99_ms=5", "p99_ms: expected at least p50_ms"),
        ] {
            let error = text.parse::<Faults>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for name in NAMES {
            assert!(format!("p50_ms=0.5,{name}=1,p99_ms=1").parse::<Faults>().is_ok(), "{name}");
        }
    }

    #[test]
    fn latency_has_the_percentiles_asked_for() {
        let faults: Faults = "p50_ms=300,p99_ms=3000".parse().unwrap();
        let key = |at: u128| GatewayKey { order: OrderId(at), number: 1, op: Op::Charge };
        let mut found: Vec<_> =
            (0..20_000).map(|at| faults.latency(cast(1, key(at), 0)).as_millis()).collect();
        found.sort_unstable();
        assert!((280..320).contains(&found[10_000]), "p50 {}", found[10_000]);
        assert!((2_600..3_400).contains(&found[19_800]), "p99 {}", found[19_800]);
    }
}
