//! How stale a caller accepts what a node has published, where another one leads.

use std::time::Duration;

/// Says so with a call of gRPC, or with a session for all of its calls.
pub(super) const STALENESS_MAX: &str = "onrush-max-staleness-ms";
/// What nine digits say.
const MOST_MS: u32 = 999_999_999;

/// In whole ms.
pub(super) fn most_ms(staleness_max: Duration) -> u32 {
    u32::try_from(staleness_max.as_millis()).unwrap_or(MOST_MS).min(MOST_MS)
}
