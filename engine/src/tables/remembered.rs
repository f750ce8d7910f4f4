//! What a shard remembers by hash: recent entries exactly, of older ones where they stand.
//!
//! Serves idempotency keys and per-customer counts. An entry leaves memory only after the store
//! has it, and leaves a fingerprint and its bucket behind; a look-up that hits one asks the store.
//!
//! Entries stand in the order of their changes, which is the order they leave in: a change writes
//! where the last one ended. Only the index, five bytes an entry, is written at random.

use std::collections::VecDeque;

use hashbrown::{HashSet, HashTable, hash_table};

use super::hash::{FixedState, hash_of};
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

struct Held<V> {
    hash: u128,
    value: V,
    /// The record that last changed it; 0 for an entry that was loaded from the store.
    lsn: u64,
    bucket: u32,
}

/// Entries in the order of their changes. A later change of a hash makes the earlier one stale.
struct Line<V> {
    entries: VecDeque<Held<V>>,
    /// The number of the first entry. Numbers wrap; there are never 2^32 entries at once.
    first: u32,
}

impl<V> Line<V> {
    fn at(&self, number: u32) -> &Held<V> {
        &self.entries[number.wrapping_sub(self.first) as usize]
    }

    fn next(&self) -> u32 {
        self.first.wrapping_add(self.entries.len() as u32)
    }
}

/// Entries that leave together.
const LEAVING_AT_ONCE: usize = 64;

/// A map by 128-bit hash with a bounded recent part.
pub struct Remembered<V> {
    line: Line<V>,
    /// The number of the newest entry of each hash.
    index: HashTable<u32>,
    older: Places,
    recent_min: usize,
    /// Hashes that were asked of the store for this batch and are not there.
    absent: HashSet<u128, FixedState>,
}

impl<V: Copy> Remembered<V> {
    /// Keeps at least `recent_min` entries exactly.
    pub fn new(recent_min: usize) -> Self {
        Self {
            line: Line { entries: VecDeque::new(), first: 0 },
            index: HashTable::new(),
            older: Places::default(),
            recent_min,
            absent: HashSet::with_hasher(FixedState),
        }
    }

    /// What is known of a hash.
    pub fn recall(&self, hash: u128) -> Memory<V> {
        match self.known(hash) {
            Some(value) => Memory::Known(value),
            None if self.is_cold(hash) => Memory::Cold,
            None => Memory::Absent,
        }
    }

    /// The value, if it is in memory. All that a decision looks at: what was cold is here by then,
    /// or the store does not have it.
    pub fn known(&self, hash: u128) -> Option<V> {
        let number = self.index.find(hash_of(&hash), |number| self.line.at(*number).hash == hash)?;
        Some(self.line.at(*number).value)
    }

    /// Calls `ask` for every hash that only the store can answer for.
    pub fn cold(&self, hashes: &[u128], mut ask: impl FnMut(u128)) {
        // The decisions that follow look here: what they will read comes near, many at a time.
        let touched = hashes.iter().filter(|hash| self.touch(**hash));
        std::hint::black_box(touched.count());
        // Most hashes are new, and have left no fingerprint.
        self.older.hits(hashes, |hash| {
            if self.known(hash).is_none() && !self.absent.contains(&hash) {
                ask(hash);
            }
        });
    }

    fn is_cold(&self, hash: u128) -> bool {
        self.older.might_hold(hash) && !self.absent.contains(&hash)
    }

    /// Records a change. `bucket` says where in the history its row will stand.
    pub fn put(&mut self, hash: u128, value: V, lsn: u64, bucket: u32) {
        let (line, number) = (&self.line, self.line.next());
        let same = |number: &u32| line.at(*number).hash == hash;
        match self.index.entry(hash_of(&hash), same, |number| hash_of(&line.at(*number).hash)) {
            hash_table::Entry::Occupied(mut newest) => *newest.get_mut() = number,
            hash_table::Entry::Vacant(place) => drop(place.insert(number)),
        }
        self.line.entries.push_back(Held { hash, value, lsn, bucket });
    }

    /// Takes in what the store answered for a cold hash.
    pub fn warm(&mut self, hash: u128, found: Option<(V, u32)>) {
        match found {
            Some((value, bucket)) if self.known(hash).is_none() => self.put(hash, value, 0, bucket),
            Some(_) => {}
            None => drop(self.absent.insert(hash)),
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
        loop {
            let spare = self.line.entries.len().saturating_sub(self.recent_min).min(LEAVING_AT_ONCE);
            let stored = |entry: &&Held<V>| entry.lsn <= stored_lsn || cfg!(planted = "14");
            let leaving = self.line.entries.iter().take(spare).take_while(stored);
            // First what will be written is brought near, many at a time.
            let (mut count, mut touched) = (0, 0);
            for entry in leaving {
                count += 1;
                touched ^= self.older.touch(entry.hash) ^ u8::from(self.touch(entry.hash));
            }
            std::hint::black_box(touched);
            if count == 0 {
                break;
            }
            (0..count).for_each(|_| self.let_go());
        }
    }

    /// Lets go of the first entry.
    fn let_go(&mut self) {
        let Some(Held { hash, lsn, bucket, .. }) = self.line.entries.pop_front() else { return };
        let number = self.line.first;
        self.line.first = number.wrapping_add(1);
        // A later change has its own place in the line.
        if let Ok(newest) = self.index.find_entry(hash_of(&hash), |at| *at == number) {
            newest.remove();
            // What came from the store has its fingerprint already.
            if lsn != 0 {
                self.older.add(hash, bucket);
            }
        }
    }

    /// Reads where the index says whether it has a hash.
    fn touch(&self, hash: u128) -> bool {
        self.index.find(hash_of(&hash), |_| false).is_some()
    }

    /// Entries held exactly.
    pub fn recent_len(&self) -> usize {
        self.index.len()
    }

    /// Entries that left a fingerprint behind.
    pub fn older_len(&self) -> u64 {
        self.older.len()
    }

    /// Memory in bytes, estimated from capacities.
    pub fn bytes(&self) -> u64 {
        let exact = self.line.entries.capacity() * size_of::<Held<V>>() + self.index.capacity() * 5;
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
