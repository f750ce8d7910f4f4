//! One shard with its log, its store and its disk, turned by the scheduler.

use std::collections::VecDeque;

use onrush_engine::flush::{Absorber, Stored};
use onrush_engine::shard::{Effects, Input, Shard, Want};
use onrush_storage::disk::FaultDisk;
use onrush_storage::log::{AppendError, Log};
use onrush_storage::store::MemoryStore;

use crate::plan::Plan;
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Rounds of fetching after which a turn's wants should have ended.
const FETCHES_MAX: usize = 1_000;

/// What a shard is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Inputs.
    Idle,
    /// The append of what it decided.
    Decided,
    /// The release of what is durable.
    Durable,
    /// A restart: a durable write failed.
    Stopped,
}

/// A place that survives crashes: the disk and the store of one shard.
pub(crate) struct Seat {
    pub(crate) index: usize,
    pub(crate) disk: FaultDisk,
    pub(crate) store: MemoryStore,
    /// The last record that anything released rests on.
    pub(crate) promised: u64,
    pub(crate) live: Option<Live>,
}

/// One life of a shard.
pub(crate) struct Live {
    pub(crate) shard: Shard,
    pub(crate) log: Log,
    pub(crate) absorber: Absorber,
    /// The last record that the absorber has.
    pub(crate) absorbed: u64,
    pub(crate) stored: Stored,
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) effects: Effects,
    pub(crate) stage: Stage,
    wants: Vec<Want>,
}

impl Live {
    pub(crate) fn new(shard: Shard, log: Log, absorber: Absorber, (absorbed, stored): (u64, Stored)) -> Self {
        Self {
            shard,
            log,
            absorber,
            absorbed,
            stored,
            inbox: VecDeque::new(),
            effects: Effects::default(),
            stage: Stage::Idle,
            wants: Vec::new(),
        }
    }

    /// True if a turn has something to do.
    pub(crate) fn is_ready(&self, now_us: u64) -> bool {
        let due = self.shard.next_deadline_us().is_some_and(|deadline| deadline <= now_us);
        self.stage == Stage::Idle && (due || !self.inbox.is_empty())
    }

    /// Decides a batch. What it wants done is in the effects afterwards.
    pub(crate) fn turn(&mut self, now_us: u64, plan: &Plan) -> Verdict {
        if !plan.has(Planted::WarmNothing) {
            self.fetch_cold()?;
        }
        self.effects.clear();
        self.shard.turn(now_us, &mut self.inbox, &mut self.effects);
        self.stage = if self.effects.frame.is_empty() { Stage::Durable } else { Stage::Decided };
        Ok(())
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

    /// Makes the decided frame durable.
    pub(crate) fn append(&mut self) -> Result<(), AppendError> {
        self.log.append(&mut self.effects.frame, self.shard.now_us())?;
        self.stage = Stage::Durable;
        Ok(())
    }

    /// What the host publishes with a batch leaves the shard here.
    pub(crate) fn publish(&mut self) {
        let state = self.shard.state_mut();
        state.stock.drain_changed(|_, _| {});
        state.drain_products();
    }
}
