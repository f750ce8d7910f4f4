//! A disk that takes everything and keeps nothing: what is left of a write is the writer.

use std::io;

use onrush_storage::disk::{AlignedBuf, Disk, DiskFile};

/// Files are as long as they were made, and all zeros.
pub(super) struct NullDisk;

struct NullFile {
    bytes: u64,
}

impl Disk for NullDisk {
    fn open(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn create(&self, _: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(NullFile { bytes: len }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_entries(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for NullFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.saturating_sub(offset).min(buf.len() as u64) as usize;
        buf[..count].fill(0);
        Ok(count)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_durable(&self, _: u64, _: &AlignedBuf) -> io::Result<()> {
        Ok(())
    }
}
