//! An input read as steps: whatever bytes come, they say something.

use onrush_storage::disk::{Disk, FaultDisk};

/// What is left of the input. At its end all numbers are zero.
pub(crate) struct Program<'a>(pub(crate) &'a [u8]);

impl Program<'_> {
    /// The next step; `None` at the end.
    pub(crate) fn step(&mut self) -> Option<u8> {
        let (step, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*step)
    }

    /// A number of one byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.step().unwrap_or_default()
    }

    /// A number of two bytes, below `limit`; 0 if that is.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let number = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(number).checked_rem(limit).unwrap_or_default()
    }

    /// The next bytes, at most `count`.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }
}

/// The crc32c of parts that follow each other.
pub(crate) fn crc_of(bytes: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iscsi(bytes).to_le_bytes()
}

/// Four bytes of a place as a number; 0 behind the end.
pub(crate) fn number(bytes: &[u8], at: usize) -> usize {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    found.map_or(0, |number| u32::from_le_bytes(*number) as usize)
}

/// Overwrites a part of a file, for good. What lies behind its end stays away.
pub(crate) fn overwrite(disk: &FaultDisk, name: &str, offset: usize, bytes: &[u8]) {
    let Ok(file) = disk.open(name) else { return };
    let room = file.len().map_or(0, |length| length as usize).saturating_sub(offset);
    let bytes = &bytes[..bytes.len().min(room)];
    let written = file.write_at(offset as u64, bytes).and_then(|()| file.sync());
    assert!(written.is_ok(), "a disk without faults takes what is written");
}
