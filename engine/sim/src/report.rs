//! What is said of a run that broke an invariant.

use std::fmt;

use crate::options::RunOptions;

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The file under `invariants/`.
    pub invariant: &'static str,
    /// What should be.
    pub expected: String,
    /// What is.
    pub got: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { invariant, expected: expected.into(), got: got.into() }
    }
}

/// What a check says.
pub(crate) type Verdict = Result<(), Violation>;

/// A violation with the way back to it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What it ran with; the number of shards is known by now.
    pub options: RunOptions,
    /// The number of the event at which it showed.
    pub event: u64,
    /// What does not hold.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, options, event, violation } = self;
        let Violation { invariant, expected, got } = violation;
        let commit = option_env!("ONRUSH_COMMIT").unwrap_or("unknown");
        let shards = options.shards.unwrap_or(1);
        let phase = if *event >= options.events { " and the ending" } else { "" };
        write!(
            f,
            "seed {seed} commit {commit} shards {shards} events {} event {event}{phase}: {invariant}: \
             expected {expected}, got {got}; replay: {}",
            options.events,
            options.command(*seed),
        )
    }
}
