//! Settings of consumer groups.

use std::time::Duration;

use super::{ConfigError, Value, bounded};

/// How consumer groups are dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventsConfig {
    /// Tries of an event before it is given up.
    pub tries: u16,
    /// How long an event waits after its first try.
    pub pause: Duration,
    /// How long a member may say nothing.
    pub lease: Duration,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { tries: 5, pause: Duration::from_millis(500), lease: Duration::from_secs(30) }
    }
}

impl EventsConfig {
    pub(super) fn of(values: &[Value]) -> Result<Self, ConfigError> {
        Ok(Self {
            tries: bounded(values, "events-tries", 1, 1_000)? as u16,
            pause: Duration::from_millis(bounded(values, "events-pause-ms", 0, 60_000)? as u64),
            lease: Duration::from_secs(bounded(values, "events-lease-s", 1, 86_400)? as u64),
        })
    }
}
