//! Where bytes go: a directory of files behind a trait, so that the simulator can lose them.
//!
//! [`RealDisk`] is the file system; [`FaultDisk`] keeps files in
//! memory with a synced/unsynced split and injects the faults a real disk has.

mod aligned;
mod fault;
mod lock;
mod real;

use std::io;

pub use aligned::{AlignedBuf, SECTOR_BYTES};
pub use fault::{FaultDisk, FaultPlan};
pub use lock::{DirLock, LockError};
pub use real::{Durability, RealDisk};

/// A flat directory of files. Names are plain file names without separators.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Creates (or truncates) a file of `len` zero bytes. When this returns, the zeros and the
    /// directory entry are durable, and later overwrites need no metadata write.
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn DiskFile>>;
    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames durably, replacing `to` if it exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes durably.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all entries as they are listed durable: an earlier process may have failed to.
    fn sync_entries(&self) -> io::Result<()>;
}

/// One file of a [`Disk`]. Positioned reads and writes only; shared between threads.
pub trait DiskFile: Send + Sync {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True if the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes at `offset`, growing the file if need be. A crash may lose it until [`sync`](Self::sync).
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far durable. After an error nothing is known: never retry.
    fn sync(&self) -> io::Result<()>;
    /// Overwrites whole sectors durably: the bytes are on disk when this returns.
    /// `offset` is a multiple of [`SECTOR_BYTES`]. After an error nothing is known: never retry.
    fn write_durable(&self, offset: u64, sectors: &AlignedBuf) -> io::Result<()>;
}
