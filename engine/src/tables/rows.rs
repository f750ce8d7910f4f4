//! Rows by key, with a deadline each and a way out of memory once the store has them.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{HashSet, HashTable, hash_table};
use onrush_proto::{DocKey, OrderId};

use super::chunks::Chunks;
use super::hash::{FixedState, hash_of};
use super::wheel::Wheel;

/// A key of rows, which knows its place in an index.
pub trait RowKey: Copy + Eq + Hash {
    /// Its hash in the index: the low bits say where to look first, the top seven tell neighbours
    /// apart.
    fn index_hash(&self) -> u32;
}

impl RowKey for OrderId {
    fn index_hash(&self) -> u32 {
        order_hash(self.0)
    }
}

/// Orders that came one after another stand side by side, 64 in a stretch, so that to add
/// one, or to find those of one moment, touches few cache lines. Stretches are scattered: full ones
/// do not pile up.
fn order_hash(id: u128) -> u32 {
    const TOP_SEVEN: u32 = 0x7F << 25;
    let sequence = id as u64;
    let place = ((sequence >> 6).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) << 6 | sequence & 63;
    (hash_of(&id) >> 32) as u32 & TOP_SEVEN | place as u32 & !TOP_SEVEN
}

/// A hash as the tables want it, with its bits at both ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Builds hashers under which neighbours among orders stand side by side.
#[derive(Clone, Copy, Default, Debug)]
pub struct ByRecord;

/// Hashes an [`OrderId`] and nothing else.
#[derive(Default)]
pub struct OrderHasher(u64);

impl BuildHasher for ByRecord {
    type Hasher = OrderHasher;

    fn build_hasher(&self) -> OrderHasher {
        OrderHasher::default()
    }
}

impl Hasher for OrderHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_of(bytes);
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = spread(order_hash(id));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl RowKey for DocKey {
    fn index_hash(&self) -> u32 {
        (hash_of(self) >> 32) as u32
    }
}

/// A row in memory.
pub struct Entry<K, R> {
    /// Its key.
    pub key: K,
    /// The row.
    pub row: R,
    /// The record that last changed it; 0 if it was loaded from the store.
    pub lsn: u64,
}

/// Where a row stands, with the hash of its key: an index that grows looks at no row.
#[derive(Clone, Copy)]
struct Indexed {
    position: u32,
    hash: u32,
}

/// Rows of one kind. Open ones stay; closed ones leave after the store has them.
pub struct RowTable<K, R> {
    slab: Chunks<Option<Entry<K, R>>>,
    free: Vec<u32>,
    index: HashTable<Indexed>,
    wheel: Wheel,
    /// Closed rows in the order of their last change.
    leaving: VecDeque<(u32, u64)>,
    recent_min: usize,
    /// Keys that were asked of the store for this batch and are not there.
    absent: HashSet<K, FixedState>,
}

impl<K: RowKey, R> RowTable<K, R> {
    /// Keeps at least `recent_min` closed rows.
    pub fn new(recent_min: usize) -> Self {
        Self {
            slab: Chunks::default(),
            free: Vec::new(),
            index: HashTable::new(),
            wheel: Wheel::default(),
            leaving: VecDeque::new(),
            recent_min,
            absent: HashSet::with_hasher(FixedState),
        }
    }

    /// The row of a key, if it is in memory.
    pub fn row(&self, key: &K) -> Option<&R> {
        self.position(key).and_then(|position| self.entry(position)).map(|entry| &entry.row)
    }

    /// True if only the store can say whether there is such a row.
    pub fn is_cold(&self, key: &K) -> bool {
        self.position(key).is_none() && !self.absent.contains(key)
    }

    /// Inserts or replaces a row. With a deadline it is open: it stays, and its timer is armed.
    pub fn put(&mut self, key: K, row: R, lsn: u64, deadline_us: Option<u64>) {
        let position = self.write(Entry { key, row, lsn });
        match deadline_us {
            Some(deadline_us) => self.wheel.arm(position, deadline_us),
            None => {
                self.wheel.disarm(position);
                self.leaving.push_back((position, lsn));
            }
        }
    }

    /// Takes in what the store answered for a cold key.
    pub fn warm(&mut self, key: K, found: Option<(R, Option<u64>)>) {
        match found {
            Some((row, deadline_us)) if self.position(&key).is_none() => self.put(key, row, 0, deadline_us),
            Some(_) => {}
            None => drop(self.absent.insert(key)),
        }
    }

