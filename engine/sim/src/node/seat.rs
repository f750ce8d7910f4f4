//! One shard with its log, its store and its disks, turned by the scheduler.

use std::collections::VecDeque;
use std::sync::Arc;

use onrush_engine::flush::Stored;
use onrush_engine::shard::{Effects, Input, Shard, Want};
use onrush_engine::views::ShardViews;
use onrush_engine::{Flusher, Station, Tail};
use onrush_storage::disk::FaultDisk;
use onrush_storage::log::{AppendError, Frame, Log, LogOptions};
use onrush_storage::snapshot::SnapshotReader;

use super::reopen::log_options;
use super::store::CutStore;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Rounds of fetching after which a turn's wants should have ended.
const FETCHES_MAX: usize = 1_000;

/// How far the batch is that is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// There is none.
    Idle,
    /// Its frame waits for the disk.
    Decided,
    /// It is durable and waits for its release.
    Durable,
    /// A durable write failed: the shard waits for a restart.
    Stopped,
}

/// What the disk does to the next frame, and says nothing of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tamper {
    /// It is not written.
    Lose,
    /// It is written so many sectors away.
    Misdirect(i64),
}

/// An acknowledged frame that is not where it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scar {
    pub(crate) tamper: Tamper,
    pub(crate) first_lsn: u64,
    /// True once something durable stands behind it: the damage can be told.
    pub(crate) proven: bool,
}

/// A place that survives crashes: the disks and the store of one shard.
pub(crate) struct Seat {
    pub(crate) index: usize,
    pub(crate) disk: FaultDisk,
    pub(crate) snapshots: FaultDisk,
    pub(crate) store: CutStore,
    /// The last record that anything released rests on.
    pub(crate) promised: u64,
    pub(crate) tamper: Option<Tamper>,
    pub(crate) scar: Option<Scar>,
    /// When the durable write under way comes back; `u64::MAX` if it does not.
    pub(crate) stalled_until_us: u64,
    pub(crate) live: Option<Live>,
}

impl Seat {
    pub(crate) fn new(index: usize, disk_seeds: (u64, u64)) -> Self {
        Self {
            index,
            disk: FaultDisk::new(disk_seeds.0),
            snapshots: FaultDisk::new(disk_seeds.1),
            store: CutStore::default(),
            promised: 0,
            tamper: None,
            scar: None,
            stalled_until_us: 0,
            live: None,
        }
    }

    /// True if the shard runs and no durable write of it has failed.
    pub(crate) fn is_up(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.stage != Stage::Stopped)
    }

    /// The names of the snapshots, oldest first.
    pub(crate) fn snapshot_names(&self) -> Vec<String> {
        let names = onrush_storage::disk::Disk::list(&self.snapshots).unwrap_or_default();
        names.into_iter().filter(|name| name.ends_with(".snap")).collect()
    }

    /// Snapshots of which every byte is as it was written.
    pub(crate) fn intact_snapshots(&self) -> usize {
        let intact = |name: &String| {
            SnapshotReader::open(&self.snapshots, name).is_ok_and(|reader| reader.verify().is_ok())
        };
        self.snapshot_names().iter().filter(|name| intact(name)).count()
    }
}

/// What a life of a shard begins with.
pub(crate) struct Parts {
    pub(crate) shard: Shard,
    pub(crate) log: Log,
    pub(crate) stored: Stored,
    pub(crate) station: Arc<Station>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) views: Arc<ShardViews>,
    pub(crate) flusher: Flusher,
}

/// One life of a shard.
pub(crate) struct Live {
    pub(crate) shard: Shard,
    pub(crate) log: Log,
    pub(crate) stored: Stored,
    pub(crate) station: Arc<Station>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) views: Arc<ShardViews>,
    /// `None` once it came to its end.
    pub(crate) flusher: Option<Flusher>,
    pub(crate) inbox: VecDeque<Input>,
    /// What is decided behind the batch that is on its way.
    pub(crate) open: Effects,
    /// The batch that is on its way.
    pub(crate) batch: Effects,
    pub(crate) stage: Stage,
    /// True once a durable write failed: nothing may leave any more.
    pub(crate) poisoned: bool,
    released_below: u64,
    wants: Vec<Want>,
}

