//! What a shard remembers by hash: recent entries exactly, of all where they stand.
//!
//! Serves idempotency keys and per-customer counts. An entry leaves memory only after the store
//! has it. A change leaves a fingerprint and its bucket behind at once, so that a hash which was never
//! seen is told by fingerprints alone: those are looked at once for all inputs of a turn, and for a fresh
//! hash a decision looks at nothing but what the turn itself has put.
//!
//! Entries stand in generations, each in the order of its changes with an index of its own, which is
//! small enough to stay near while it is written. A generation leaves as a whole, unread.

use std::collections::VecDeque;

use hashbrown::{HashSet, HashTable, hash_table};
use onrush_proto::planted::planted;

use super::chunks::Chunks;
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

/// Generations that hold what must be kept exactly, beside those that wait for the store.
const GENERATIONS_KEPT: usize = 2;
/// Most generations, about: they grow when the store lags, so that a look-up asks few of them.
const GENERATIONS_MEAN: usize = 8;

/// Hashes of a turn for which there is always room.
const ASKED_KEPT_MAX: usize = 1 << 12;

struct Held<V> {
    hash: u128,
    value: V,
    bucket: u32,
}

/// Entries that were put one after another. A hash that is put again is changed in place.
struct Generation<V> {
    entries: Chunks<Held<V>>,
    index: HashTable<u32>,
    /// The last record that put one.
    last_lsn: u64,
}

impl<V> Generation<V> {
    /// One whose index need not grow for so many entries.
    fn with_room(entries: usize) -> Self {
        Self { entries: Chunks::default(), index: HashTable::with_capacity(entries), last_lsn: 0 }
    }

    fn get(&self, hash: u128) -> Option<&Held<V>> {
        let same = |at: &u32| self.entries.at(*at as usize).hash == hash;
        self.index.find(hash_of(&hash), same).map(|at| self.entries.at(*at as usize))
    }

