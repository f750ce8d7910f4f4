//! Seeds that failed once, each with what it found.
//!
//! A seed names a run of its commit alone, so the older ones go another way today. Those of the last schedule come by the same
//! place again.

use crate::options::RunOptions;

/// A run that broke an invariant.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    shards: u16,
    events: u64,
    faults: Option<u64>,
    /// What was wrong.
    pub story: &'static str,
}

const fn cluster(seed: u64, shards: u16, events: u64, story: &'static str) -> Failed {
    Failed { seed, shards, events, faults: None, story }
}

/// A run with `--faults 80`, which is as many as the record is to have.
const fn with_faults(seed: u64, shards: u16, story: &'static str) -> Failed {
    Failed { seed, shards, events: 50_000, faults: Some(80), story }
}

/// All that are known, of clusters of three nodes.
#[rustfmt::skip]
pub const FAILED: [Failed; 25] = [
    cluster(9, 2, 6_000, "who repeats a key that another shard keeps is never answered if the office ends"),
    cluster(2, 4, 6_000, "the same"),
    cluster(1_007, 4, 6_000, "a removed node keeps the lead of a group, and no office begins"),
    cluster(1_016, 4, 6_000, "the same"),
    cluster(1_032, 4, 6_000, "the same"),
    cluster(1_069, 4, 6_000, "the same"),
    cluster(1_104, 4, 6_000, "the same"),
    cluster(39, 1, 6_000, "nobody is elected for 50 time-outs while a follower fetches a snapshot of a leader that is cut off"),
    cluster(379, 1, 6_000, "who has lost its vote on its own disk alone stands for no election (its shards are not on record)"),
    cluster(30_000_004, 1, 50_000, "a power loss comes once the load is over (the simulator's own)"),
    cluster(100_001_019, 1, 50_000, "damage to an entry with zeros of its own looks torn, and a committed entry is lost"),
    cluster(100_000_150, 1, 50_000, "who follows without a vote counts as a voter, and nobody is elected"),
    cluster(100_000_611, 1, 50_000, "an entry is damaged behind which a later write stands (the simulator's own)"),
    cluster(100_001_044, 1, 50_000, "the same"),
    cluster(110_003_960, 1, 50_000, "the same"),
    with_faults(600_001_930, 1, "who fetches a snapshot names a term that its disk does not know yet"),
    with_faults(600_002_012, 1, "the same"),
    with_faults(610_003_930, 1, "the same"),
    with_faults(700_001_842, 1, "whose vote is wanted waits for a piece of a snapshot longer than an election may take (the simulator's own)"),
    with_faults(800_000_040, 4, "entries without records are let go of behind a snapshot, and who began anew from it is stuck"),
    with_faults(810_000_072, 4, "the same"),
    with_faults(810_000_121, 4, "the same"),
    with_faults(800_002_321, 4, "who was removed from one group alone keeps the others, and nobody is in office"),
    with_faults(800_002_790, 4, "the same"),
    with_faults(830_001_241, 4, "a segment without records is let go of unnoticed, and a leader looks for its entries"),
];

impl Failed {
    /// The options that the run had; others are as given.
    pub fn run(&self, options: RunOptions) -> RunOptions {
        RunOptions {
            nodes: 3,
            shards: Some(self.shards),
            events: self.events,
            faults: self.faults.or(options.faults),
            ..options
        }
    }
}
