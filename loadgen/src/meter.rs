//! What a target holds at a moment: memory, and how far its store lags.

use std::time::Duration;

use onrush_engine::EngineStats;

/// What a target holds at a moment, summed over its shards.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Gauges {
    /// Resident memory of the engine's process.
    pub(crate) process_bytes: u64,
    /// What the engine counts of its own tables.
    pub(crate) state_bytes: u64,
    pub(crate) orders_in_memory: u64,
    pub(crate) remembered_keys: u64,
    /// Log bytes that the stores have not absorbed.
    pub(crate) lag_bytes: u64,
    /// The lag at which admission waits.
    pub(crate) lag_bytes_max: u64,
    pub(crate) level0_runs: u64,
}

impl Gauges {
    /// Of an engine's counters.
    pub(crate) fn of(stats: &EngineStats, process_bytes: u64) -> Self {
        Self {
            process_bytes,
            state_bytes: stats.state_bytes,
            orders_in_memory: stats.orders_in_memory,
            remembered_keys: stats.remembered_keys,
            lag_bytes: stats.store_lag_bytes,
            lag_bytes_max: stats.store_lag_bytes_max,
            level0_runs: stats.level0_runs,
        }
    }
}

/// Reads a target's gauges, on a thread that the generator does not wait for.
pub(crate) struct Meter {
    /// One reading; `None` if the target does not answer.
    pub(crate) read: Box<dyn FnMut() -> Option<Gauges> + Send>,
    /// True if the generator runs in the engine's process: its own books are in the same memory.
    pub(crate) shares_process: bool,
    /// Least time between two readings: what one may cost.
    pub(crate) pause_min: Duration,
}

#[cfg(test)]
impl Meter {
    /// For a target that has nothing to read.
    pub(crate) fn blind() -> Self {
        Self { read: Box::new(|| None), shares_process: true, pause_min: Duration::ZERO }
    }
}