impl Live {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { shard, log, stored, station, tail, views, flusher } = parts;
        Self {
            shard,
            log,
            stored,
            station,
            tail,
            views,
            flusher: Some(flusher),
            inbox: VecDeque::new(),
            open: Effects::default(),
            batch: Effects::default(),
            stage: Stage::Idle,
            poisoned: false,
            released_below: 0,
            wants: Vec::new(),
        }
    }

    /// True if a turn has something to do, and the open batch has room for it.
    pub(crate) fn is_ready(&self, now_us: u64) -> bool {
        let due = self.shard.next_deadline_us().is_some_and(|deadline| deadline <= now_us);
        let room = self.stage != Stage::Stopped && !self.shard.is_full(&self.open);
        room && (due || !self.inbox.is_empty())
    }

    /// True if nothing is decided that has not left.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.stage == Stage::Idle && self.open.is_empty()
    }

    /// Decides what has arrived into the open batch.
    pub(crate) fn turn(&mut self, now_us: u64, plan: &Plan) -> Verdict {
        if !plan.has(Planted::WARM_NOTHING) {
            self.fetch_cold()?;
        }
        self.shard.turn(now_us, &mut self.inbox, &mut self.open);
        if plan.has(Planted::PUBLISH_BEFORE_APPEND) {
            self.views.publish(&mut self.open.rows);
        }
        Ok(())
    }

    /// Sends the open batch on its way.
    pub(crate) fn launch(&mut self, plan: &Plan) {
        std::mem::swap(&mut self.open, &mut self.batch);
        self.open.clear();
        self.stage = if self.batch.frame.is_empty() { Stage::Durable } else { Stage::Decided };
        if plan.has(Planted::EVENT_BEFORE_APPEND)
            && let Some(frame) = self.foretold(plan)
        {
            self.station.commit(frame, self.batch.store_ceiling);
        }
    }

    /// The frame that the next append will write, for a bug that cannot wait.
    fn foretold(&self, plan: &Plan) -> Option<Frame> {
        let mut frame = self.batch.frame.clone();
        let options = LogOptions { first_lsn: self.log.end_lsn() + 1, ..log_options(plan, 0, 1) };
        let (mut scratch, _) = Log::open(Arc::new(FaultDisk::new(0)), options).ok()?;
        scratch.append(&mut frame, self.batch.time_us).ok()?;
        (frame.records() > 0).then(|| frame.to_frame())
    }

    fn fetch_cold(&mut self) -> Verdict {
        for _ in 0..FETCHES_MAX {
            self.wants.clear();
            self.shard.wants(self.inbox.iter(), &mut self.wants);
            if self.wants.is_empty() {
                return Ok(());
            }
            for want in std::mem::take(&mut self.wants) {
                let found = self.stored.fetch(&self.shard, want);
                let found = found
                    .map_err(|error| Violation::new("liveness", "a store that reads", error.to_string()))?;
                self.shard.warm(found);
            }
        }
        Err(Violation::new("liveness", "wants that end", format!("{:?}", self.wants)))
    }

    /// Makes the batch's frame durable.
    pub(crate) fn append(&mut self) -> Result<(), AppendError> {
        self.log.append(&mut self.batch.frame, self.batch.time_us)?;
        self.stage = Stage::Durable;
        Ok(())
    }

    /// Publishes a durable frame: rows to views, the frame to the flusher and to subscribers.
    pub(crate) fn publish(&mut self, plan: &Plan) {
        self.views.publish(&mut self.batch.rows);
        if plan.has(Planted::PUBLISH_NEXT_BATCH) {
            self.views.publish(&mut self.open.rows);
        }
        if !plan.has(Planted::EVENT_BEFORE_APPEND) {
            self.station.commit(self.batch.frame.to_frame(), self.batch.store_ceiling);
        }
        if plan.has(Planted::ABSORB_BEYOND_CEILING) {
            self.station.set_ceiling(u64::MAX);
        }
    }

    /// After a batch: lets memory, store and log know how far the others are.
    pub(crate) fn keep_up(&mut self, plan: &Plan) {
        let stored = self.station.stored();
        self.shard.set_stored(stored);
        if !plan.has(Planted::ABSORB_BEYOND_CEILING) {
            self.station.set_ceiling(self.batch.store_ceiling);
        }
        let below = match plan.has(Planted::RELEASE_BEYOND_CHECKPOINT) {
            true => stored + 1,
            false => self.station.release_below(),
        };
        if below > self.released_below && self.log.release_below(below) {
            self.released_below = below;
        }
    }
}
