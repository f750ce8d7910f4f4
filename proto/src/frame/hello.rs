//! The first frames: who calls, what is spoken, who owns what.
//!
//! [`Hello`], behind the header:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `ONRUSH\r\n` |
//! | 8 | 2 | oldest version that the client speaks |
//! | 10 | 2 | newest one |
//! | 12 | 2 | length of the access token, 0 = none |
//! | 14 | 2 | length of the client's name |
//! | 16 | | token, name, zeros up to a multiple of 8 |
//!
//! [`Welcome`]:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | the version that is spoken from here on |
//! | 2 | 2 | number of shards |
//! | 4 | 4 | most bytes of a frame that the server reads |
//! | 8 | 4 | credit to begin with |
//! | 12 | 4 | zero |
//! | 16 | 512 | for each of 256 slots the number of the shard that owns it, 2 bytes each |
//!
//! and, of a cluster, what [`Cluster`] has.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{Frame, FrameError, Kind, begin, unpad};
use super::node::Cluster;
use super::{VERSION_MAX, VERSION_MIN};
use crate::slot::{SLOTS, ShardId, Slot, SlotMap};

/// Line ends show whether something on the way took the stream for text.
const MAGIC: [u8; 8] = *b"ONRUSH\r\n";
/// Most bytes of a token: what a header of HTTP may have, too.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Most bytes of a client's name.
const NAME_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct HelloBytes {
    magic: [u8; 8],
    version_min: U16,
    version_max: U16,
    token_length: U16,
    name_length: U16,
}

/// What a client says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello<'a> {
    /// The oldest version it speaks.
    pub version_min: u16,
    /// The newest one.
    pub version_max: u16,
    /// Its access token; empty = none.
    pub token: &'a str,
    /// What it is, for the log.
    pub name: &'a str,
}

impl<'a> Hello<'a> {
    /// Most bytes of a frame that a server reads before it knows who calls.
    pub const FRAME_BYTES_MAX: usize =
        super::HEADER_BYTES + size_of::<HelloBytes>() + TOKEN_BYTES_MAX + NAME_BYTES_MAX;

    /// A client of this release.
    pub fn new(token: &'a str, name: &'a str) -> Self {
        Self { version_min: VERSION_MIN, version_max: VERSION_MAX, token, name }
    }

