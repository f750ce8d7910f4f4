//! A gateway with bad days, played by the driver where no server has one, and told to the server where it has.

use crate::plan::SECOND_NS;
use crate::random::{Random, mix};

/// The longest a call takes: then its caller hears nothing.
const CALL_S_MAX: f64 = 5.0;
/// Standard normal quantile of 99 %.
const Z99: f64 = 2.326_347_9;

/// A stretch of the run in which a share of the calls get no answer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spell {
    /// When it begins, in seconds since the start.
    pub(crate) at_s: f64,
    /// How long it lasts.
    pub(crate) length_s: f64,
    /// Share of calls that it takes.
    pub(crate) share: f64,
}

impl Spell {
    fn covers(&self, at_ns: u64) -> bool {
        let at_s = at_ns as f64 / SECOND_NS as f64;
        (self.at_s..self.at_s + self.length_s).contains(&at_s)
    }
}

/// How a gateway misbehaves. What becomes of a call is a function of seed and key, so that a repeat says the same.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct GatewayDays {
    pub(crate) seed: u64,
    /// Share of charges that are declined.
    pub(crate) decline: f64,
    /// Share of first calls that get no answer, half of them with the money taken.
    pub(crate) unknown: f64,
    /// Median time of a call.
    pub(crate) p50_s: f64,
    /// Its 99th percentile; log-normal between and beyond.
    pub(crate) p99_s: f64,
    /// Some calls fail.
    pub(crate) brownout: Spell,
    /// All calls fail.
    pub(crate) outage: Spell,
}

impl GatewayDays {
    /// How long a call takes. `key` is the attempt's, `call` counts from 0.
    pub(crate) fn call_ns(&self, key: u64, call: u8) -> u64 {
        let sigma = (self.p99_s / self.p50_s).ln() / Z99;
        let drawn = self.dice(key, call, 1).lognormal(self.p50_s.ln(), sigma);
        (drawn.min(CALL_S_MAX) * SECOND_NS as f64) as u64
    }

    /// Whether the caller hears anything.
    pub(crate) fn answers(&self, key: u64, call: u8, at_ns: u64) -> bool {
        let mut dice = self.dice(key, call, 2);
        let silent = [
            call == 0 && dice.chance(self.unknown),
            dice.chance(self.brownout.share) && self.brownout.covers(at_ns),
            dice.chance(self.outage.share) && self.outage.covers(at_ns),
        ];
        !silent.contains(&true)
    }

    /// Pause before the charge is asked about again: doubling from 200 ms to 1.6 s.
    pub(crate) fn pause_ns(call: u8) -> u64 {
        (SECOND_NS / 5) << call.min(3)
    }

    fn dice(&self, key: u64, call: u8, purpose: u64) -> Random {
        Random::new(mix(self.seed) ^ key ^ u64::from(call), 0x6761_7465 + purpose)
    }

    /// The same for the simulated gateway of a server, whose clock begins when the server starts: a moment before the
    /// run, for as long as the catalogue is loaded.
    pub(crate) fn faults(&self) -> String {
        let ms = |seconds: f64| (seconds * 1e3).round();
        let Self { seed, decline, unknown, brownout, outage, .. } = self;
        let half = unknown / 2.0;
        let mut text = format!(
            "seed={seed},decline={decline},timeout={half},dropped={half},p50_ms={},p99_ms={}",
            ms(self.p50_s),
            ms(self.p99_s)
        );
        text += &format!(
            ",brownout_ratio={},brownout_at_ms={},brownout_ms={}",
            brownout.share,
            ms(brownout.at_s),
            ms(brownout.length_s)
        );
        text + &format!(",outage_at_ms={},outage_ms={}", ms(outage.at_s), ms(outage.length_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days() -> GatewayDays {
        GatewayDays {
            seed: 3,
            decline: 0.12,
            unknown: 0.02,
            p50_s: 0.3,
            p99_s: 3.0,
            brownout: Spell { at_s: 2.0, length_s: 2.0, share: 0.5 },
            outage: Spell { at_s: 5.0, length_s: 1.0, share: 1.0 },
        }
    }

    #[test]
    fn calls_take_as_long_and_fail_as_often_as_they_are_told_to() {
        const CALLS: u64 = 20_000;
        let mut times: Vec<u64> = (0..CALLS).map(|key| days().call_ns(mix(key), 0)).collect();
        times.sort_unstable();
        let p50_ms = times[times.len() / 2] / 1_000_000;
        assert!((280..320).contains(&p50_ms), "{p50_ms} ms");
        assert!(*times.last().unwrap() <= 5 * SECOND_NS);
        let silent = |call, at_s: u64| {
            (0..CALLS).filter(|key| !days().answers(mix(*key), call, at_s * SECOND_NS)).count() as f64
                / CALLS as f64
        };
        assert!((silent(0, 0) - 0.02).abs() < 0.005);
        assert_eq!(silent(1, 0), 0.0);
        assert!((silent(1, 3) - 0.5).abs() < 0.02);
        assert_eq!(silent(1, 5), 1.0);
        assert_eq!(silent(1, 6), 0.0);
    }
}
