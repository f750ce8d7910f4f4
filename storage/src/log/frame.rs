//! A frame: one batch of records, one durable write, or a part of one.
//!
//! Layout, little-endian, 64 bytes of header and then the records, padded with zeros to 4 KiB:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | crc32c of everything from offset 4 to the length |
//! | 4 | 4 | length of header and records, without padding |
//! | 8 | 4 | magic `ONRF` |
//! | 12 | 4 | crc of the previous frame, also across segments; 0 in front of the first |
//! | 16 | 8 | epoch of the segment |
//! | 24 | 8 | Lsn of the first record, or of the next one if there is none |
//! | 32 | 8 | term |
//! | 40 | 8 | shard time in microseconds |
//! | 48 | 4 | number of records |
//! | 52 | 2 | flags: 1 = seal, 2 = members, `0x3ffc` = a check of the other bytes of the header, `0xc000` = a piece of 512 bytes is all zeros |
//! | 54 | 2 | frames in front of it in the same durable write: 0 unless a replica took several at once |
//! | 56 | 8 | index: frames so far, this one counted, seals not |

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::Records;
use crate::disk::SECTOR_BYTES;

/// Bytes in front of a frame's records.
pub(super) const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();

/// Set in [`FrameInfo::flags`] of the empty frame that a log appends when it falls idle or closes.
pub const FLAG_SEAL: u16 = 1;

/// Set in [`FrameInfo::flags`] of a frame whose one record says who belongs to the log's group.
pub const FLAG_MEMBERS: u16 = 2;

/// What a disk writes whole or not at all.
const PIECE_BYTES: usize = 512;

/// Set on disk if a piece of the frame is all zeros, as one is that a torn write has left as it was. Two bits, so that one that
/// flips leaves the other.
const HAS_ZEROS: u16 = 0xc000;

/// Where the flags on disk have twelve bits that tell whether the header is as it was written; 0 in frames from before they had
/// them. A header stands in one piece, so no tear leaves one that differs.
const CHECK: u16 = 0x3ffc;

const MAGIC: u32 = u32::from_le_bytes(*b"ONRF");
const CRC_BYTES: usize = 4;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FrameHeader {
    pub(super) crc: U32,
    length: U32,
    magic: U32,
    previous_crc: U32,
    pub(super) epoch: U64,
    pub(super) first_lsn: U64,
    term: U64,
    time_us: U64,
    record_count: U32,
    flags: U16,
    in_run: U16,
    index: U64,
}

/// What a frame says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameInfo {
    /// The Lsn of the first record; of the next one to come if the frame is empty.
    pub first_lsn: u64,
    /// Number of records; they have consecutive Lsns.
    pub record_count: u32,
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Shard time in microseconds.
    pub time_us: u64,
    /// [`FLAG_SEAL`], [`FLAG_MEMBERS`] or nothing.
    pub flags: u16,
    /// Which frame of the log this is, counted from 1. All replicas of a log have the same frame at an index;
    /// a seal is each replica's own and has the index of the frame in front of it.
    pub index: u64,
}

impl FrameInfo {
    /// The Lsn after the last record.
    pub fn next_lsn(&self) -> u64 {
        self.first_lsn.saturating_add(u64::from(self.record_count))
    }

    /// True for the empty frame that ends an idle or closed log.
    pub fn is_seal(&self) -> bool {
        self.flags & FLAG_SEAL != 0
    }
}

/// Why bytes are not the frame that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "every variant says what was expected and what was found")]
pub enum FrameError {
    #[error("expected a frame of at least {expected} bytes, found {found}")]
    Short { expected: usize, found: usize },
    #[error("expected frame magic {expected:#010x}, found {found:#010x}")]
    Magic { expected: u32, found: u32 },
    #[error("expected a frame of {min} to {max} bytes, found a length of {found}")]
    Length { min: usize, max: usize, found: usize },
    #[error("expected frame crc {expected:#010x}, found {found:#010x}")]
    Crc { expected: u32, found: u32 },
    #[error("expected segment epoch {expected:#018x}, found {found:#018x}")]
    Epoch { expected: u64, found: u64 },
    #[error("expected a frame with first lsn {expected}, found {found}")]
    FirstLsn { expected: u64, found: u64 },
    #[error("expected a frame chained to crc {expected:#010x}, found {found:#010x}")]
    PreviousCrc { expected: u32, found: u32 },
    #[error("expected {expected} records to fill the frame, found {found} and {left_bytes} bytes left")]
    Records { expected: u32, found: u32, left_bytes: usize },
    #[error("expected lsns below 2^64, found {records} records from {first} on")]
    LastLsn { first: u64, records: u32 },
}

/// Where a frame stands: what its header must repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) first_lsn: u64,
    pub(super) previous_crc: u32,
}

impl FrameHeader {
    pub(super) fn new(place: Place, info: FrameInfo, in_run: u16, length: usize) -> Self {
        Self {
            crc: U32::ZERO,
            length: U32::new(u32::try_from(length).unwrap_or(u32::MAX)),
            magic: U32::new(MAGIC),
            previous_crc: U32::new(place.previous_crc),
            epoch: U64::new(place.epoch),
            first_lsn: U64::new(info.first_lsn),
            term: U64::new(info.term),
            time_us: U64::new(info.time_us),
            record_count: U32::new(info.record_count),
            flags: U16::new(info.flags),
            in_run: U16::new(in_run),
            index: U64::new(info.index),
        }
    }

