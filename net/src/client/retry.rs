//! Trying again, always under the same key.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::CallError;
use super::whereabouts::{Onward, Pursuit, Whereabouts};

/// How a call is tried again when no answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Tries after the first, at each address that the client knows: with three nodes there are three times as many.
    pub retries: u32,
    /// Bound of the first pause; it doubles with every try.
    pub pause: Duration,
    /// Bound of every pause.
    pub pause_max: Duration,
    /// How long one try may take.
    pub timeout: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            retries: 3,
            pause: Duration::from_millis(50),
            pause_max: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Retry {
    /// No second try.
    pub const NEVER: Self = Self {
        retries: 0,
        pause: Duration::ZERO,
        pause_max: Duration::ZERO,
        timeout: Duration::from_secs(5),
    };

    /// Tries until there is an answer, or no more tries: where the leader of a shard is, as far as is known.
    pub(super) async fn until_answered<T, F>(
        &self,
        (whereabouts, shard): (&Whereabouts, u16),
        mut attempt: impl FnMut(Arc<str>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut pursuit = Pursuit::new(whereabouts, shard);
        let (mut number, mut pauses, mut unknown) = (0, 0, None);
        loop {
            let error = match attempt(pursuit.at().clone()).await {
                Ok(answer) => {
                    pursuit.answered();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let astray = error.leader().is_some();
            if !astray && !error.is_open(unknown.is_some()) {
                return Err(error);
            }
            let onward = pursuit.turn(&error);
            // The first that nobody knows of stands: what came behind it says no more. Who does not lead began nothing.
            if !astray {
                unknown.get_or_insert(error.clone());
            }
            if number >= self.tries(whereabouts.count()) {
                return Err(unknown.unwrap_or(error));
            }
            number += 1;
            if onward != Onward::AtOnce {
                pauses += 1;
                tokio::time::sleep(self.pause_for(onward, pauses)).await;
            }
        }
    }

    /// Tries after the first where there are so many addresses to go round.
    pub(super) fn tries(&self, addresses: usize) -> u32 {
        self.retries.saturating_mul(u32::try_from(addresses).unwrap_or(u32::MAX))
    }

    /// The pause number `number` (from 1). While nodes vote it has at least half its bound: they would all be asked before
    /// they are done.
    pub(super) fn pause_for(&self, onward: Onward, number: u32) -> Duration {
        let pause = self.pause_before(number, Uuid::new_v4().as_u64_pair().1);
        match onward {
            Onward::AtOnce => Duration::ZERO,
            Onward::Later => pause,
            Onward::AfterVote => (self.bound(number) + pause) / 2,
        }
    }

    fn bound(&self, number: u32) -> Duration {
        self.pause.saturating_mul(1 << number.saturating_sub(1).min(16)).min(self.pause_max)
    }

    /// The pause before try number `number` (from 1): anything up to the bound, so that clients
    /// that failed together do not come back together.
    pub(super) fn pause_before(&self, number: u32, dice: u64) -> Duration {
        self.bound(number).mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_doubling_bound() {
        let retry = Retry::default();
        assert!(retry.pause_before(1, u64::MAX) <= Duration::from_millis(50));
        assert!(retry.pause_before(3, u64::MAX) > Duration::from_millis(190));
        assert!(retry.pause_before(30, u64::MAX) <= retry.pause_max);
        assert_eq!(retry.pause_before(5, 0), Duration::ZERO);
        assert_eq!(retry.pause_for(Onward::AtOnce, 3), Duration::ZERO);
        let vote = retry.pause_for(Onward::AfterVote, 3);
        assert!(vote >= Duration::from_millis(100) && vote <= Duration::from_millis(200), "{vote:?}");
        assert_eq!((retry.tries(1), retry.tries(3), Retry::NEVER.tries(3)), (3, 9, 0));
    }
}
