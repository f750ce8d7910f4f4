//! Takes the time of a turn, stage by stage.

use std::time::Instant;

use crate::stages::{Stage, StageCells};

/// A turn under way: a clock is read once per stage, whatever the turn holds.
pub(super) struct Laps {
    since: Instant,
    ns: [u64; Stage::ALL.len()],
}

impl Laps {
    /// The turn begins.
    #[allow(clippy::disallowed_methods, reason = "the host is where the clock is read")]
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), ns: [0; Stage::ALL.len()] }
    }

    /// A stage ends, and the next one begins.
    pub(super) fn end(&mut self, stage: Stage, cells: &StageCells) {
        let lap = self.since.elapsed();
        self.since += lap;
        let ns = lap.as_nanos() as u64;
        // A batch of several turns comes by a stage more than once.
        self.ns[stage as usize] += ns;
        cells.record(stage, ns);
    }

    /// Says what the stages took, inside the turn's span; a stage that was not reached took nothing.
    pub(super) fn trace(&self) {
        let [admit_ns, decide_ns, commit_ns, apply_ns, respond_ns] = self.ns;
        tracing::trace!(admit_ns, decide_ns, commit_ns, apply_ns, respond_ns, "turned");
    }
}