    /// Puts an entry; true if one of this hash and this bucket was there.
    fn put(&mut self, held: Held<V>) -> bool {
        let Self { entries, index, .. } = self;
        let same = |at: &u32| entries.at(*at as usize).hash == held.hash;
        match index.entry(hash_of(&held.hash), same, |at| hash_of(&entries.at(*at as usize).hash)) {
            hash_table::Entry::Occupied(at) => {
                let place = entries.at_mut(*at.get() as usize);
                let known = place.bucket == held.bucket;
                *place = held;
                known
            }
            hash_table::Entry::Vacant(place) => {
                place.insert(entries.len() as u32);
                entries.push(held);
                false
            }
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.last_lsn = 0;
    }

    fn bytes(&self) -> usize {
        self.entries.bytes() + self.index.capacity() * 5
    }
}

/// A map by 128-bit hash with a bounded recent part.
pub struct Remembered<V> {
    /// The eldest first; the last one is being filled.
    generations: VecDeque<Generation<V>>,
    /// The memory of one that left.
    spare: Option<Generation<V>>,
    /// Entries in all generations; a hash that changed counts in each.
    entries: usize,
    /// Generations that have left.
    left: usize,
    older: Places,
    recent_min: usize,
    /// Hashes of this turn that had left no fingerprint when it began, and the generation, counted from
    /// the first ever, that was being filled then: they stand there or later, or nowhere.
    fresh: HashSet<u128, FixedState>,
    fresh_from: usize,
    /// Hashes that were asked of the store for this batch and are not there.
    absent: HashSet<u128, FixedState>,
}

impl<V: Copy> Remembered<V> {
    /// Keeps at least `recent_min` entries exactly.
    pub fn new(recent_min: usize) -> Self {
        Self {
            generations: VecDeque::from([Generation::with_room(0)]),
            spare: None,
            entries: 0,
            left: 0,
            older: Places::default(),
            recent_min,
            fresh: HashSet::with_hasher(FixedState),
            fresh_from: 0,
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
        if self.fresh.contains(&hash) {
            return self.exact(hash, self.fresh_from.saturating_sub(self.left));
        }
        if self.older.might_hold(hash) { self.exact(hash, 0) } else { None }
    }

    /// The value, if a generation has it that is not before `from`.
    fn exact(&self, hash: u128, from: usize) -> Option<V> {
        let generations = self.generations.iter().skip(from).rev();
        generations.filter_map(|generation| generation.get(hash)).map(|held| held.value).next()
    }

    /// Looks for the hashes of a turn, many at a time, and calls `ask` for each that only the store can
    /// answer for.
    pub fn cold(&mut self, hashes: &[u128], mut ask: impl FnMut(u128)) {
        if self.fresh.is_empty() {
            self.fresh_from = self.left + self.generations.len().saturating_sub(1);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        self.older.look(hashes, |hash, traced| {
            if !traced {
                fresh.insert(hash);
            } else if self.exact(hash, 0).is_none() && !self.absent.contains(&hash) {
                ask(hash);
            }
        });
        self.fresh = fresh;
    }

    fn is_cold(&self, hash: u128) -> bool {
        self.older.might_hold(hash) && !self.absent.contains(&hash)
    }

    /// Records a change. `bucket` says where in the history its row will stand.
    pub fn put(&mut self, hash: u128, value: V, lsn: u64, bucket: u32) {
        if !self.insert(Held { hash, value, bucket }, lsn) {
            self.older.add(hash, bucket);
        }
    }

    /// Puts an entry; true if one of this hash and this bucket was there.
    fn insert(&mut self, held: Held<V>, lsn: u64) -> bool {
        let most = (self.recent_min / GENERATIONS_KEPT).max(self.entries / GENERATIONS_MEAN);
        if self.generations.back().is_none_or(|newest| newest.entries.len() > most) {
            self.generations.push_back(self.spare.take().unwrap_or_else(|| Generation::with_room(most + 1)));
        }
        let Some(newest) = self.generations.back_mut() else { return false };
        let before = newest.entries.len();
        let known = newest.put(held);
        newest.last_lsn = newest.last_lsn.max(lsn);
        self.entries += newest.entries.len() - before;
        known
    }

    /// Takes in what the store answered for a cold hash.
    pub fn warm(&mut self, hash: u128, found: Option<(V, u32)>) {
        match found {
            Some((value, bucket)) if self.exact(hash, 0).is_none() => {
                // What comes from the store has its fingerprint already.
                self.insert(Held { hash, value, bucket }, 0);
            }
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

    /// Ends a turn: forgets what was only asked, and lets go of what the store has
    /// (every change up to `stored_lsn`).
    pub fn settle(&mut self, stored_lsn: u64) {
        for asked in [&mut self.absent, &mut self.fresh] {
            // Clearing costs what was ever in it: after a turn of huge orders it begins small again.
            if asked.capacity() > ASKED_KEPT_MAX {
                *asked = HashSet::with_hasher(FixedState);
            } else if !asked.is_empty() {
                asked.clear();
            }
        }
        while let Some(eldest) = self.generations.front() {
            let (leaving, stored) = (eldest.entries.len(), eldest.last_lsn <= stored_lsn);
            let spared = self.entries - leaving >= self.recent_min && leaving > 0;
            if !(spared && (stored || planted(14))) {
                break;
            }
            (self.entries, self.left) = (self.entries - leaving, self.left + 1);
            if let Some(mut left) = self.generations.pop_front() {
                left.clear();
                self.spare = Some(left);
            }
        }
    }

    /// Entries held exactly; a hash that changed may count more than once.
    #[cfg(test)]
    fn recent_len(&self) -> usize {
        self.entries
    }

    /// Fingerprints, of recent entries too.
    pub fn older_len(&self) -> u64 {
        self.older.len()
    }

    /// Memory in bytes, estimated from capacities.
    pub fn bytes(&self) -> u64 {
        let generations = self.generations.iter().chain(&self.spare);
        generations.map(Generation::bytes).sum::<usize>() as u64 + self.older.bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert!((2..=3).contains(&memory.recent_len()), "the newest stay, and those put with them");
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

    #[test]
    fn what_is_put_again_in_another_bucket_is_found_in_both() {
        let mut memory = Remembered::new(0);
        for (lsn, bucket) in [(1, 3), (2, 3), (3, 5)] {
            memory.put(7, lsn, lsn, bucket);
        }
        memory.settle(3);
        assert_eq!(memory.recall(7), Memory::Cold);
        assert_eq!(memory.spans(7).as_slice(), [(5, 5), (3, 3)]);
        assert_eq!(memory.recent_len(), 0);
    }

    proptest! {
        /// Whatever is put and let go, a hash is known as it was put last, or cold once the store has that.
        #[test]
        fn nothing_is_forgotten_and_nothing_is_stale(
            recent_min in 0usize..20,
            steps in prop::collection::vec((0u64..30, 0u32..4, 0u64..12), 1..200),
        ) {
            let (mut memory, mut stored) = (Remembered::new(recent_min), 0);
            let mut model = std::collections::BTreeMap::new();
            for (lsn, (key, bucket, behind)) in (1u64..).zip(steps) {
                let hash = u128::from(key) << 70 | u128::from(key);
                // As a turn does: what it will look for is looked for before.
                let known = model.get(&hash).map(|(put, _)| *put);
                memory.cold(&[hash], |_| {});
                prop_assert!(memory.known(hash) == known || known.is_some_and(|put| put <= stored));
                memory.put(hash, lsn, lsn, bucket);
                prop_assert_eq!(memory.known(hash), Some(lsn));
                model.insert(hash, (lsn, bucket));
                stored = stored.max(lsn.saturating_sub(behind));
                memory.settle(stored);
                for (hash, (put, bucket)) in &model {
                    match memory.recall(*hash) {
                        Memory::Known(value) => prop_assert_eq!(value, *put),
                        Memory::Absent => prop_assert!(false, "forgotten"),
                        Memory::Cold => {
                            prop_assert!(*put <= stored, "left before the store had it");
                            let spans = memory.spans(*hash);
                            prop_assert!(spans.iter().any(|(first, last)| (*first..=*last).contains(bucket)));
                        }
                    }
                }
                let newest = model.values().filter(|(put, _)| *put > stored).count();
                prop_assert!(memory.recent_len() >= newest.min(model.len()));
            }
        }
    }
}
