//! The stages of a batch, and how long each takes: one histogram per stage and shard, written by the
//! shard's own thread, once per turn for the first two and once per batch for the others.

use std::sync::atomic::{AtomicU64, Ordering};

/// The stages of a batch, in order. While a large frame becomes durable the next turns are admitted and
/// decided, so their times together may exceed the clock's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// What has arrived is taken in, and the cold rows it needs are read,
    Admit,
    /// the rules accept or refuse each command, and facts join the batch's frame,
    Decide,
    /// which becomes durable in one write;
    Commit,
    /// its rows are published and it is handed to the store and to subscribers,
    Apply,
    /// and answers and messages leave.
    Respond,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Admit, Self::Decide, Self::Commit, Self::Apply, Self::Respond];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Decide => "decide",
            Self::Commit => "commit",
            Self::Apply => "apply",
            Self::Respond => "respond",
        }
    }
}

/// Parts of a doubling, as a power of two: a time is told to within a sixteenth.
const PARTS_LOG2: u32 = 4;
const PARTS: usize = 1 << PARTS_LOG2;
/// The longest time told apart: 68 s.
const TIME_NS_MAX: u64 = (1 << 36) - 1;
const BUCKETS: usize = bucket(TIME_NS_MAX) + 1;

/// Where a time is counted: exact below 16 ns, then 16 parts to a doubling.
const fn bucket(ns: u64) -> usize {
    if ns < PARTS as u64 {
        return ns as usize;
    }
    let shift = ns.ilog2() - PARTS_LOG2;
    (shift as usize) * PARTS + (ns >> shift) as usize
}

/// The longest time that is counted in a bucket.
const fn bucket_ns_max(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    let shift = bucket / PARTS - 1;
    (((bucket - shift * PARTS) as u64 + 1) << shift) - 1
}

/// The histograms of one shard. One thread writes, any may read: a write is a load and a store.
pub(crate) struct StageCells(Box<[Cells]>);

struct Cells {
    counts: [AtomicU64; BUCKETS],
    total_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Default for StageCells {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        let cells =
            |_| Cells { counts: [const { AtomicU64::new(0) }; BUCKETS], total_ns: zero(), max_ns: zero() };
        Self(Stage::ALL.iter().map(cells).collect())
    }
}

impl StageCells {
    /// Counts how long a stage took. Only the shard's own thread may call this.
    pub(crate) fn record(&self, stage: Stage, ns: u64) {
        let cells = &self.0[stage as usize];
        let add = |cell: &AtomicU64, by: u64| {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        };
        add(&cells.counts[bucket(ns.min(TIME_NS_MAX))], 1);
        add(&cells.total_ns, ns);
        if ns > cells.max_ns.load(Ordering::Relaxed) {
            cells.max_ns.store(ns, Ordering::Relaxed);
        }
    }
}

/// How long a stage took, over all turns of some shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageTimes {
    stage: Stage,
    counts: Vec<u64>,
    total_ns: u64,
    max_ns: u64,
}

impl StageTimes {
    /// Every stage, taken no time yet.
    pub(crate) fn none() -> Vec<Self> {
        let none = |stage| Self { stage, counts: vec![0; BUCKETS], total_ns: 0, max_ns: 0 };
        Stage::ALL.map(none).to_vec()
    }

    /// Adds what a shard has counted so far.
    pub(crate) fn add(&mut self, cells: &StageCells) {
        let cells = &cells.0[self.stage as usize];
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        self.counts.iter_mut().zip(&cells.counts).for_each(|(count, cell)| *count += read(cell));
        self.total_ns += read(&cells.total_ns);
        self.max_ns = self.max_ns.max(read(&cells.max_ns));
    }

    /// Which stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Turns that passed the stage within this time, in ns; some that took a sixteenth longer may be among
    /// them.
    pub fn turns_within(&self, ns: u64) -> u64 {
        self.counts[..=bucket(ns.min(TIME_NS_MAX))].iter().sum()
    }

    /// Turns that came to this stage: one that decides nothing but refusals has no frame to commit.
    pub fn turns(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Time spent in all of them, in ns.
    pub fn total_ns(&self) -> u64 {
        self.total_ns
    }

    /// The longest time, in ns.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The time in ns within which this share of the turns passed the stage; up to a sixteenth too
    /// long, and 0 if there were none.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        let wanted = (self.turns() as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0, |bucket| bucket_ns_max(bucket).min(self.max_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_hold_what_they_say() {
        for number in 0..BUCKETS {
            assert_eq!(bucket(bucket_ns_max(number)), number);
            if number + 1 < BUCKETS {
                assert_eq!(bucket(bucket_ns_max(number) + 1), number + 1);
            }
        }
        for ns in [0, 1, 15, 16, 17, 1_000, 123_456_789, TIME_NS_MAX] {
            let told = bucket_ns_max(bucket(ns));
            assert!(ns <= told && told <= ns + ns / PARTS as u64, "{ns}: {told}");
        }
    }

    #[test]
    fn times_of_several_shards_come_together() {
        let (one, other) = (StageCells::default(), StageCells::default());
        (1..=900).for_each(|ns| one.record(Stage::Decide, ns * 10));
        (0..100).for_each(|_| other.record(Stage::Decide, 5_000_000));
        one.record(Stage::Commit, u64::MAX >> 1);
        let mut all = StageTimes::none();
        for times in &mut all {
            times.add(&one);
            times.add(&other);
        }
        let decide = &all[Stage::Decide as usize];
        assert_eq!((decide.stage(), decide.turns(), decide.max_ns()), (Stage::Decide, 1_000, 5_000_000));
        assert_eq!(decide.total_ns(), 900 * 901 / 2 * 10 + 500_000_000);
        let p50 = decide.quantile_ns(0.5);
        assert!((5_000..=5_000 + 5_000 / 16).contains(&p50), "{p50}");
        assert_eq!(decide.quantile_ns(0.99), 5_000_000);
        assert_eq!((decide.turns_within(15), decide.turns_within(1_000_000)), (1, 900));
        assert_eq!(decide.turns_within(u64::MAX), 1_000);
        let commit = &all[Stage::Commit as usize];
        assert_eq!((commit.turns(), commit.quantile_ns(1.0)), (1, TIME_NS_MAX));
        assert_eq!(all[Stage::Respond as usize].quantile_ns(0.5), 0);
    }
}
