//! What can go wrong with a snapshot.

use std::io;

/// Why a snapshot was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk refused.
    #[error("expected to read and write {file}, found {source}")]
    Io {
        /// The file.
        file: String,
        /// The refusal.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("expected {expected} at byte {offset} of {file}, found {found}")]
    Damaged {
        /// The file.
        file: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A row was pushed that does not sort after the one before it.
    #[error("expected rows in ascending order, found section {section} key {key:02x?} out of order")]
    OutOfOrder {
        /// The row's section.
        section: u8,
        /// The row's key.
        key: Vec<u8>,
    },
    /// A row was pushed that is larger than a block may be.
    #[error("expected rows of at most {max} bytes, found {bytes}")]
    RowSize {
        /// The largest row.
        max: usize,
        /// The row's size.
        bytes: usize,
    },
}

impl SnapshotError {
    /// What a disk said of a file.
    pub fn io(file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { file, source }
    }
}
