//! A record: one accepted command's payload inside a frame.
//!
//! Layout, little-endian: payload length u32, kind u16, zero u16, key hash u64, payload.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in front of a payload.
pub(super) const RECORD_HEADER_BYTES: usize = size_of::<RecordHeader>();

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordHeader {
    payload_bytes: U32,
    kind: U16,
    zero: U16,
    key_hash: U64,
}

/// One record, borrowed from its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Position in the shard's log.
    pub lsn: u64,
    /// What the payload is; the log does not interpret it.
    pub kind: u16,
    /// Hash of the key that the record is about; filters use it without decoding the payload.
    pub key_hash: u64,
    /// The bytes that were pushed.
    pub payload: &'a [u8],
}

/// The header bytes of a record. A payload that does not fit a u32 makes a frame that no segment
/// takes, so its length is never written.
pub(super) fn header(kind: u16, key_hash: u64, payload_bytes: usize) -> impl AsRef<[u8]> {
    let header = RecordHeader {
        payload_bytes: U32::new(u32::try_from(payload_bytes).unwrap_or(u32::MAX)),
        kind: U16::new(kind),
        zero: U16::ZERO,
        key_hash: U64::new(key_hash),
    };
    let mut bytes = [0; RECORD_HEADER_BYTES];
    bytes.copy_from_slice(header.as_bytes());
    bytes
}

/// The records of a frame, in Lsn order.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    lsn: u64,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) fn new(first_lsn: u64, bytes: &'a [u8]) -> Self {
        Self { lsn: first_lsn, rest: bytes }
    }

    /// The bytes that no whole record was read from yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordView<'a>;

    fn next(&mut self) -> Option<RecordView<'a>> {
        let (header, after) = RecordHeader::ref_from_prefix(self.rest).ok()?;
        let (payload, rest) = after.split_at_checked(header.payload_bytes.get() as usize)?;
        let lsn = self.lsn;
        self.rest = rest;
        self.lsn += 1;
        Some(RecordView { lsn, kind: header.kind.get(), key_hash: header.key_hash.get(), payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_pinned() {
        let bytes = header(0x0102, 0x1112_1314_1516_1718, 3);
        let golden = [3, 0, 0, 0, 2, 1, 0, 0, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11];
        assert_eq!(bytes.as_ref(), golden);
    }

    #[test]
    fn stops_at_a_length_that_points_outside() {
        let mut bytes = header(1, 2, 3).as_ref().to_vec();
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(header(1, 2, 4).as_ref());
        bytes.extend_from_slice(b"abc");
        let mut records = Records::new(7, &bytes);
        assert_eq!(records.next(), Some(RecordView { lsn: 7, kind: 1, key_hash: 2, payload: b"abc" }));
        assert_eq!(records.next(), None);
        assert_eq!(records.rest().len(), RECORD_HEADER_BYTES + 3);
    }
}
