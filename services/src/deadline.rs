//! How long a caller waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How long a call waits if the caller does not say.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest a call waits, whatever the caller says.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// By how much sooner than the caller gives up it is answered: a tenth of its wait, at most 100 ms.
pub(crate) fn margin(wait: Duration) -> Duration {
    (wait / 10).min(Duration::from_millis(100))
}

/// When a caller stops waiting.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    wait: Duration,
    stated: bool,
    start: Instant,
}

impl Deadline {
    /// The deadline of a call from its `grpc-timeout`.
    pub fn of(metadata: &MetadataMap) -> Self {
        Self::stated_by(metadata.as_ref())
    }

    /// The same where metadata are headers.
    pub(crate) fn stated_by(headers: &HeaderMap) -> Self {
        let stated = stated(headers);
        let wait = stated.unwrap_or(WAIT_DEFAULT).min(WAIT_MAX);
        Self { wait, stated: stated.is_some(), start: Instant::now() }
    }

    /// The deadline of a caller that waits this many us from now on; 0: it does not say.
    pub fn within_us(wait_us: u64) -> Self {
        Self::since(Instant::now(), wait_us)
    }

    /// The same from an earlier time on.
    pub fn since(start: Instant, wait_us: u64) -> Self {
        match wait_us {
            0 => Self { start, ..Self::unstated() },
            _ => Self { wait: Duration::from_micros(wait_us).min(WAIT_MAX), stated: true, start },
        }
    }

    /// The deadline of a caller that does not say.
    pub fn unstated() -> Self {
        Self { wait: WAIT_DEFAULT, stated: false, start: Instant::now() }
    }

    /// Wall time in us after which nobody waits; 0 if the caller did not say.
    pub fn wall_us(self) -> u64 {
        if !self.stated {
            return 0;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (now + self.wait.saturating_sub(self.start.elapsed())).as_micros() as u64
    }

    /// When to answer with what is known: before the caller gives up, so that "still processing" reaches it.
    pub fn answer_at(self) -> Instant {
        self.start + self.wait.saturating_sub(margin(self.wait))
    }

    /// When an edge of ours answers in a handler's place, before the transport does it in terms that
    /// only gRPC reads; `None` if the caller did not say.
    pub fn give_up_at(self) -> Option<Instant> {
        self.stated.then(|| {
            let half = (self.start + self.wait).duration_since(self.answer_at()) / 2;
            self.answer_at() + half
        })
    }
}

/// The `grpc-timeout` of a caller who says one.
pub(crate) fn stated(headers: &HeaderMap) -> Option<Duration> {
    timeout(headers.get(TIMEOUT)?.to_str().ok()?)
}

/// Parses `grpc-timeout`: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_grpc_timeouts() {
        let cases = [
            ("250m", Some(Duration::from_millis(250))),
            ("2S", Some(Duration::from_secs(2))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1x", None),
            ("1é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(timeout(text), expected, "{text:?}");
        }
    }
}