    /// Appends the frame. What is too long for it is cut: such a token is no good, and such a name is
    /// for the log alone.
    pub fn write(&self, out: &mut Vec<u8>) {
        let token = &self.token.as_bytes()[..self.token.len().min(TOKEN_BYTES_MAX)];
        let name = &self.name.as_bytes()[..self.name.floor_char_boundary(NAME_BYTES_MAX)];
        let frame = begin(out, Kind::Hello);
        let head = HelloBytes {
            magic: MAGIC,
            version_min: U16::new(self.version_min),
            version_max: U16::new(self.version_max),
            token_length: U16::new(token.len() as u16),
            name_length: U16::new(name.len() as u16),
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(token);
        out.extend_from_slice(name);
        frame.seal(out, 0, 0);
    }

    /// Reads the body of a frame.
    pub fn read(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let body = frame.bare(Kind::Hello, "Hello")?;
        let found = body.len();
        let Ok((head, rest)) = HelloBytes::ref_from_prefix(body) else {
            return Err(FrameError::BodyLength { field: "body", expected: size_of::<HelloBytes>(), found });
        };
        if head.magic != MAGIC {
            return Err(FrameError::Field { field: "magic", expected: "ONRUSH and a line end" });
        }
        let (token, name) = (usize::from(head.token_length.get()), usize::from(head.name_length.get()));
        if token > TOKEN_BYTES_MAX || name > NAME_BYTES_MAX {
            let expected = "a token of at most 8192 bytes and a name of at most 128";
            return Err(FrameError::Field { field: "token_length", expected });
        }
        let expected = (token + name).next_multiple_of(8);
        if rest.len() != expected {
            return Err(FrameError::BodyLength { field: "token and name", expected, found: rest.len() });
        }
        let padding = FrameError::Field { field: "padding", expected: "zeros behind token and name" };
        let rest = unpad(rest, token + name).ok_or(padding)?;
        let text = |field, bytes| {
            std::str::from_utf8(bytes).map_err(|_| FrameError::Field { field, expected: "UTF-8" })
        };
        Ok(Self {
            version_min: head.version_min.get(),
            version_max: head.version_max.get(),
            token: text("token", &rest[..token])?,
            name: text("name", &rest[token..])?,
        })
    }

    /// The newest version that both speak.
    pub fn version(&self) -> Option<u16> {
        let (least, most) = (self.version_min.max(VERSION_MIN), self.version_max.min(VERSION_MAX));
        (least <= most).then_some(most)
    }
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WelcomeBytes {
    version: U16,
    shards: U16,
    frame_bytes_max: U32,
    credit: U32,
    zero: U32,
    owners: [U16; SLOTS],
}

/// What a server says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The version that is spoken from here on.
    pub version: u16,
    /// How many shards there are.
    pub shards: u16,
    /// Most bytes of a frame that the server reads.
    pub frame_bytes_max: u32,
    /// Commands and frames of lines that the client may have open.
    pub credit: u32,
    /// The owner of each slot.
    owners: [u16; SLOTS],
    /// The nodes that the shop is on.
    cluster: Cluster,
}

impl Welcome {
    /// To a client of a shop with these shards.
    pub fn new(version: u16, map: SlotMap, frame_bytes_max: u32, credit: u32) -> Self {
        let owners = std::array::from_fn(|slot| map.shard(Slot(slot as u8)).0);
        Self { version, shards: map.shards(), frame_bytes_max, credit, owners, cluster: Cluster::default() }
    }

    /// The same of a node of a cluster.
    pub fn of(self, cluster: Cluster) -> Self {
        Self { cluster, ..self }
    }

    /// The nodes that the shop is on; none if the server stands alone.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The owner of a slot.
    pub fn shard(&self, slot: Slot) -> ShardId {
        ShardId(self.owners[usize::from(slot.0)])
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let frame = begin(out, Kind::Welcome);
        let body = WelcomeBytes {
            version: U16::new(self.version),
            shards: U16::new(self.shards),
            frame_bytes_max: U32::new(self.frame_bytes_max),
            credit: U32::new(self.credit),
            zero: U32::new(0),
            owners: self.owners.map(U16::new),
        };
        out.extend_from_slice(body.as_bytes());
        let nodes = self.cluster.put(out);
        frame.seal(out, nodes, 0);
    }

    /// Reads the body of a frame.
    pub fn read(frame: &Frame<'_>) -> Result<Self, FrameError> {
        if frame.kind != Kind::Welcome {
            return Err(FrameError::UnexpectedKind { expected: "Welcome", found: frame.kind });
        }
        let (expected, found) = (size_of::<WelcomeBytes>(), frame.body.len());
        let wrong = FrameError::BodyLength { field: "body", expected, found };
        let (body, rest) = WelcomeBytes::ref_from_prefix(frame.body).map_err(|_| wrong)?;
        if body.zero.get() != 0 {
            return Err(FrameError::NotZero { field: "byte 12", found: body.zero.get() });
        }
        let (shards, owners) = (body.shards.get(), body.owners.map(U16::get));
        if shards == 0 || owners.iter().any(|owner| *owner >= shards) {
            return Err(FrameError::Field { field: "owners", expected: "shards that there are" });
        }
        Ok(Self {
            version: body.version.get(),
            shards,
            frame_bytes_max: body.frame_bytes_max.get(),
            credit: body.credit.get(),
            owners,
            cluster: Cluster::read(frame.count, rest)?,
        })
    }
}
