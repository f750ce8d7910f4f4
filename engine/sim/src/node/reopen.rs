//! A restart: the log is opened, the shard recovered, its flusher and its readers' tail begun anew.

use std::sync::Arc;

use onrush_engine::flush::Stored;
use onrush_engine::recover::{LogPosition, RecoverError, Recovered, recover_with_views};
use onrush_engine::shard::ShardOptions;
use onrush_engine::views::ShardViews;
use onrush_engine::{Flusher, InstallError, Snapshots, Station, Tail, TailBounds, install_newest};
use onrush_proto::ShardId;
use onrush_storage::log::{Log, LogOptions, OpenError, Prepare, ReadError, Recovery};
use onrush_storage::snapshot::SnapshotError;
use onrush_storage::store::Store;

use super::seat::{Live, Parts, Seat};
use super::store::CutStore;
use crate::plan::Plan;
use crate::report::Violation;

/// How a restart of one shard went.
pub(crate) enum Reopened {
    /// It is back.
    Up {
        /// What opening the log found.
        recovery: Recovery,
        /// True if the store was filled from a snapshot.
        from_snapshot: bool,
    },
    /// The disk failed again meanwhile.
    DiskFailed,
    /// The log refuses: acknowledged bytes are damaged.
    Corrupt(String),
    /// The log continues neither the store nor the newest snapshot that verifies.
    Unreachable(String),
}

/// Options of the log under a plan.
pub(super) fn log_options(plan: &Plan, index: usize, epoch: u64) -> LogOptions {
    LogOptions {
        segment_bytes: plan.segment_bytes,
        prepare: Prepare::Inline,
        spares_max: 2,
        ..LogOptions::new(index as u16, epoch)
    }
}

/// Where an opened log stands.
pub(crate) fn position(log: &Log, time_us: u64) -> LogPosition {
    LogPosition { first_lsn: log.first_lsn(), end_lsn: log.end_lsn(), time_us }
}

type Rebuilt = Result<(Recovered, Arc<ShardViews>), RecoverError>;

impl Seat {
    /// Starts the shard's next life.
    pub(crate) fn reopen(
        &mut self,
        plan: &Plan,
        options: ShardOptions,
        epoch: u64,
    ) -> Result<Reopened, Violation> {
        let disk = Arc::new(self.disk.clone());
        let (log, recovery) = match Log::open(disk, log_options(plan, self.index, epoch)) {
            Ok(opened) => opened,
            Err(error @ OpenError::Corrupt { .. }) => return Ok(Reopened::Corrupt(error.to_string())),
            Err(OpenError::Read { .. } | OpenError::Write { .. }) => return Ok(Reopened::DiskFailed),
            Err(error) => return Err(Violation::new("lsns", "a log that opens", error.to_string())),
        };
        let at = position(&log, recovery.last_time_us);
        let mut rebuilt = recover_with_views(options, &self.store, log.reader(), at);
        let mut from_snapshot = false;
        if matches!(&rebuilt, Err(error) if error.wants_rebuild()) {
            (rebuilt, from_snapshot) = match self.rebuild(options, &log, at) {
                Ok(rebuilt) => rebuilt,
                Err(InstallError::Snapshot(SnapshotError::Io { .. })) => return Ok(Reopened::DiskFailed),
                Err(error) => return Err(failed(&error)),
            };
        }
        match rebuilt {
            Ok(rebuilt) => {
                self.live = Some(self.begin(plan, log, rebuilt));
                Ok(Reopened::Up { recovery, from_snapshot })
            }
            Err(RecoverError::Log(ReadError::Read { .. })) => Ok(Reopened::DiskFailed),
            Err(error @ (RecoverError::Gap { .. } | RecoverError::StoreAhead { .. })) => {
                Ok(Reopened::Unreachable(error.to_string()))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Begins the store anew, from the newest snapshot if there is one.
    fn rebuild(
        &mut self,
        options: ShardOptions,
        log: &Log,
        at: LogPosition,
    ) -> Result<(Rebuilt, bool), InstallError> {
        self.store = CutStore::default();
        let installed = install_newest(&self.snapshots, &mut self.store)?;
        let rebuilt = recover_with_views(options, &self.store, log.reader(), at);
        Ok((rebuilt, installed.lsn.is_some()))
    }

    fn begin(&self, plan: &Plan, log: Log, (recovered, views): (Recovered, Arc<ShardViews>)) -> Live {
        let Recovered { shard, absorber, replayed_from, .. } = recovered;
        let id = ShardId(self.index as u16);
        let tail = Arc::new(Tail::new(log.end_lsn(), log.reader(), TailBounds::at_most(plan.tail_bytes_max)));
        let station = Arc::new(Station::new(id, 1, Arc::clone(&tail)));
        station.set_ceiling(shard.store_ceiling());
        let snapshots = Snapshots::new(id, Arc::new(self.snapshots.clone()), plan.flush.snapshot_bytes)
            .continuing(&log)
            .by_hand();
        let store = Box::new(self.store.clone());
        let settings = (plan.flush, snapshots);
        let flusher = Flusher::new(Arc::clone(&station), replayed_from, absorber, store, settings);
        let stored = Stored::new(self.store.reader());
        Live::new(Parts { shard, log, stored, station, tail, views, flusher })
    }
}

fn failed(error: &impl std::fmt::Display) -> Violation {
    Violation::new("replay", "a shard that recovers", error.to_string())
}
