//! Shard time for one process: the last frame's time or the wall clock, whichever is later, plus
//! what a monotonic clock has counted since.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the wall clock once, when the engine opens; never goes backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    opened: Instant,
    base_us: u64,
}

impl HostClock {
    /// A clock that starts no earlier than `last_frame_us`.
    #[allow(clippy::disallowed_methods, reason = "the host is where the clock is read")]
    pub(crate) fn start(last_frame_us: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { opened: Instant::now(), base_us: last_frame_us.max(wall.as_micros() as u64) }
    }

    /// Shard time in us since the epoch.
    pub(crate) fn now_us(&self) -> u64 {
        self.base_us + self.opened.elapsed().as_micros() as u64
    }
}