    /// The header at the front of `bytes` if it could be one: magic and a length up to `limit`.
    pub(super) fn peek(bytes: &[u8], limit: usize) -> Result<Self, FrameError> {
        let Ok((header, _)) = Self::read_from_prefix(bytes) else {
            return Err(FrameError::Short { expected: FRAME_HEADER_BYTES, found: bytes.len() });
        };
        if header.magic.get() != MAGIC {
            return Err(FrameError::Magic { expected: MAGIC, found: header.magic.get() });
        }
        let found = header.length();
        if !(FRAME_HEADER_BYTES..=limit).contains(&found) {
            return Err(FrameError::Length { min: FRAME_HEADER_BYTES, max: limit, found });
        }
        Ok(header)
    }

    pub(super) fn length(&self) -> usize {
        self.length.get() as usize
    }

    /// Bytes that the frame takes on disk.
    pub(super) fn padded_bytes(&self) -> u64 {
        self.length().next_multiple_of(SECTOR_BYTES) as u64
    }

    /// True if it was written together with the frame at `index`, which stands in front of it.
    pub(super) fn shares_write_with(&self, index: u64) -> bool {
        let info = self.info();
        !info.is_seal()
            && info
                .index
                .checked_sub(index)
                .is_some_and(|behind| (1..=u64::from(self.in_run.get())).contains(&behind))
    }

    pub(super) fn info(&self) -> FrameInfo {
        FrameInfo {
            first_lsn: self.first_lsn.get(),
            record_count: self.record_count.get(),
            term: self.term.get(),
            time_us: self.time_us.get(),
            flags: self.flags.get() & !(HAS_ZEROS | CHECK),
            index: self.index.get(),
        }
    }

    /// True if pieces that are all zeros may be its own.
    pub(super) fn has_zeros(&self) -> bool {
        self.flags.get() & HAS_ZEROS != 0
    }

    /// False if a bit of the header is not as it was written, other than those of the crc.
    pub(super) fn is_as_written(&self) -> bool {
        let found = self.flags.get() & CHECK;
        found == 0 || found == self.check()
    }

    /// What belongs in the bits of [`CHECK`]: changed by each bit that changes alone, and never 0.
    fn check(&self) -> u16 {
        let bare = Self { flags: self.flags & !CHECK, ..*self };
        let crc = crc_of(bare.as_bytes());
        let folded = ((crc ^ crc >> 12 ^ crc >> 24) << CHECK.trailing_zeros()) as u16 & CHECK;
        if folded == 0 { CHECK } else { folded }
    }

    /// Fails if the frame is whole but belongs elsewhere.
    pub(super) fn check_place(&self, place: &Place) -> Result<(), FrameError> {
        let (epoch, first_lsn, previous_crc) =
            (self.epoch.get(), self.first_lsn.get(), self.previous_crc.get());
        if epoch != place.epoch {
            return Err(FrameError::Epoch { expected: place.epoch, found: epoch });
        }
        if first_lsn != place.first_lsn {
            return Err(FrameError::FirstLsn { expected: place.first_lsn, found: first_lsn });
        }
        if previous_crc != place.previous_crc {
            return Err(FrameError::PreviousCrc { expected: place.previous_crc, found: previous_crc });
        }
        Ok(())
    }

    /// True if Lsn and chain fit, whatever the epoch.
    pub(super) fn continues(bytes: &[u8], place: &Place) -> bool {
        Self::read_from_prefix(bytes).is_ok_and(|(header, _)| {
            header.first_lsn.get() == place.first_lsn && header.previous_crc.get() == place.previous_crc
        })
    }

    /// How many of epoch, Lsn and chain fit. Two are enough to tell a damaged frame of this place from
    /// a stale one: a stale frame fits none, and damage to one field leaves the other two.
    pub(super) fn fits(bytes: &[u8], place: &Place) -> usize {
        let Ok((header, _)) = Self::read_from_prefix(bytes) else { return 0 };
        usize::from(header.epoch.get() == place.epoch)
            + usize::from(header.first_lsn.get() == place.first_lsn)
            + usize::from(header.previous_crc.get() == place.previous_crc)
    }
}

