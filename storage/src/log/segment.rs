//! A segment: one file of frames behind a header of one sector.
//!
//! The header is written together with the segment's first frame, in one durable write, so that
//! starting a segment costs nothing extra and a torn start is one tear. Layout, little-endian, in the
//! first 64 bytes, zeros behind:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | crc32c of offsets 4 to 64 |
//! | 4 | 4 | magic `ONRS` |
//! | 8 | 2 | format version |
//! | 10 | 2 | shard |
//! | 12 | 4 | flags: 1 = the file had an earlier life |
//! | 16 | 8 | sequence number, as in the file's name |
//! | 24 | 8 | epoch, new for every use of a file |
//! | 32 | 8 | first Lsn |
//! | 40 | 8 | term of the frame before |
//! | 48 | 8 | length of the file |
//! | 56 | 4 | crc of the frame before |
//! | 60 | 4 | zero |

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame::FrameInfo;
use super::segment_file::SegmentFile;
use crate::disk::SECTOR_BYTES;

/// Where the first frame starts.
pub(super) const FRAMES_START: u64 = SECTOR_BYTES as u64;

const MAGIC: u32 = u32::from_le_bytes(*b"ONRS");
const VERSION: u16 = 1;
const FLAG_RECYCLED: u32 = 1;
const CRC_BYTES: usize = 4;
const SEGMENT_SUFFIX: &str = ".segment";
const SPARE_SUFFIX: &str = ".spare";
/// A seek reads at most about this many bytes of frames before it finds its Lsn.
const MARK_STRIDE_BYTES: u64 = 256 << 10;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    crc: U32,
    magic: U32,
    version: U16,
    shard: U16,
    flags: U32,
    sequence: U64,
    epoch: U64,
    first_lsn: U64,
    previous_term: U64,
    segment_bytes: U64,
    previous_crc: U32,
    zero: U32,
}

const HEADER_BYTES: usize = size_of::<RawHeader>();

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) shard: u16,
    /// True if the file holds frames of an earlier life behind its end.
    pub(super) recycled: bool,
    pub(super) sequence: u64,
    pub(super) epoch: u64,
    pub(super) first_lsn: u64,
    pub(super) previous_term: u64,
    pub(super) segment_bytes: u64,
    pub(super) previous_crc: u32,
}

/// Why a sector is not the header of the segment that it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "every variant says what was expected and what was found")]
pub enum HeaderError {
    #[error("expected segment magic {expected:#010x}, found {found:#010x}")]
    Magic { expected: u32, found: u32 },
    #[error("expected segment header crc {expected:#010x}, found {found:#010x}")]
    Crc { expected: u32, found: u32 },
    #[error("expected segment format version {expected}, found {found}")]
    Version { expected: u16, found: u16 },
    #[error("expected segment number {expected}, found {found}")]
    Sequence { expected: u64, found: u64 },
    #[error("expected a segment with first lsn {expected}, found {found}")]
    FirstLsn { expected: u64, found: u64 },
    #[error("expected a segment chained to crc {expected:#010x}, found {found:#010x}")]
    PreviousCrc { expected: u32, found: u32 },
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut header = RawHeader {
            crc: U32::ZERO,
            magic: U32::new(MAGIC),
            version: U16::new(VERSION),
            shard: U16::new(self.shard),
            flags: U32::new(if self.recycled { FLAG_RECYCLED } else { 0 }),
            sequence: U64::new(self.sequence),
            epoch: U64::new(self.epoch),
            first_lsn: U64::new(self.first_lsn),
            previous_term: U64::new(self.previous_term),
            segment_bytes: U64::new(self.segment_bytes),
            previous_crc: U32::new(self.previous_crc),
            zero: U32::ZERO,
        };
        header.crc = U32::new(crc_fast::crc32_iscsi(&header.as_bytes()[CRC_BYTES..]));
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(header.as_bytes());
        bytes
    }

    /// Reads the header of segment number `sequence`. A recycled file that was not written yet still
    /// carries the number of its earlier life: [`HeaderError::Sequence`].
    pub(super) fn decode(sector: &[u8], sequence: u64) -> Result<Self, HeaderError> {
        let Ok((raw, _)) = RawHeader::ref_from_prefix(sector) else {
            return Err(HeaderError::Magic { expected: MAGIC, found: 0 });
        };
        if raw.magic.get() != MAGIC {
            return Err(HeaderError::Magic { expected: MAGIC, found: raw.magic.get() });
        }
        let (expected, found) = (raw.crc.get(), crc_fast::crc32_iscsi(&raw.as_bytes()[CRC_BYTES..]));
        if expected != found {
            return Err(HeaderError::Crc { expected, found });
        }
        if raw.version.get() != VERSION {
            return Err(HeaderError::Version { expected: VERSION, found: raw.version.get() });
        }
        if raw.sequence.get() != sequence {
            return Err(HeaderError::Sequence { expected: sequence, found: raw.sequence.get() });
        }
        Ok(Self {
            shard: raw.shard.get(),
            recycled: raw.flags.get() & FLAG_RECYCLED != 0,
            sequence,
            epoch: raw.epoch.get(),
            first_lsn: raw.first_lsn.get(),
            previous_term: raw.previous_term.get(),
            segment_bytes: raw.segment_bytes.get(),
            previous_crc: raw.previous_crc.get(),
        })
    }
}

