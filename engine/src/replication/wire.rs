//! Messages as bytes. They come from other machines: every length is checked before it is believed, every entry by its
//! own checksum, and the whole by another.
//!
//! Little-endian: crc32c of everything behind it u32, version u8, kind u8, shard u16, from u64, to u64, term u64,
//! then by kind:
//!
//! | kind | body |
//! |---|---|
//! | 1 ballot | last term u64, last index u64, flags u8: 1 = poll, 2 = asked for by the leader |
//! | 2 vote | flags u8: 1 = poll, 2 = granted, 4 = the sender's log may lack its end |
//! | 3 append | previous term u64, previous index u64, commit u64, sent u64, as of u64, number of entries u32, each length u32 and a frame |
//! | 4 appended | sent u64, said u64, index u64: the logs are equal up to it |
//! | 5 appended | sent u64, said u64, tested u64, hint u64: there is no such entry |
//! | 6 take office | nothing |
//! | 7 appended | sent u64, said u64: the leader is followed, more is said later |
//! | 8 offer | of a snapshot: Lsn u64, last term u64, last index u64, bytes of the file u64 |
//! | 9 fetch | of a snapshot: Lsn u64, offset u64 |
//! | 10 piece | of a snapshot: Lsn u64, offset u64, length u32 up to 2^20, and so many bytes |

use onrush_proto::ShardId;
use onrush_storage::log::{Frame, FrameError};

use super::entry::{Entry, Position};
use super::members::NodeId;
use super::message::{Append, AppendResult, Ballot, Body, Message, Offer, PIECE_BYTES_MAX};

/// The version of the layout.
pub const MESSAGE_VERSION: u8 = 7;

const CRC_BYTES: usize = 4;
const HEADER_BYTES: usize = 32;
/// Length and an empty frame.
const ENTRY_BYTES_MIN: usize = 4 + 64;

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "every variant says what was expected and what was found")]
pub enum MessageError {
    #[error("message: expected {expected} more bytes at offset {at}, found {found}")]
    Short { at: usize, expected: usize, found: usize },
    #[error("message: expected crc {expected:#010x}, found {found:#010x}")]
    Crc { expected: u32, found: u32 },
    #[error("message: expected version {expected}, found {found}")]
    Version { expected: u8, found: u8 },
    #[error("message: expected a kind from 1 to 10, found {0}")]
    Kind(u8),
    #[error("message: expected flags of kind {kind} below {bound}, found {found}")]
    Flags { kind: u8, bound: u8, found: u8 },
    #[error("message: expected {expected} entries, found room for {room}")]
    Entries { expected: u32, room: usize },
    #[error("message: entry {number}: {source}")]
    Entry { number: u32, source: FrameError },
    #[error("message: expected entry {number} at index {expected}, found {found}")]
    Index { number: u32, expected: u64, found: u64 },
    #[error("message: expected a piece of at most {PIECE_BYTES_MAX} bytes, found {0}")]
    Piece(usize),
    #[error("message: expected its end, found {0} bytes more")]
    Rest(usize),
}