/// Writes the header and the crc in front of finished records.
pub(super) fn finish(bytes: &mut [u8], place: Place, info: FrameInfo, in_run: u16) -> u32 {
    let mut header = FrameHeader::new(place, info, in_run, bytes.len());
    // The first piece has the header.
    if bytes.get(PIECE_BYTES..).is_some_and(pieces_of_zeros) {
        header.flags |= HAS_ZEROS;
    }
    header.flags |= header.check();
    bytes[..FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
    header.crc = U32::new(crc_of(bytes));
    bytes[..CRC_BYTES].copy_from_slice(header.crc.as_bytes());
    header.crc.get()
}

/// True if a whole piece is all zeros.
pub(super) fn pieces_of_zeros(bytes: &[u8]) -> bool {
    bytes.chunks_exact(PIECE_BYTES).any(|piece| piece.iter().all(|byte| *byte == 0))
}

fn crc_of(frame: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(&frame[CRC_BYTES..])
}

/// A whole, checked frame, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    header: FrameHeader,
    bytes: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// Checks length, crc and the bounds of every record. Bytes after the frame are ignored.
    ///
    /// # Errors
    /// The first thing that is not as a frame has it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let header = FrameHeader::peek(bytes, bytes.len())?;
        let bytes = &bytes[..header.length()];
        let (expected, found) = (header.crc.get(), crc_of(bytes));
        if expected != found {
            return Err(FrameError::Crc { expected, found });
        }
        let view = Self { header, bytes };
        view.check_records()?;
        Ok(view)
    }

    /// A frame that was checked before, or was just built.
    pub(super) fn trusted(bytes: &'a [u8]) -> Self {
        let header = FrameHeader::read_from_prefix(bytes).map(|(header, _)| header);
        Self { header: header.unwrap_or_else(|_| FrameHeader::new_zeroed()), bytes }
    }

    /// What the frame says about itself.
    pub fn info(&self) -> FrameInfo {
        self.header.info()
    }

    /// Header and records, without padding.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records in Lsn order.
    pub fn records(&self) -> Records<'a> {
        Records::new(self.header.first_lsn.get(), self.body())
    }

    /// An owned copy.
    pub fn to_frame(&self) -> Frame {
        self.to_frame_in(Vec::new())
    }

    /// An owned copy in memory that an earlier frame [left](Frame::into_spare).
    pub fn to_frame_in(&self, mut spare: Vec<u8>) -> Frame {
        spare.clear();
        spare.extend_from_slice(self.bytes);
        Frame { bytes: spare }
    }

    pub(super) fn body(&self) -> &'a [u8] {
        self.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default()
    }

    pub(super) fn header(&self) -> &FrameHeader {
        &self.header
    }

    fn check_records(&self) -> Result<(), FrameError> {
        let (first, expected) = (self.header.first_lsn.get(), self.header.record_count.get());
        if first.checked_add(expected.into()).is_none() {
            return Err(FrameError::LastLsn { first, records: expected });
        }
        let mut records = self.records();
        let found = records.by_ref().take(expected as usize).count() as u32;
        let left_bytes = records.rest().len();
        if found != expected || left_bytes != 0 {
            return Err(FrameError::Records { expected, found, left_bytes });
        }
        Ok(())
    }
}

/// A whole, checked frame that owns its bytes: what is handed to a subscriber or sent to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// Checks and copies a frame.
    ///
    /// # Errors
    /// As [`FrameView::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        Ok(FrameView::parse(bytes)?.to_frame())
    }

    /// A frame that stands in no log: without an epoch and without a frame before it.
    pub(super) fn unplaced(info: FrameInfo, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
        bytes.resize(FRAME_HEADER_BYTES, 0);
        bytes.extend_from_slice(body);
        finish(&mut bytes, Place { epoch: 0, first_lsn: info.first_lsn, previous_crc: 0 }, info, 0);
        Self { bytes }
    }

    /// A frame without records: how a leader begins its term.
    pub fn empty(info: FrameInfo) -> Self {
        Self::unplaced(FrameInfo { record_count: 0, ..info }, &[])
    }

    /// The frame, to be read.
    pub fn view(&self) -> FrameView<'_> {
        FrameView::trusted(&self.bytes)
    }

    /// Header and records, without padding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame's memory, for another.
    pub fn into_spare(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crc is linear: whether a bit changes it does not depend on the others, so one header stands for all. No bit may change
    /// all twelve either, as `check` writes 0 so.
    #[test]
    fn each_bit_of_a_header_that_flips_is_told() {
        let place = Place { epoch: 7, first_lsn: 9, previous_crc: 11 };
        let mut bytes = [0; 2_000];
        finish(&mut bytes, place, FrameInfo { term: 3, index: 5, ..FrameInfo::default() }, 2);
        let header = |bytes: &[u8]| FrameHeader::read_from_prefix(bytes).unwrap().0;
        let written = header(&bytes);
        assert!(written.is_as_written() && written.flags.get() & CHECK != 0, "{written:?}");
        for bit in CRC_BYTES * 8..FRAME_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = header(&flipped);
            assert!(!flipped.is_as_written(), "bit {bit}: {flipped:?}");
            let changed = flipped.check() ^ written.check();
            assert!(changed != CHECK, "bit {bit}: {flipped:?}");
        }
    }

    #[test]
    fn a_header_from_before_they_were_checked_is_taken() {
        let mut bytes = [0; 100];
        let info = FrameInfo { first_lsn: 2, ..FrameInfo::default() };
        finish(&mut bytes, Place { epoch: 1, first_lsn: 2, previous_crc: 3 }, info, 0);
        let (mut header, _) = FrameHeader::read_from_prefix(&bytes).unwrap();
        header.flags &= !CHECK;
        assert!(header.is_as_written());
        assert_eq!(header.info(), info);
    }
}
