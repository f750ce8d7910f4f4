//! The store of one shard as crashes leave it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use onrush_storage::store::{Keyspace, MemoryStore, SortedRun, Store, StoreError, StoreReader};

/// Where a crash cuts a flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlushCrash {
    /// Neither run is in.
    Before = 1,
    /// The current run is in alone.
    CurrentOnly = 2,
    /// The history run is in alone.
    HistoryOnly = 3,
}

/// Rows that outlive the process; clones share them.
#[derive(Clone, Default)]
pub(crate) struct CutStore {
    rows: MemoryStore,
    armed: Arc<AtomicU8>,
}

impl CutStore {
    /// Power is lost in the middle of the next flush.
    pub(crate) fn crash_in_flush(&self, at: FlushCrash) {
        self.armed.store(at as u8, Ordering::Relaxed);
    }

    /// Nothing is armed any more.
    pub(crate) fn calm(&self) {
        self.armed.store(0, Ordering::Relaxed);
    }

    fn is_armed(&self, at: FlushCrash) -> bool {
        self.armed.load(Ordering::Relaxed) == at as u8
    }

    fn power_lost(keyspace: Keyspace) -> StoreError {
        StoreError::Io { keyspace, source: std::io::Error::other("the store lost power") }
    }
}

impl Store for CutStore {
    fn applied(&self, keyspace: Keyspace) -> u64 {
        self.rows.applied(keyspace)
    }

    fn ingest(&mut self, keyspace: Keyspace, run: &SortedRun, applied: u64) -> Result<(), StoreError> {
        let cut = match keyspace {
            Keyspace::Current => FlushCrash::Before,
            Keyspace::History => FlushCrash::CurrentOnly,
        };
        if self.is_armed(cut) {
            return Err(Self::power_lost(keyspace));
        }
        self.rows.ingest(keyspace, run, applied)?;
        if keyspace == Keyspace::History && self.is_armed(FlushCrash::HistoryOnly) {
            self.rows.lose_last_runs(Keyspace::Current, 1);
            return Err(Self::power_lost(keyspace));
        }
        Ok(())
    }

    fn level0_runs(&self, keyspace: Keyspace) -> usize {
        self.rows.level0_runs(keyspace)
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        self.rows.reader()
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Box::new(self.rows).close()
    }
}
