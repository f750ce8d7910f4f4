//! Where a key lives: 256 slots, mapped to shards by a table that is fixed at format.

use rkyv::{Archive, Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Number of slots. Every key hashes to one; shards own sets of them.
pub const SLOTS: usize = 256;

/// One of the [`SLOTS`] partitions of the key space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
pub struct Slot(pub u8);

impl Slot {
    /// The slot of arbitrary key bytes: the low byte of their XXH3-64.
    pub fn of(key: &[u8]) -> Self {
        Slot(xxh3_64(key) as u8)
    }

    /// The slot of a 128-bit hash.
    pub fn of_hash(hash: u128) -> Self {
        Slot(hash as u8)
    }
}

/// A shard: one log, one writer, one state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
pub struct ShardId(pub u16);

/// The table slot -> shard: slots are dealt round-robin to the shards of the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotMap {
    shards: u16,
}

impl SlotMap {
    /// A map over `shards` shards, or `None` outside 1..=256.
    pub fn new(shards: u16) -> Option<Self> {
        (1..=SLOTS as u16).contains(&shards).then_some(Self { shards })
    }

    /// Number of shards.
    pub fn shards(self) -> u16 {
        self.shards
    }

    /// The owner of a slot.
    pub fn shard(self, slot: Slot) -> ShardId {
        ShardId(u16::from(slot.0) % self.shards)
    }
}

/// A position in a shard's log: the number of a record, counted from 1 without gaps. 0 is "before
/// the first".
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Archive, Serialize, Deserialize,
)]
pub struct Lsn(pub u64);
