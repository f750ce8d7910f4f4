//! The bytes of a snapshot file. See the module above for the layout.

use crc_fast::{CrcAlgorithm, Digest};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64, U128},
};

pub(super) const HEADER_MAGIC: [u8; 8] = *b"onrushsn";
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"onrushfo";
pub(super) const VERSION: u16 = 1;
/// A block is closed once its payload reaches this size.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// The largest payload of a block: one row more than [`BLOCK_BYTES`].
pub(super) const PAYLOAD_BYTES_MAX: usize = BLOCK_BYTES + ROW_BYTES_MAX;
/// The largest row with its two lengths.
pub(super) const ROW_BYTES_MAX: usize = 64 << 20;
pub(super) const ROW_HEADER_BYTES: usize = size_of::<RawRow>();

/// What a snapshot is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotHeader {
    /// The shard.
    pub shard: u16,
    /// The last Lsn whose effects are in it.
    pub lsn: u64,
    /// That record's term.
    pub term: u64,
    /// Shard time at that record, in microseconds.
    pub time_us: u64,
    /// The index of the frame that ends with that record; 0 if that is not known, and then term and time are not
    /// either.
    pub index: u64,
    /// Hash of the shard's state, compared after a restore.
    pub state_hash: u128,
}

/// What a snapshot holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotSummary {
    /// The file's name.
    pub name: String,
    /// Its header.
    pub header: SnapshotHeader,
    /// Number of blocks.
    pub blocks: u64,
    /// Number of rows in all sections.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct RawHeader {
    magic: [u8; 8],
    version: U16,
    shard: U16,
    lsn: U64,
    term: U64,
    time_us: U64,
    state_hash: U128,
    index: U64,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct RawBlock {
    pub(super) payload_bytes: U32,
    pub(super) rows: U32,
    pub(super) section: u8,
    pub(super) reserved: [u8; 3],
    pub(super) crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct RawRow {
    pub(super) key_bytes: U32,
    pub(super) value_bytes: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct RawFooter {
    pub(super) magic: [u8; 8],
    pub(super) blocks: U64,
    pub(super) rows: U64,
    pub(super) file_bytes: U64,
    pub(super) reserved: [u8; 8],
    pub(super) file_crc: U32,
    pub(super) crc: U32,
}

pub(super) const HEADER_BYTES: usize = size_of::<RawHeader>();
pub(super) const BLOCK_HEADER_BYTES: usize = size_of::<RawBlock>();
pub(super) const FOOTER_BYTES: usize = size_of::<RawFooter>();
const _: () = assert!(HEADER_BYTES == 64 && BLOCK_HEADER_BYTES == 16 && FOOTER_BYTES == 48);

impl RawHeader {
    pub(super) fn new(header: &SnapshotHeader) -> Self {
        let mut raw = Self {
            magic: HEADER_MAGIC,
            version: VERSION.into(),
            shard: header.shard.into(),
            lsn: header.lsn.into(),
            term: header.term.into(),
            time_us: header.time_us.into(),
            state_hash: header.state_hash.into(),
            index: header.index.into(),
            crc: U32::ZERO,
        };
        raw.crc = crc32c(&raw.as_bytes()[..HEADER_BYTES - 4]).into();
        raw
    }

    /// The header if its crc, its magic and its version are right.
    pub(super) fn check(&self) -> Option<SnapshotHeader> {
        let intact = self.crc.get() == crc32c(&self.as_bytes()[..HEADER_BYTES - 4])
            && self.magic == HEADER_MAGIC
            && self.version.get() == VERSION;
        intact.then(|| SnapshotHeader {
            shard: self.shard.get(),
            lsn: self.lsn.get(),
            term: self.term.get(),
            time_us: self.time_us.get(),
            state_hash: self.state_hash.get(),
            index: self.index.get(),
        })
    }
}

impl RawBlock {
    pub(super) fn crc_of(&self, payload: &[u8]) -> u32 {
        let mut digest = FileCrc::new();
        digest.update(&self.as_bytes()[..BLOCK_HEADER_BYTES - 4]);
        digest.update(payload);
        digest.value()
    }
}

impl RawFooter {
    pub(super) fn crc_of(&self) -> u32 {
        crc32c(&self.as_bytes()[..FOOTER_BYTES - 4])
    }
}

/// A crc32c over bytes that come in pieces.
pub(super) struct FileCrc(Digest);

impl FileCrc {
    pub(super) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = FileCrc::new();
    crc.update(bytes);
    crc.value()
}

/// `snapshot-<lsn, 20 digits>`: names sort as their Lsn do.
pub(super) fn file_name(lsn: u64, extension: &str) -> String {
    format!("snapshot-{lsn:020}.{extension}")
}

/// The Lsn of a name made by [`file_name`] with `.snap`.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("snapshot-")?.strip_suffix(".snap")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// True for a file that a crash left before its rename.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with("snapshot-") && name.ends_with(".tmp")
}
