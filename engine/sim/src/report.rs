//! What is said of a run that broke an invariant.

use std::fmt;

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
    /// Number of shards.
    pub shards: u16,
    /// Events asked for.
    pub events: u64,
    /// The number of the event at which it showed.
    pub event: u64,
    /// The host's planted bug, if there was one.
    pub planted: Option<usize>,
    /// What does not hold.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, shards, events, event, planted, violation } = self;
        let Violation { invariant, expected, got } = violation;
        let commit = option_env!("ONRUSH_COMMIT").unwrap_or("unknown");
        write!(
            f,
            "seed {seed} commit {commit} shards {shards} events {events} event {event}: {invariant}: \
             expected {expected}, got {got}; replay: cargo run --release -p onrush-sim -- --seed {seed} \
             --shards {shards} --events {events}"
        )?;
        match planted {
            Some(number) => write!(f, " --planted {number:02}"),
            None => Ok(()),
        }
    }
}
