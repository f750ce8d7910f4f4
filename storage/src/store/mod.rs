//! The store: sorted runs in, rows out.
//!
//! A store holds what the log's records produced and is never trusted over log and snapshot: it may
//! be dropped and rebuilt at any time. Rows arrive as frozen [`SortedRun`]s, each taken whole or not
//! at all, and every keyspace knows the highest Lsn whose rows it holds.
//!
//! [`FjallStore`] keeps rows on disk; [`MemoryStore`] keeps them in a map that outlives the engine,
//! for the simulator. A property test holds the two equal.

mod error;
mod fjall;
mod memory;
mod run;

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

pub use self::fjall::{FjallOptions, FjallStore, TreeOptions};
pub use error::{OpenError, StoreError};
pub use memory::MemoryStore;
pub use run::{Rows, RunBuilder, SortedRun};

/// The two halves of a shard's rows; each has an applied index of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keyspace {
    /// Rows that belong to a time and are rarely touched again; keys begin with the time bucket.
    History,
    /// Rows that live on: stock, users, documents.
    Current,
}

impl Keyspace {
    /// Both keyspaces.
    pub const ALL: [Self; 2] = [Self::History, Self::Current];
    /// The name on disk and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Current => "current",
        }
    }
}

/// Keys that end with these bytes are the store's own; [`Store::ingest`] refuses them. UTF-8 text
/// never contains the first one, so no name a stranger chooses can end this way.
///
/// The applied index is a row of its run, so that both are there or neither. Its key is the highest
/// row key the keyspace ever held, with this suffix: always the last key, and next to the run's own
/// rows. A fixed key would stretch every run from its first row to there, and compaction merges
/// whatever a run stretches over; a run above everything older is moved down without being read.
pub const RESERVED_SUFFIX: [u8; 12] = *b"\xFFapplied lsn";

/// The longest key; the shortest has one byte.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize - RESERVED_SUFFIX.len();

/// Where runs go. One owner, who alone writes; readers are handed out.
pub trait Store: Send {
    /// The highest Lsn whose rows this keyspace holds; 0 = empty.
    fn applied(&self, keyspace: Keyspace) -> u64;

    /// Takes one frozen run whole, or not at all, and raises the applied index with it.
    ///
    /// When this returns the run is durable: it survives a power cut. A refused run (not newer, a
    /// key of the wrong kind) changes nothing. After an error of the disk the store refuses every
    /// further run: close it, open it again and replay from its applied index.
    ///
    /// Blocks while compaction catches up, so a flusher needs no rule of its own for waiting.
    fn ingest(&mut self, keyspace: Keyspace, run: &SortedRun, applied: u64) -> Result<(), StoreError>;

    /// Runs not yet merged into the sorted levels; reads pay for each.
    fn level0_runs(&self, keyspace: Keyspace) -> usize;

    /// A reader that sees every run as soon as it is ingested.
    fn reader(&self) -> Arc<dyn StoreReader>;

    /// Bytes on disk, or in memory for a store without one.
    fn disk_bytes(&self) -> u64;

    /// Stops background work and lets go of the directory. Readers must have been dropped.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Called with a key and a value; says whether to go on.
pub type RowVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// From where to where, lowest key first in either order.
pub type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Every key.
pub const WHOLE_RANGE: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

/// In which order a scan goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOrder {
    /// Lowest key first.
    Ascending,
    /// Highest key first: the newest bucket.
    Descending,
}

/// Point and range reads, from any thread.
pub trait StoreReader: Send + Sync {
    /// Shows the value of `key` to `value` without copying it; false if there is none.
    fn get_with(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        value: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError>;

    /// A copy of the value of `key`.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut found = None;
        self.get_with(keyspace, key, &mut |value| found = Some(value.to_vec()))?;
        Ok(found)
    }

    /// Calls `row` for the range's rows in this order until it breaks. One scan sees one moment,
    /// whatever is ingested meanwhile.
    fn scan(
        &self,
        keyspace: Keyspace,
        range: KeyRange<'_>,
        order: KeyOrder,
        row: &mut RowVisitor<'_>,
    ) -> Result<(), StoreError>;

    /// Both keyspaces at one moment, for a snapshot. Holds disk space while it lives.
    fn freeze(&self) -> Result<Frozen, StoreError>;
}

/// Both keyspaces as of one moment.
pub struct Frozen {
    /// Highest Lsn in [`Keyspace::History`].
    pub history_applied: u64,
    /// Highest Lsn in [`Keyspace::Current`].
    pub current_applied: u64,
    /// Reads that moment for as long as it lives.
    pub reader: Arc<dyn StoreReader>,
}

/// True if no key can lie in the range; the map types panic on such a range.
fn is_empty_range(range: KeyRange<'_>) -> bool {
    match range {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
            low >= high
        }
    }
}

/// What every backend checks before it takes a run.
fn check_run(keyspace: Keyspace, run: &SortedRun, held: u64, offered: u64) -> Result<(), StoreError> {
    if offered <= held {
        return Err(StoreError::AppliedNotGrown { keyspace, held, offered });
    }
    for (key, _) in run {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(StoreError::KeySize { keyspace, max: KEY_BYTES_MAX, bytes: key.len() });
        }
        if key.ends_with(&RESERVED_SUFFIX) {
            return Err(StoreError::ReservedKey { keyspace, key: key.to_vec() });
        }
    }
    Ok(())
}
