//! What can go wrong with a store, by operation.

use std::{io, path::PathBuf};

use super::Keyspace;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or a reader of this one, holds the directory.
    #[error("expected to own the store at {dir}, found it locked")]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The contents are not to be trusted: drop the directory and rebuild from snapshot and log.
    #[error("expected an intact store at {dir}, found {detail}")]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file system refused, which says nothing about the contents.
    #[error("expected to open the store at {dir}, found {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

/// Why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller offered a run that is not newer than what is there.
    #[error("expected {} to move past lsn {held}, found lsn {offered}", keyspace.name())]
    AppliedNotGrown {
        /// The keyspace.
        keyspace: Keyspace,
        /// Its applied index.
        held: u64,
        /// The index offered with the run.
        offered: u64,
    },
    /// A row's key collides with the keys the store keeps for itself.
    #[error("expected keys of {} without the reserved ending, found {key:02x?}", keyspace.name())]
    ReservedKey {
        /// The keyspace.
        keyspace: Keyspace,
        /// The offending key.
        key: Vec<u8>,
    },
    /// A row's key is longer than the format holds.
    #[error("expected keys of {} of 1 to {max} bytes, found {bytes}", keyspace.name())]
    KeySize {
        /// The keyspace.
        keyspace: Keyspace,
        /// The longest key.
        max: usize,
        /// The key's length.
        bytes: usize,
    },
    /// Compaction cannot lower the number of unmerged runs, and the format holds no more of them.
    #[error("expected {} to hold fewer unmerged runs than {max}, found {runs}", keyspace.name())]
    Level0Full {
        /// The keyspace.
        keyspace: Keyspace,
        /// The format's limit.
        max: usize,
        /// Unmerged runs.
        runs: usize,
    },
    /// Bytes on disk are not what was written: drop the directory and rebuild.
    #[error("expected intact rows in {}, found {detail}", keyspace.name())]
    Damaged {
        /// The keyspace.
        keyspace: Keyspace,
        /// What was found.
        detail: String,
    },
    /// The file system refused.
    #[error("expected {} to read and write, found {source}", keyspace.name())]
    Io {
        /// The keyspace.
        keyspace: Keyspace,
        /// The refusal.
        source: io::Error,
    },
    /// An earlier ingestion or compaction failed; what it left behind is unknown.
    #[error("expected a healthy store, found an earlier failure: {detail}")]
    Poisoned {
        /// The earlier failure.
        detail: String,
    },
    /// Readers keep the directory locked.
    #[error("expected no reader at close, found {readers}")]
    ReadersOpen {
        /// How many.
        readers: usize,
    },
}
