//! A growable byte buffer that starts on a sector boundary and is a whole number of sectors long.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The unit of durable writes in bytes: what O_DIRECT asks for on every disk in use.
pub const SECTOR_BYTES: usize = 4096;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Sector([u8; SECTOR_BYTES]);

/// Bytes ready for O_DIRECT: sector-aligned in memory, padded with zeros to whole sectors.
///
/// Reusing one buffer for every write keeps the append path free of allocation.
#[derive(Default, Clone)]
pub struct AlignedBuf {
    sectors: Vec<Sector>,
    len: usize,
}

impl AlignedBuf {
    /// An empty buffer with room for `bytes` before it grows.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { sectors: Vec::with_capacity(bytes.div_ceil(SECTOR_BYTES)), len: 0 }
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.grow(start + bytes.len());
        self.sectors.as_mut_bytes()[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Appends `count` zero bytes.
    pub fn extend_zeros(&mut self, count: usize) {
        self.grow(self.len + count);
    }

    /// Forgets the contents and keeps the memory.
    pub fn clear(&mut self) {
        self.sectors.clear();
        self.len = 0;
    }

    /// The bytes appended so far, without padding.
    pub fn bytes(&self) -> &[u8] {
        &self.sectors.as_bytes()[..self.len]
    }

    /// The bytes appended so far, for patching a header in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.sectors.as_mut_bytes()[..self.len]
    }

    /// The whole sectors, zero-padded.
    pub fn sectors(&self) -> &[u8] {
        self.sectors.as_bytes()
    }

    /// Number of bytes appended.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn grow(&mut self, len: usize) {
        let sectors = len.div_ceil(SECTOR_BYTES);
        if sectors > self.sectors.len() {
            self.sectors.resize_with(sectors, Sector::new_zeroed);
        }
        self.len = len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_with_zeros_and_stays_aligned_after_reuse() {
        let mut buf = AlignedBuf::default();
        buf.extend_from_slice(&[7; 5000]);
        assert_eq!(buf.sectors().len(), 2 * SECTOR_BYTES);
        assert_eq!(buf.sectors().as_ptr() as usize % SECTOR_BYTES, 0);
        buf.clear();
        buf.extend_from_slice(&[1; 10]);
        assert_eq!(buf.bytes(), &[1; 10]);
        assert!(buf.sectors()[10..].iter().all(|byte| *byte == 0), "left-overs of an earlier write");
    }
}
