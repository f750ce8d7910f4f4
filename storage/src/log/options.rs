//! How a log is opened.

use crate::disk::SECTOR_BYTES;

const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
const DEFAULT_SPARES_MAX: usize = 16;

/// The smallest segment: its header and one frame of one sector.
pub(super) const SEGMENT_BYTES_MIN: u64 = 2 * SECTOR_BYTES as u64;
/// The largest segment: offsets and lengths inside one fit 32 bits with room to spare.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Who prepares the next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepare {
    /// The appending thread, when a segment is full. Deterministic, for simulation.
    Inline,
    /// A thread owned by the log, while the current segment fills.
    Background,
}

/// What a log needs to know about itself.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// The shard that owns this log. A log of another shard is refused.
    pub shard: u16,
    /// Size of a new segment file in bytes: a multiple of 4096, 8 KiB to 1 GiB. It bounds a frame.
    pub segment_bytes: u64,
    /// A random number, new for every open. It tells the frames of a recycled file's earlier life
    /// from those of its present one.
    pub epoch: u64,
    /// Who prepares the next segment.
    pub prepare: Prepare,
    /// Released segments kept for reuse; more are removed.
    pub spares_max: usize,
    /// The Lsn of the first record if the log does not exist yet: 1, or one past an installed
    /// snapshot.
    pub first_lsn: u64,
}

impl LogOptions {
    /// Segments of 64 MiB, prepared in the background, for a log that starts at Lsn 1.
    pub fn new(shard: u16, epoch: u64) -> Self {
        Self {
            shard,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            epoch,
            prepare: Prepare::Background,
            spares_max: DEFAULT_SPARES_MAX,
            first_lsn: 1,
        }
    }

    pub(super) fn segment_bytes_valid(&self) -> bool {
        (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(SECTOR_BYTES as u64)
    }

    /// The epoch of a new segment: never zero, which is what unwritten sectors hold.
    pub(super) fn segment_epoch(&self, sequence: u64) -> u64 {
        let mut mixed = self.epoch ^ sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_of_a_file_has_an_epoch_of_its_own() {
        let epochs: std::collections::BTreeSet<u64> = (0..50)
            .flat_map(|epoch| (0..50).map(move |sequence| (epoch, sequence)))
            .map(|(epoch, sequence)| LogOptions::new(1, epoch).segment_epoch(sequence))
            .collect();
        assert_eq!(epochs.len(), 2500);
        assert!(!epochs.contains(&0), "zero is what unwritten sectors hold");
    }
}