impl Message {
    /// Writes the message of a shard's group behind what is in `bytes`.
    pub fn encode(&self, shard: ShardId, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend([0; CRC_BYTES]);
        bytes.extend([MESSAGE_VERSION, self.kind()]);
        bytes.extend(shard.0.to_le_bytes());
        [self.from.0, self.to.0, self.term].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        let mut words = |words: &[u64]| words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        match &self.body {
            Body::Ballot(ballot) => {
                words(&[ballot.last.term, ballot.last.index]);
                bytes.push(u8::from(ballot.poll) | u8::from(ballot.asked) << 1);
            }
            Body::Vote { poll, granted, barred } => {
                bytes.push(u8::from(*poll) | u8::from(*granted) << 1 | u8::from(*barred) << 2);
            }
            Body::Append(append) => {
                words(&[append.previous.term, append.previous.index]);
                words(&[append.commit, append.sent_us, append.as_of_us]);
                bytes.extend((append.entries.len() as u32).to_le_bytes());
                for entry in &append.entries {
                    bytes.extend((entry.bytes() as u32).to_le_bytes());
                    bytes.extend_from_slice(entry.frame().bytes());
                }
            }
            Body::Appended { sent_us, said_us, result } => {
                words(&[*sent_us, *said_us]);
                match result {
                    AppendResult::Matched(index) => words(&[*index]),
                    AppendResult::Missing { tested, hint } => words(&[*tested, *hint]),
                    AppendResult::Heard => {}
                }
            }
            Body::TakeOffice => {}
            Body::Offer(offer) => words(&[offer.lsn, offer.last.term, offer.last.index, offer.bytes]),
            Body::Fetch { lsn, offset } => words(&[*lsn, *offset]),
            Body::Piece { lsn, offset, bytes: piece } => {
                words(&[*lsn, *offset]);
                bytes.extend((piece.len() as u32).to_le_bytes());
                bytes.extend_from_slice(piece);
            }
        }
        let crc = crc_fast::crc32_iscsi(&bytes[start + CRC_BYTES..]);
        bytes[start..start + CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads a message that fills `bytes`.
    ///
    /// # Errors
    /// The first thing that is not as a message has it.
    pub fn decode(bytes: &[u8]) -> Result<(ShardId, Self), MessageError> {
        let mut reader = Reader { bytes, at: 0 };
        let crc = u32::from_le_bytes(reader.take()?);
        let [version, kind] = reader.take()?;
        if version != MESSAGE_VERSION {
            return Err(MessageError::Version { expected: MESSAGE_VERSION, found: version });
        }
        let found = crc_fast::crc32_iscsi(&bytes[CRC_BYTES..]);
        if crc != found {
            return Err(MessageError::Crc { expected: crc, found });
        }
        let shard = ShardId(u16::from_le_bytes(reader.take()?));
        let (from, to, term) = (NodeId(reader.word()?), NodeId(reader.word()?), reader.word()?);
        debug_assert_eq!(reader.at, HEADER_BYTES);
        let body = reader.body(kind)?;
        match bytes.len() - reader.at {
            0 => Ok((shard, Self { from, to, term, body })),
            rest => Err(MessageError::Rest(rest)),
        }
    }

    fn kind(&self) -> u8 {
        match &self.body {
            Body::Ballot(_) => 1,
            Body::Vote { .. } => 2,
            Body::Append(_) => 3,
            Body::Appended { result: AppendResult::Matched(_), .. } => 4,
            Body::Appended { result: AppendResult::Missing { .. }, .. } => 5,
            Body::TakeOffice => 6,
            Body::Appended { result: AppendResult::Heard, .. } => 7,
            Body::Offer(_) => 8,
            Body::Fetch { .. } => 9,
            Body::Piece { .. } => 10,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn slice(&mut self, expected: usize) -> Result<&'a [u8], MessageError> {
        let rest = &self.bytes[self.at..];
        let short = MessageError::Short { at: self.at, expected, found: rest.len() };
        self.at += expected.min(rest.len());
        rest.get(..expected).ok_or(short)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let slice = self.slice(N)?;
        Ok(*slice.first_chunk().unwrap_or(&[0; N]))
    }

    fn word(&mut self) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// `N` flags, the lowest bit first.
    fn flags<const N: usize>(&mut self, kind: u8) -> Result<[bool; N], MessageError> {
        let ([found], bound) = (self.take()?, 1 << N);
        if found >= bound {
            return Err(MessageError::Flags { kind, bound, found });
        }
        Ok(std::array::from_fn(|bit| found >> bit & 1 != 0))
    }

    fn body(&mut self, kind: u8) -> Result<Body, MessageError> {
        Ok(match kind {
            1 => {
                let last = Position { term: self.word()?, index: self.word()? };
                let [poll, asked] = self.flags(kind)?;
                Body::Ballot(Ballot { last, poll, asked })
            }
            2 => {
                let [poll, granted, barred] = self.flags(kind)?;
                Body::Vote { poll, granted, barred }
            }
            3 => Body::Append(self.append()?),
            4 | 5 | 7 => {
                let (sent_us, said_us) = (self.word()?, self.word()?);
                let result = match kind {
                    4 => AppendResult::Matched(self.word()?),
                    5 => AppendResult::Missing { tested: self.word()?, hint: self.word()? },
                    _ => AppendResult::Heard,
                };
                Body::Appended { sent_us, said_us, result }
            }
            6 => Body::TakeOffice,
            8 => {
                let lsn = self.word()?;
                let last = Position { term: self.word()?, index: self.word()? };
                Body::Offer(Offer { lsn, last, bytes: self.word()? })
            }
            9 => Body::Fetch { lsn: self.word()?, offset: self.word()? },
            10 => {
                let (lsn, offset) = (self.word()?, self.word()?);
                let length = u32::from_le_bytes(self.take()?) as usize;
                if length > PIECE_BYTES_MAX {
                    return Err(MessageError::Piece(length));
                }
                Body::Piece { lsn, offset, bytes: self.slice(length)?.to_vec() }
            }
            other => return Err(MessageError::Kind(other)),
        })
    }

    fn append(&mut self) -> Result<Append, MessageError> {
        let previous = Position { term: self.word()?, index: self.word()? };
        let (commit, sent_us, as_of_us) = (self.word()?, self.word()?, self.word()?);
        let expected = u32::from_le_bytes(self.take()?);
        let room = (self.bytes.len() - self.at) / ENTRY_BYTES_MIN;
        if expected as usize > room {
            return Err(MessageError::Entries { expected, room });
        }
        let mut entries = Vec::with_capacity(expected as usize);
        let mut index = previous.index;
        for number in 0..expected {
            let length = u32::from_le_bytes(self.take()?) as usize;
            let bytes = self.slice(length)?;
            let frame = Frame::parse(bytes).map_err(|source| MessageError::Entry { number, source })?;
            if frame.bytes().len() != length {
                return Err(MessageError::Rest(length - frame.bytes().len()));
            }
            let entry = Entry::from(frame);
            index = index.saturating_add(1);
            if entry.position().index != index {
                let found = entry.position().index;
                return Err(MessageError::Index { number, expected: index, found });
            }
            entries.push(entry);
        }
        Ok(Append { previous, commit, sent_us, as_of_us, entries })
    }
}

#[cfg(test)]
mod tests {
    use onrush_storage::log::{FrameBuf, FrameInfo};
    use proptest::prelude::*;

    use super::*;

    fn entry(index: u64, term: u64, payloads: &[Vec<u8>]) -> Entry {
        let mut frame = FrameBuf::new();
        payloads.iter().for_each(|payload| frame.push(7, 8, payload));
        Entry::new(
            &frame,
            FrameInfo { first_lsn: index * 10, term, time_us: 5, index, ..FrameInfo::default() },
        )
    }

    fn result() -> impl Strategy<Value = AppendResult> {
        prop_oneof![
            any::<u64>().prop_map(AppendResult::Matched),
            (any::<u64>(), any::<u64>()).prop_map(|(tested, hint)| AppendResult::Missing { tested, hint }),
            Just(AppendResult::Heard),
        ]
    }

    fn body() -> impl Strategy<Value = Body> {
        let position = || (any::<u64>(), 0..1_u64 << 40).prop_map(|(term, index)| Position { term, index });
        let flags = || (any::<bool>(), any::<bool>());
        let payloads = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..3);
        let append = (position(), any::<u64>(), any::<[u64; 2]>(), proptest::collection::vec(payloads, 0..4));
        prop_oneof![
            (position(), flags()).prop_map(|(last, (poll, asked))| Body::Ballot(Ballot {
                last,
                poll,
                asked
            })),
            (flags(), any::<bool>()).prop_map(|((poll, granted), barred)| Body::Vote {
                poll,
                granted,
                barred
            }),
            append.prop_map(|(previous, commit, [sent_us, as_of_us], batches)| {
                let entries = (previous.index + 1..).zip(batches);
                let entries =
                    entries.map(|(index, payloads)| entry(index, previous.term, &payloads)).collect();
                Body::Append(Append { previous, commit, sent_us, as_of_us, entries })
            }),
            (any::<u64>(), any::<u64>(), result()).prop_map(|(sent_us, said_us, result)| Body::Appended {
                sent_us,
                said_us,
                result
            }),
            Just(Body::TakeOffice),
            (position(), any::<u64>(), any::<u64>()).prop_map(|(last, lsn, bytes)| Body::Offer(Offer {
                lsn,
                last,
                bytes
            })),
            (any::<u64>(), any::<u64>()).prop_map(|(lsn, offset)| Body::Fetch { lsn, offset }),
            (any::<u64>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(lsn, offset, bytes)| Body::Piece { lsn, offset, bytes }),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        (any::<u64>(), any::<u64>(), any::<u64>(), body()).prop_map(|(from, to, term, body)| Message {
            from: NodeId(from),
            to: NodeId(to),
            term,
            body,
        })
    }

    /// The same bytes with a crc that fits, as somebody who lies would send them.
    fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let crc = crc_fast::crc32_iscsi(&bytes[CRC_BYTES..]);
        bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn bytes_lead_back(message in message(), shard in any::<u16>()) {
            let mut bytes = Vec::new();
            message.encode(ShardId(shard), &mut bytes);
            prop_assert_eq!(Message::decode(&bytes), Ok((ShardId(shard), message)));
        }

        #[test]
        fn every_cut_is_refused_and_every_flip_is_told(message in message(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = Vec::new();
            message.encode(ShardId(1), &mut bytes);
            for len in 0..bytes.len() {
                prop_assert!(Message::decode(&bytes[..len]).is_err());
                if len >= CRC_BYTES {
                    prop_assert!(Message::decode(&resealed(bytes[..len].to_vec())).is_err(), "length {len}");
                }
            }
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Message::decode(&bytes).is_err());
            // With a crc that fits: another message, or none; never more than there are bytes for.
            if let Ok((shard, other)) = Message::decode(&resealed(bytes.clone())) {
                let mut again = Vec::new();
                other.encode(shard, &mut again);
                prop_assert_eq!(again, resealed(bytes));
            }
        }
    }

    #[test]
    fn lies_are_named() {
        let append = Append {
            previous: Position { term: 2, index: 4 },
            commit: 3,
            sent_us: 9,
            as_of_us: 0,
            entries: vec![entry(5, 2, &[b"abc".to_vec()]), entry(6, 2, &[])],
        };
        let message = Message { from: NodeId(1), to: NodeId(2), term: 2, body: Body::Append(append) };
        let mut bytes = Vec::new();
        message.encode(ShardId(0), &mut bytes);
        let with = |at: usize, new: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            Message::decode(&resealed(bytes)).unwrap_err()
        };
        assert_eq!(with(4, &[9]), MessageError::Version { expected: MESSAGE_VERSION, found: 9 });
        assert_eq!(with(5, &[0]), MessageError::Kind(0));
        let entries = HEADER_BYTES + 40;
        assert_eq!(with(entries, &[255; 4]), MessageError::Entries { expected: u32::MAX, room: 2 });
        assert!(matches!(with(entries + 4, &[255; 4]), MessageError::Short { .. }));
        assert!(matches!(with(entries + 4, &[10, 0, 0, 0]), MessageError::Entry { number: 0, .. }));
        let gap = MessageError::Index { number: 0, expected: 9, found: 5 };
        assert_eq!(with(HEADER_BYTES + 8, &8_u64.to_le_bytes()), gap);
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Message::decode(&resealed(longer)), Err(MessageError::Rest(1)));
        let vote = Message { body: Body::Vote { poll: true, granted: false, barred: false }, ..message };
        let mut bytes = Vec::new();
        vote.encode(ShardId(0), &mut bytes);
        bytes[HEADER_BYTES] = 8;
        let lie = MessageError::Flags { kind: 2, bound: 8, found: 8 };
        assert_eq!(Message::decode(&resealed(bytes)), Err(lie));
        let piece = Message { body: Body::Piece { lsn: 1, offset: 2, bytes: vec![3; 4] }, ..vote };
        let mut bytes = Vec::new();
        piece.encode(ShardId(0), &mut bytes);
        let length = HEADER_BYTES + 16;
        bytes[length..length + 4].copy_from_slice(&(PIECE_BYTES_MAX as u32 + 1).to_le_bytes());
        assert_eq!(Message::decode(&resealed(bytes)), Err(MessageError::Piece(PIECE_BYTES_MAX + 1)));
    }
}
