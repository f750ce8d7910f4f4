//! A replica's term and vote, which must survive whatever happens to the sector being written.
//!
//! Two slots of one sector, each with its own crc and a generation that says which is newer. A vote is
//! written to the older slot first and then, when that is durable, to the other: while one is being
//! written the other is whole, and once a vote is acknowledged both hold it, so that damage to either
//! slot later cannot bring an earlier vote back.
//!
//! Slot layout, little-endian, zeros behind: crc32c of offsets 4 to 40 u32, magic `ONRV` u32, generation
//! u64, term u64, voted for u64 (node number + 1, 0 for nobody), flags u64 (1: barred).

use std::io;
use std::sync::Arc;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::disk::{AlignedBuf, Disk, DiskFile, SECTOR_BYTES};

const VOTE_FILE: &str = "vote";
const VOTE_FILE_NEW: &str = "vote.new";
const SLOTS: usize = 2;
const FILE_BYTES: u64 = (SLOTS * SECTOR_BYTES) as u64;
const MAGIC: u32 = u32::from_le_bytes(*b"ONRV");
const CRC_BYTES: usize = 4;

/// What a replica promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vote {
    /// The highest term seen.
    pub term: u64,
    /// The node voted for in that term. A node number is below `u64::MAX`.
    pub voted_for: Option<u64>,
    /// True if its log may lack the end of what it had: its vote tells less than that of others.
    pub barred: bool,
}

/// Why a vote could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VoteError {
    /// No slot is whole: the replica may have voted and must not vote again in any term it knows.
    #[error("corrupt vote: expected a whole slot in {VOTE_FILE}, found none")]
    Corrupt,
    /// The file has the wrong length.
    #[error("corrupt vote: expected {VOTE_FILE} of {FILE_BYTES} bytes, found {found}")]
    Length {
        /// Its length in bytes.
        found: u64,
    },
    /// The disk failed. After a failed write the file is poisoned: open it anew.
    #[error("cannot read or write {VOTE_FILE}: {0}")]
    Io(#[from] io::Error),
    /// An earlier write failed.
    #[error("expected a working vote file, found one poisoned by an earlier disk error")]
    Poisoned,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Slot {
    crc: U32,
    magic: U32,
    generation: U64,
    term: U64,
    voted_for: U64,
    flags: U64,
}

const BARRED: u64 = 1;
const SLOT_BYTES: usize = size_of::<Slot>();

impl Slot {
    fn new(generation: u64, vote: Vote) -> Self {
        let mut slot = Self {
            crc: U32::ZERO,
            magic: U32::new(MAGIC),
            generation: U64::new(generation),
            term: U64::new(vote.term),
            voted_for: U64::new(vote.voted_for.map_or(0, |node| node.saturating_add(1))),
            flags: U64::new(if vote.barred { BARRED } else { 0 }),
        };
        slot.crc = U32::new(slot.crc_found());
        slot
    }

    fn crc_found(&self) -> u32 {
        crc_fast::crc32_iscsi(&self.as_bytes()[CRC_BYTES..])
    }

    fn read(file: &dyn DiskFile, index: usize) -> io::Result<Option<Self>> {
        let mut bytes = [0; SLOT_BYTES];
        file.read_at((index * SECTOR_BYTES) as u64, &mut bytes)?;
        let slot: Self = zerocopy::transmute!(bytes);
        Ok((slot.magic.get() == MAGIC && slot.crc.get() == slot.crc_found()).then_some(slot))
    }

    fn vote(&self) -> Vote {
        let barred = self.flags.get() & BARRED != 0;
        Vote { term: self.term.get(), voted_for: self.voted_for.get().checked_sub(1), barred }
    }
}

/// The file that holds a replica's vote.
pub struct VoteFile {
    file: Box<dyn DiskFile>,
    buf: AlignedBuf,
    generation: u64,
    /// The slot to write first: the older or damaged one.
    first: usize,
    vote: Vote,
    poisoned: bool,
}

impl VoteFile {
    /// True if the directory has one.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn exists(disk: &dyn Disk) -> Result<bool, VoteError> {
        Ok(disk.list()?.iter().any(|name| name == VOTE_FILE))
    }

    /// Opens the vote of a directory; a new one is term 0 and nobody.
    ///
    /// # Errors
    /// [`VoteError::Corrupt`] or [`VoteError::Length`] if a promise may have been lost.
    pub fn open(disk: &Arc<dyn Disk>) -> Result<Self, VoteError> {
        if !Self::exists(disk.as_ref())? {
            return Self::create(disk.as_ref());
        }
        let file = disk.open(VOTE_FILE)?;
        let found = file.len()?;
        if found != FILE_BYTES {
            return Err(VoteError::Length { found });
        }
        let (a, b) = (Slot::read(file.as_ref(), 0)?, Slot::read(file.as_ref(), 1)?);
        let generation = |slot: &Option<Slot>| slot.as_ref().map_or(0, |slot| slot.generation.get());
        let newest = usize::from(generation(&b) > generation(&a));
        let Some(slot) = (if newest == 0 { a } else { b }) else { return Err(VoteError::Corrupt) };
        // What was read may be in the page cache alone.
        file.sync()?;
        Ok(Self::with(file, &slot, 1 - newest))
    }

    /// Both slots are whole before the file has its name, so a file without a whole slot was damaged.
    fn create(disk: &dyn Disk) -> Result<Self, VoteError> {
        let file = disk.create(VOTE_FILE_NEW, FILE_BYTES)?;
        let slot = Slot::new(1, Vote::default());
        let mut created = Self::with(file, &slot, 0);
        created.write_slots(&slot)?;
        disk.rename(VOTE_FILE_NEW, VOTE_FILE)?;
        Ok(created)
    }

    fn with(file: Box<dyn DiskFile>, slot: &Slot, first: usize) -> Self {
        let buf = AlignedBuf::with_capacity(SECTOR_BYTES);
        Self { file, buf, generation: slot.generation.get(), first, vote: slot.vote(), poisoned: false }
    }

    /// The last vote saved.
    pub fn vote(&self) -> Vote {
        self.vote
    }

    /// Saves a vote; durable when this returns.
    ///
    /// # Errors
    /// After [`VoteError::Io`] it is unknown whether the old or the new vote is on disk, and the file is
    /// poisoned.
    pub fn save(&mut self, vote: Vote) -> Result<(), VoteError> {
        if self.poisoned {
            return Err(VoteError::Poisoned);
        }
        let slot = Slot::new(self.generation + 1, vote);
        self.write_slots(&slot)?;
        self.generation += 1;
        self.vote = vote;
        Ok(())
    }

    fn write_slots(&mut self, slot: &Slot) -> Result<(), VoteError> {
        self.buf.clear();
        self.buf.extend_from_slice(slot.as_bytes());
        self.poisoned = true;
        for index in [self.first, 1 - self.first] {
            self.file.write_durable((index * SECTOR_BYTES) as u64, &self.buf)?;
        }
        self.poisoned = false;
        Ok(())
    }
}
