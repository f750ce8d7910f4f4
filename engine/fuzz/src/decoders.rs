//! What must hold of what nodes say to each other, whatever bytes come.
//!
//! libFuzzer calls these functions (`main.rs`), and `cargo test` calls them with the committed corpora
//! (`engine/tests/messages.rs`). What is decoded is encoded to the same bytes again, or is refused by an error that says why;
//! memory is asked for by the bytes that are there, not by what they say of themselves.

use onrush_engine::replication::{Body, MESSAGE_VERSION, Message, MessageError};
use onrush_proto::ShardId;

use crate::heap::within;

/// Bytes of heap that decoding may ask for, and this many more for each byte that is there.
const HEAP_BYTES: usize = 4 << 10;
const HEAP_PER_BYTE: usize = 16;

/// Where a checksum stands, in a message and in a frame, and what it takes; the version is behind that of a message.
const CRC_BYTES: usize = 4;
/// Bytes in front of the entries of a message that has some, their number included.
const APPEND_BYTES: usize = 32 + 40 + 4;
/// Bytes of a frame without records.
const FRAME_BYTES: usize = 64;

/// A decoder and what is tried on it.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    /// Its name, and that of its corpus.
    pub(crate) name: &'static str,
    check: fn(&[u8]),
}

/// Every decoder of bytes that other nodes send.
pub(crate) const DECODERS: [Decoder; 1] = [Decoder { name: "message", check: message }];

impl Decoder {
    /// Tries some bytes.
    ///
    /// # Panics
    /// If something does not hold: that is a bug.
    pub(crate) fn try_on(&self, input: &[u8]) {
        (self.check)(input);
    }
}

/// A message as it comes; of this version and under a checksum that is right; and with entries whose checksums are right, too.
fn message(input: &[u8]) {
    read(input);
    if input.len() > CRC_BYTES {
        let mut forged = input.to_vec();
        seal(&mut forged);
        read(&forged);
        // What was found for another version stays of use.
        forged[CRC_BYTES] = MESSAGE_VERSION;
        seal(&mut forged);
        read(&forged);
        seal_entries(&mut forged);
        seal(&mut forged);
        read(&forged);
    }
}

fn seal(bytes: &mut [u8]) {
    let crc = crc_fast::crc32_iscsi(&bytes[CRC_BYTES..]);
    bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksum of each frame right, as far as the lengths lead.
fn seal_entries(bytes: &mut [u8]) {
    let mut rest = bytes.get_mut(APPEND_BYTES..).unwrap_or_default();
    while let Some((length, behind)) = rest.split_first_chunk_mut::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((frame, behind)) = behind.split_at_mut_checked(length) else { return };
        let own = frame
            .get(4..8)
            .map_or(0, |own| own.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)));
        if let Some(frame) = frame.get_mut(..own).filter(|frame| frame.len() >= FRAME_BYTES) {
            seal(frame);
        }
        rest = behind;
    }
}

fn read(bytes: &[u8]) {
    let read = within(HEAP_BYTES + HEAP_PER_BYTE * bytes.len(), || Message::decode(bytes));
    let (shard, message) = match read {
        Ok(read) => read,
        Err(error) => return assert!(!matches!(error, MessageError::Rest(0)), "{error}"),
    };
    let mut again = Vec::new();
    message.encode(shard, &mut again);
    assert_eq!(again, bytes, "{message:?}");
    assert_eq!(Message::decode(&again), Ok((shard, message.clone())));
    if let Body::Append(append) = &message.body {
        // One behind the other: what a follower is told has no gap.
        let mut index = append.previous.index;
        for entry in &append.entries {
            assert_eq!(entry.position().index, index.saturating_add(1));
            index = entry.position().index;
        }
    }
    // For another shard it is another message.
    let mut other = Vec::new();
    message.encode(ShardId(shard.0 ^ 1), &mut other);
    assert_ne!(other, again);
}
