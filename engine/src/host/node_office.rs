//! The office of this node, as the threads of its shards share it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use onrush_proto::ShardId;

use crate::replication::Offices;

/// What messages between shards carry where there are no offices.
pub(crate) const NO_OFFICE: u64 = 0;

/// Which office is open. Looked at in each turn, changed with elections.
pub(crate) struct NodeOffice {
    offices: Mutex<Offices>,
    open: AtomicU64,
}

impl NodeOffice {
    /// A node with so many shards, none of which it leads.
    pub(crate) fn new(shards: u16) -> Self {
        Self { offices: Mutex::new(Offices::new(shards)), open: AtomicU64::new(NO_OFFICE) }
    }

    /// As [`Offices::tell`].
    pub(super) fn tell(&self, shard: ShardId, ready: Option<u64>) -> bool {
        let mut offices = self.offices.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = offices.tell(shard, ready);
        self.open.store(offices.open().unwrap_or(NO_OFFICE), Ordering::Release);
        changed
    }

    /// As [`Offices::open`].
    pub(super) fn open(&self) -> Option<u64> {
        Some(self.open.load(Ordering::Acquire)).filter(|number| *number != NO_OFFICE)
    }
}
