//! How long an engine that was asked has said nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An engine that says nothing for this long, though it was asked, does not answer. Shorter waits that end in vain
/// tell of the caller's time, not of the engine: else a few hasty callers would open the breaker for all.
const LONG: Duration = Duration::from_millis(100);

/// Since when an engine owes an answer and has said nothing.
#[derive(Default)]
pub(super) struct Silence {
    since: Mutex<Option<Instant>>,
}

impl Silence {
    /// It was asked.
    pub(super) fn asked_at(&self, now: Instant) {
        self.lock().get_or_insert(now);
    }

    /// It said something, and still owes an answer or not.
    pub(super) fn broken_at(&self, now: Instant, owes: bool) {
        *self.lock() = owes.then_some(now);
    }

    /// True if it lasts too long.
    pub(super) fn is_long(&self, now: Instant) -> bool {
        self.lock().is_some_and(|since| now >= since + LONG)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_the_first_question_and_ends_with_any_answer() {
        let (silence, start) = (Silence::default(), Instant::now());
        assert!(!silence.is_long(start + 10 * LONG), "nobody asked");
        silence.asked_at(start);
        silence.asked_at(start + LONG / 2);
        assert!(!silence.is_long(start + LONG / 2));
        assert!(silence.is_long(start + LONG));
        silence.broken_at(start + LONG, true);
        assert!(!silence.is_long(start + LONG + LONG / 2));
        assert!(silence.is_long(start + 2 * LONG));
        silence.broken_at(start + 2 * LONG, false);
        assert!(!silence.is_long(start + 10 * LONG));
    }
}
