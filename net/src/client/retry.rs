//! Trying again, always under the same key.

use std::time::Duration;

use uuid::Uuid;

use super::CallError;

/// How a call is tried again when no answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Tries after the first.
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

    /// Tries until there is an answer, or no more tries.
    pub(super) async fn until_answered<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let (mut number, mut unknown) = (0, None);
        loop {
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.is_open(unknown.is_some()) {
                return Err(error);
            }
            // The first that nobody knows of stands: what came behind it says no more.
            let first = unknown.get_or_insert(error);
            if number == self.retries {
                return Err(first.clone());
            }
            number += 1;
            tokio::time::sleep(self.pause_before(number, Uuid::new_v4().as_u64_pair().1)).await;
        }
    }

    /// The pause before try number `number` (from 1): anything up to the bound, so that clients
    /// that failed together do not come back together.
    pub(super) fn pause_before(&self, number: u32, dice: u64) -> Duration {
        let bound = self.pause.saturating_mul(1 << number.saturating_sub(1).min(16)).min(self.pause_max);
        bound.mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64)
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
    }
}