    /// The key of one row whose deadline is at or before `now_us`; its timer is disarmed.
    pub fn pop_due(&mut self, now_us: u64) -> Option<K> {
        let position = self.wheel.pop_due(now_us)?;
        self.entry(position).map(|entry| entry.key)
    }

    /// Lets the time of timers pass: none is taken.
    pub fn pass_time(&mut self, now_us: u64) {
        self.wheel.pass(now_us);
    }

    /// Arms the timer of a row again.
    pub fn rearm(&mut self, key: &K, deadline_us: u64) {
        if let Some(position) = self.position(key) {
            self.wheel.arm(position, deadline_us);
        }
    }

    /// Lets go of the timer of a row that needs it no more: it may leave once the store has it.
    pub fn close(&mut self, key: &K) {
        let Some(position) = self.position(key) else { return };
        self.wheel.disarm(position);
        if let Some(lsn) = self.entry(position).map(|entry| entry.lsn) {
            self.leaving.push_back((position, lsn));
        }
    }

    /// When the first deadline may come.
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.wheel.next_deadline_us()
    }

    /// Ends a batch: lets go of closed rows that the store has (every change up to `stored_lsn`).
    pub fn settle(&mut self, stored_lsn: u64) {
        if !self.absent.is_empty() {
            self.absent.clear();
        }
        while self.leaving.len() > self.recent_min {
            let Some(&(position, lsn)) = self.leaving.front() else { break };
            if lsn > stored_lsn {
                break;
            }
            self.leaving.pop_front();
            let last = self.entry(position).filter(|entry| entry.lsn == lsn).map(|entry| entry.key);
            // A place may have been given to an open row since.
            if let Some(key) = last.filter(|_| !self.wheel.is_armed(position)) {
                self.remove(&key, position);
            }
        }
    }

    /// Rows in memory.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True if no row is in memory.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Rows with an armed timer.
    pub fn open_len(&self) -> usize {
        self.wheel.len()
    }

    /// All rows in memory, in slab order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<K, R>> {
        self.slab.iter().flatten()
    }

    /// Memory in bytes from capacities, without what rows hold on the heap.
    pub fn bytes(&self) -> u64 {
        let lines = self.leaving.capacity() * size_of::<(u32, u64)>();
        (self.slab.bytes() + self.index.capacity() * (size_of::<Indexed>() + 1) + lines) as u64
            + self.wheel.bytes()
    }

    fn position(&self, key: &K) -> Option<u32> {
        let (slab, hash) = (&self.slab, key.index_hash());
        let same = |at: &Indexed| at.hash == hash && holds(slab, at.position, key);
        self.index.find(spread(hash), same).map(|at| at.position)
    }

    fn entry(&self, position: u32) -> Option<&Entry<K, R>> {
        self.slab.at(position as usize).as_ref()
    }

    /// Writes an entry where its key stands, or gives it a place. Returns the position.
    fn write(&mut self, entry: Entry<K, R>) -> u32 {
        let Self { slab, free, index, .. } = self;
        let hash = entry.key.index_hash();
        let same = |at: &Indexed| at.hash == hash && holds(slab, at.position, &entry.key);
        let position = match index.entry(spread(hash), same, |at| spread(at.hash)) {
            hash_table::Entry::Occupied(found) => found.get().position,
            hash_table::Entry::Vacant(place) => {
                let position = free.pop();
                place.insert(Indexed { position: position.unwrap_or(slab.len() as u32), hash });
                // A row is large: it is written once, where it stays.
                let Some(position) = position else { return slab.push(Some(entry)) as u32 };
                position
            }
        };
        *slab.at_mut(position as usize) = Some(entry);
        position
    }

    fn remove(&mut self, key: &K, position: u32) {
        if let Ok(found) = self.index.find_entry(spread(key.index_hash()), |at| at.position == position) {
            found.remove();
        }
        *self.slab.at_mut(position as usize) = None;
        self.free.push(position);
    }
}

fn holds<K: Eq, R>(slab: &Chunks<Option<Entry<K, R>>>, position: u32, key: &K) -> bool {
    slab.at(position as usize).as_ref().is_some_and(|entry| entry.key == *key)
}