/// The file of segment number `sequence`.
pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:012}{SEGMENT_SUFFIX}")
}

/// The file of a segment that is out of use.
pub(super) fn spare_name(sequence: u64) -> String {
    format!("{sequence:012}{SPARE_SUFFIX}")
}

/// The number in a segment's file name; `None` for other files.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let sequence = name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

/// True for the file of a segment that is out of use.
pub(super) fn is_spare(name: &str) -> bool {
    name.ends_with(SPARE_SUFFIX)
}

/// A frame's place, remembered every [`MARK_STRIDE_BYTES`] so that a seek need not read a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) lsn: u64,
    /// The frame's own index.
    pub(super) index: u64,
    pub(super) offset: u64,
    pub(super) previous_crc: u32,
}

/// A segment in use. The writer publishes its end; readers hold it to keep it from being recycled.
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) file: SegmentFile,
    end: AtomicU64,
    closed: AtomicBool,
    /// How often frames were taken back from here.
    cuts: AtomicU64,
    marks: RwLock<Vec<Mark>>,
}

impl Segment {
    pub(super) fn new(file: SegmentFile, header: SegmentHeader) -> Self {
        let marks = header.segment_bytes.div_ceil(MARK_STRIDE_BYTES) as usize;
        Self {
            header,
            file,
            end: AtomicU64::new(FRAMES_START),
            closed: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            marks: RwLock::new(Vec::with_capacity(marks)),
        }
    }

    /// Publishes the frame between the present end and `end`: from here on readers see it.
    pub(super) fn publish(&self, info: &FrameInfo, previous_crc: u32, end: u64) {
        let offset = self.end.load(Ordering::Relaxed);
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        if marks.last().is_none_or(|mark| offset - mark.offset >= MARK_STRIDE_BYTES) {
            marks.push(Mark { lsn: info.first_lsn, index: info.index, offset, previous_crc });
        }
        drop(marks);
        self.end.store(end, Ordering::Release);
    }

    /// Takes back the frames from offset `end` on.
    pub(super) fn cut(&self, end: u64) {
        self.marks.write().unwrap_or_else(PoisonError::into_inner).retain(|mark| mark.offset < end);
        self.end.store(end, Ordering::Release);
        self.closed.store(false, Ordering::Release);
        self.cuts.fetch_add(1, Ordering::Release);
    }

    /// How often frames were taken back: what a reader has read ahead is not there any more.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// The index of the first frame; `None` if there is none.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner).first().map(|mark| mark.index)
    }

    /// The last mark in front of the frame with this index.
    pub(super) fn mark_for_index(&self, index: u64) -> Mark {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        // A seal has the index of the frame in front of it.
        let after = marks.partition_point(|mark| mark.index < index);
        after.checked_sub(1).map_or_else(|| self.start(), |at| marks[at])
    }

    /// Says that no frame follows in this segment; the next one is in the index already.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The offset after the last published frame.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The last mark at or before the frame that holds `lsn`.
    pub(super) fn mark_for(&self, lsn: u64) -> Mark {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        let after = marks.partition_point(|mark| mark.lsn <= lsn);
        after.checked_sub(1).map_or_else(|| self.start(), |index| marks[index])
    }

    /// The place of the first frame.
    pub(super) fn start(&self) -> Mark {
        Mark {
            lsn: self.header.first_lsn,
            index: 0,
            offset: FRAMES_START,
            previous_crc: self.header.previous_crc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        shard: 0x0102,
        recycled: true,
        sequence: 7,
        epoch: 0x1112_1314_1516_1718,
        first_lsn: 0x0304,
        previous_term: 5,
        segment_bytes: 64 << 20,
        previous_crc: 0x2122_2324,
    };

    #[test]
    fn the_layout_is_pinned() {
        let bytes = HEADER.encode();
        #[rustfmt::skip]
        let golden: [u8; 60] = [
            b'O', b'N', b'R', b'S', 1, 0, 2, 1, 1, 0, 0, 0,
            7, 0, 0, 0, 0, 0, 0, 0,
            0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
            4, 3, 0, 0, 0, 0, 0, 0,
            5, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 4, 0, 0, 0, 0,
            0x24, 0x23, 0x22, 0x21, 0, 0, 0, 0,
        ];
        assert_eq!(bytes[4..], golden);
        assert_eq!(SegmentHeader::decode(&bytes, 7), Ok(HEADER));
    }

    #[test]
    fn every_flipped_bit_is_refused_and_an_earlier_life_is_told() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes, 7).is_err(), "bit {bit}");
        }
        assert_eq!(
            SegmentHeader::decode(&HEADER.encode(), 9),
            Err(HeaderError::Sequence { expected: 9, found: 7 })
        );
        assert!(SegmentHeader::decode(&[0; 4096], 7).is_err());
        assert!(SegmentHeader::decode(&[], 7).is_err());
    }

    #[test]
    fn names_lead_to_numbers_and_back() {
        assert_eq!(segment_name(12), "000000000012.segment");
        assert_eq!(sequence_of("000000000012.segment"), Some(12));
        for other in ["12.segment", "000000000012.spare", "LOCK", ".segment", "vote", "+00000000012.segment"]
        {
            assert_eq!(sequence_of(other), None, "{other}");
        }
        assert!(is_spare(&spare_name(12)));
    }
}
