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
    /// The first of them are in use; behind them are those of an earlier use, as it left them.
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
        let start = self.grow(bytes.len());
        self.sectors.as_mut_bytes()[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Appends `count` zero bytes.
    pub fn extend_zeros(&mut self, count: usize) {
        let start = self.grow(count);
        self.sectors.as_mut_bytes()[start..start + count].fill(0);
    }

    /// Forgets the contents and keeps the memory.
    pub fn clear(&mut self) {
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
        self.sectors[..self.len.div_ceil(SECTOR_BYTES)].as_bytes()
    }

    /// Number of bytes appended.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for `count` bytes, which are to be written, with zeros behind them. Returns where they begin.
    fn grow(&mut self, count: usize) -> usize {
        let (start, end) = (self.len, self.len + count);
        let (used, wanted) = (start.div_ceil(SECTOR_BYTES), end.div_ceil(SECTOR_BYTES));
        if wanted > self.sectors.len() {
            self.sectors.resize_with(wanted, Sector::new_zeroed);
        }
        if wanted > used {
            // What an earlier use left. The sectors before this one are written over as a whole.
            self.sectors.as_mut_bytes()[end..wanted * SECTOR_BYTES].fill(0);
        }
        self.len = end;
        start
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
        assert_eq!(buf.sectors().len(), SECTOR_BYTES);
        assert!(buf.sectors()[10..].iter().all(|byte| *byte == 0), "left-overs of an earlier write");
        buf.extend_from_slice(&[2; 5000]);
        assert_eq!((buf.len(), buf.sectors().len()), (5010, 2 * SECTOR_BYTES));
        assert!(buf.sectors()[5010..].iter().all(|byte| *byte == 0), "left-overs of an earlier write");
    }

    #[test]
    fn zeros_are_zeros_where_something_stood() {
        let mut buf = AlignedBuf::default();
        buf.extend_from_slice(&[7; 9000]);
        buf.clear();
        buf.extend_zeros(6000);
        assert_eq!(buf.bytes(), &[0; 6000]);
        assert!(buf.sectors().iter().all(|byte| *byte == 0));
    }
}
