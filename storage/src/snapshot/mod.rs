//! Snapshots: files that hold every row as of one Lsn.
//!
//! What a damaged store, a new replica and the recycling of the log rest on. A snapshot counts only
//! once it is *verified*: every byte of it read back and found to be what was written.
//!
//! The file, all numbers little-endian:
//! ```text
//! header  64 bytes  magic "onrushsn", version, shard, lsn, term, time, state hash, index, crc32c
//! block   16 bytes  payload length, row count, section, crc32c of these and the payload
//!         payload   rows: key length, value length, key, value; about 64 KiB
//! ...               blocks of one section in key order, sections in ascending order
//! footer  48 bytes  magic "onrushfo", blocks, rows, file length, crc32c of the file so far, crc32c
//! ```
//! It is written as `snapshot-<lsn>.tmp`, synced, and renamed durably to `snapshot-<lsn>.snap`, so
//! that a name with `.snap` never stands for half a file.

mod error;
mod format;
mod reader;
mod shelf;
#[cfg(test)]
mod tests;
mod writer;

pub use error::SnapshotError;
pub use format::{SnapshotHeader, SnapshotSummary};
pub use reader::SnapshotReader;
pub use shelf::{Newest, Pruned, named, newest_named, newest_verified, open_named, prune, take_in};
pub use writer::SnapshotWriter;
