//! A restart: the log is opened, the shard recovered, the claims sent again.

use std::sync::Arc;

use onrush_engine::flush::Stored;
use onrush_engine::recover::{LogPosition, RecoverError, Recovered, recover};
use onrush_engine::shard::ShardOptions;
use onrush_storage::log::{Log, LogOptions, OpenError, Prepare, ReadError, Recovery};
use onrush_storage::store::{MemoryStore, Store};

use super::seat::{Live, Seat};
use crate::plan::Plan;
use crate::report::Violation;

/// How a restart of one shard went.
pub(crate) enum Reopened {
    /// It is back; so many log bytes were cut.
    Up(Recovery),
    /// The disk failed again meanwhile.
    DiskFailed,
    /// The log refuses: acknowledged bytes are damaged.
    Corrupt(String),
}

/// Options of the log under a plan.
pub(crate) fn log_options(plan: &Plan, index: usize, epoch: u64) -> LogOptions {
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

fn failed(error: &RecoverError) -> Violation {
    Violation::new("replay", "a shard that recovers", error.to_string())
}

impl Seat {
    /// Starts the shard's next life. `rebuild` allows a store that is ahead of its log to be dropped.
    pub(crate) fn reopen(
        &mut self,
        plan: &Plan,
        options: ShardOptions,
        epoch: u64,
        rebuild: bool,
    ) -> Result<Reopened, Violation> {
        let disk = Arc::new(self.disk.clone());
        let (log, recovery) = match Log::open(disk, log_options(plan, self.index, epoch)) {
            Ok(opened) => opened,
            Err(error @ OpenError::Corrupt { .. }) => return Ok(Reopened::Corrupt(error.to_string())),
            Err(OpenError::Read { .. } | OpenError::Write { .. }) => return Ok(Reopened::DiskFailed),
            Err(error) => return Err(Violation::new("lsns", "a log that opens", error.to_string())),
        };
        let at = position(&log, recovery.last_time_us);
        let mut recovered = recover(options, &self.store, log.reader(), at, |_| {});
        if rebuild && matches!(recovered, Err(RecoverError::StoreAhead { .. })) && log.first_lsn() == 1 {
            self.store = MemoryStore::new();
            recovered = recover(options, &self.store, log.reader(), at, |_| {});
        }
        if matches!(recovered, Err(RecoverError::Log(ReadError::Read { .. }))) {
            return Ok(Reopened::DiskFailed);
        }
        let Recovered { shard, absorber, replayed_from, .. } = recovered.map_err(|error| failed(&error))?;
        let stored = Stored::new(self.store.reader());
        self.live = Some(Live::new(shard, log, absorber, (replayed_from, stored)));
        Ok(Reopened::Up(recovery))
    }
}
