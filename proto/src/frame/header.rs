//! The frame itself: sixteen bytes in front of a body.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | crc32c of everything behind it, up to the length |
//! | 4 | 4 | length of the frame, header included; a multiple of 8 |
//! | 8 | 1 | kind |
//! | 9 | 1 | zero |
//! | 10 | 2 | number of entries |
//! | 12 | 4 | argument: credit in [`Kind::Outcomes`], [`Kind::Verdicts`], [`Kind::Pong`], [`Kind::Credit`] and [`Kind::Products`]; ms in [`Kind::Validate`] and [`Kind::Details`]; else zero |

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in front of a frame's body.
pub const HEADER_BYTES: usize = size_of::<Header>();
/// Most bytes of a frame that is read or written here. An order of 10,000 lines has 560,088.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

const CRC_BYTES: usize = size_of::<u32>();
/// The crc32c of iSCSI (Castagnoli), as in the log.
const CRC: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    crc: U32,
    length: U32,
    kind: u8,
    zero: u8,
    count: U16,
    argument: U32,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of a client.
    Hello = 1,
    /// Commands, to be answered one by one.
    Commands = 2,
    /// Lines, to be looked up in what is published.
    Validate = 3,
    /// Asks for a [`Kind::Pong`].
    Ping = 4,
    /// The client asks nothing more; the server ends the connection once everything is answered.
    Goodbye = 5,
    /// SKUs, whose products are to be told as they are published.
    Details = 6,
    /// Wants to follow the records of a shard.
    Subscribe = 7,
    /// More credit for a subscription.
    Grant = 8,
    /// Wants nothing more of a subscription.
    Unsubscribe = 9,
    /// The first frame of a server.
    Welcome = 129,
    /// Answers to commands, in the order in which they were reached.
    Outcomes = 130,
    /// Answers to lines, in their order.
    Verdicts = 131,
    /// The answer to a [`Kind::Ping`].
    Pong = 132,
    /// More credit, and nothing else.
    Credit = 133,
    /// The server takes nothing more; what is open is answered, then the connection ends.
    Leaving = 134,
    /// Answers to SKUs, in their order.
    Products = 135,
    /// Records of a subscription, in their order.
    Records = 136,
    /// What the other side did wrong. The last frame of the connection.
    Error = 255,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Hello,
        Self::Commands,
        Self::Validate,
        Self::Ping,
        Self::Goodbye,
        Self::Details,
        Self::Subscribe,
        Self::Grant,
        Self::Unsubscribe,
        Self::Welcome,
        Self::Outcomes,
        Self::Verdicts,
        Self::Pong,
        Self::Credit,
        Self::Leaving,
        Self::Products,
        Self::Records,
        Self::Error,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// True if entries or an argument say something in a frame of this kind.
    fn has_argument(self) -> bool {
        matches!(
            self,
            Self::Outcomes
                | Self::Verdicts
                | Self::Pong
                | Self::Credit
                | Self::Products
                | Self::Validate
                | Self::Details
        )
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "every variant says what was expected and what was found")]
pub enum FrameError {
    #[error("length: expected {HEADER_BYTES} to {most} bytes in steps of 8, found {found}")]
    Length { most: usize, found: u32 },
    #[error("crc32c: expected {expected:08x}, found {found:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("kind: expected one of version {}, found {found}", super::VERSION_MAX)]
    UnknownKind { found: u8 },
    #[error("kind: expected {expected}, found {found:?}")]
    UnexpectedKind { expected: &'static str, found: Kind },
    #[error("{field}: expected zero, found {found}")]
    NotZero { field: &'static str, found: u32 },
    #[error("count: expected the {found} entries of the body, found {expected}")]
    Count { expected: u16, found: usize },
    #[error("entries[{index}].length: expected {least} to {most} bytes in steps of 8, found {found}")]
    EntryLength { index: usize, least: usize, most: usize, found: u32 },
    #[error("{field}: expected {expected} bytes, found {found}")]
    BodyLength { field: &'static str, expected: usize, found: usize },
    #[error("{field}: expected {expected}")]
    Field { field: &'static str, expected: &'static str },
}

/// A whole frame that was found good, in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// How many entries it says it has.
    pub count: u16,
    /// Credit, or the most staleness that is accepted, where its kind has it.
    pub argument: u32,
    /// What stands behind the header.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// How long the frame at the beginning of `bytes` says it is; `None` while its length has not
    /// arrived. An error needs no more than eight bytes, so nothing is ever kept for a frame of more than
    /// `most` bytes.
    pub fn length(bytes: &[u8], most: usize) -> Result<Option<usize>, FrameError> {
        let Some(length) = bytes.get(CRC_BYTES..2 * CRC_BYTES) else { return Ok(None) };
        let found = length.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let length = found as usize;
        let good = (HEADER_BYTES..=most).contains(&length) && length.is_multiple_of(8);
        if good { Ok(Some(length)) } else { Err(FrameError::Length { most, found }) }
    }

    /// The frame at the beginning of `bytes` and the bytes behind it; `None` if it has not arrived whole.
    pub fn read(bytes: &'a [u8], most: usize) -> Result<Option<(Self, &'a [u8])>, FrameError> {
        let Some(length) = Self::length(bytes, most)? else { return Ok(None) };
        let Some((whole, rest)) = bytes.split_at_checked(length) else { return Ok(None) };
        Ok(Some((Self::parse(whole)?, rest)))
    }

    /// The body of a frame of this kind; kinds without entries count none.
    pub(super) fn bare(&self, kind: Kind, expected: &'static str) -> Result<&'a [u8], FrameError> {
        if self.kind != kind {
            return Err(FrameError::UnexpectedKind { expected, found: self.kind });
        }
        if self.count != 0 {
            return Err(FrameError::Count { expected: self.count, found: 0 });
        }
        Ok(self.body)
    }

    fn parse(whole: &'a [u8]) -> Result<Self, FrameError> {
        // `length` saw that the header is there.
        let Ok((header, body)) = Header::ref_from_prefix(whole) else {
            return Err(FrameError::Length { most: whole.len(), found: 0 });
        };
        let (expected, found) = (checksum(whole), header.crc.get());
        if expected != found {
            return Err(FrameError::Checksum { expected, found });
        }
        let kind = Kind::of(header.kind).ok_or(FrameError::UnknownKind { found: header.kind })?;
        if header.zero != 0 {
            return Err(FrameError::NotZero { field: "byte 9", found: header.zero.into() });
        }
        let argument = header.argument.get();
        if argument != 0 && !kind.has_argument() {
            return Err(FrameError::NotZero { field: "argument", found: argument });
        }
        Ok(Self { kind, count: header.count.get(), argument, body })
    }
}

/// Of everything behind the checksum itself.
fn checksum(whole: &[u8]) -> u32 {
    crc_fast::checksum(CRC, &whole[CRC_BYTES..]) as u32
}

/// A frame that is being written at the end of a buffer.
#[derive(Debug)]
#[must_use = "a frame that is not sealed is not one"]
pub struct Open {
    at: usize,
    kind: Kind,
}

/// Begins a frame at the end of `out`. Its body is what is appended until it is sealed, in steps of eight
/// bytes.
pub fn begin(out: &mut Vec<u8>, kind: Kind) -> Open {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    Open { at, kind }
}

impl Open {
    /// Bytes of the frame so far.
    pub fn length(&self, out: &[u8]) -> usize {
        out.len() - self.at
    }

    /// Ends the frame: pads it, and writes its header.
    pub fn seal(self, out: &mut Vec<u8>, count: u16, argument: u32) {
        pad(out, self.at);
        let length = out.len() - self.at;
        debug_assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        let header = Header {
            crc: U32::new(0),
            length: U32::new(length as u32),
            kind: self.kind as u8,
            zero: 0,
            count: U16::new(count),
            argument: U32::new(argument),
        };
        out[self.at..self.at + HEADER_BYTES].copy_from_slice(header.as_bytes());
        let crc = checksum(&out[self.at..]);
        out[self.at..self.at + CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    }

    /// Takes back what was written of it.
    pub fn abandon(self, out: &mut Vec<u8>) {
        out.truncate(self.at);
    }
}

/// The `length` bytes of which `padded` consists but for zeros up to a multiple of eight.
pub(super) fn unpad(padded: &[u8], length: usize) -> Option<&[u8]> {
    let (bytes, padding) = padded.split_at_checked(length)?;
    let short = padding.len() < 8 && padded.len().is_multiple_of(8);
    (short && padding.iter().all(|byte| *byte == 0)).then_some(bytes)
}

/// Zeros up to a multiple of eight bytes behind `from`.
pub(super) fn pad(out: &mut Vec<u8>, from: usize) {
    let length = (out.len() - from).next_multiple_of(8);
    out.resize(from + length, 0);
}
