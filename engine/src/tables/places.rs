//! Where in the history a hash that left memory stands: fingerprints with the bucket beside them.
//!
//! A filter would say that a hash may be somewhere in the store; here the answer names the bucket,
//! so a look-up reads one place and not every bucket of the shard's life. An entry is 16 bits of
//! fingerprint and 8 of bucket, 21 to a cache line, so a look-up costs one cache miss a stage and
//! errs once in 4,000 (the maplet of Conway, Farach-Colton, Johnson: *SplinterDB and Maplets*, 2023,
//! in its plainest form). A stage that is full stays as it is; the next is eight times larger, so 10^8
//! hashes need nine.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::hash::FixedState;

/// Entries of one cache line.
const LINE_ENTRIES: usize = 21;
/// Entries of a line in a full stage, on average: 37 bits an entry. A line in twenty runs over.
const LINE_ENTRIES_MEAN: u64 = 15;
const FIRST_STAGE_ENTRIES: u64 = 1 << 16;
const LAST_STAGE_ENTRIES: u64 = 1 << 24;
const STAGE_GROWTH: u64 = 8;
/// Hashes looked up together: their lines fill a small part of the nearest cache.
const LOOKS_AT_ONCE: usize = 64;

/// A cache line of entries.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    prints: [u16; LINE_ENTRIES],
    places: [u8; LINE_ENTRIES],
    len: u8,
}

/// Set in a line's length once an entry of it stands outside.
const OVERFLOWED: u8 = 0x80;

const EMPTY_LINE: Line = Line { prints: [0; LINE_ENTRIES], places: [0; LINE_ENTRIES], len: 0 };

impl Line {
    fn len(&self) -> usize {
        usize::from(self.len & !OVERFLOWED)
    }

    fn is_overflowed(&self) -> bool {
        self.len & OVERFLOWED != 0
    }

    fn places(&self, print: u16) -> impl Iterator<Item = u8> {
        let pairs = self.prints.iter().zip(&self.places).take(self.len());
        pairs.filter(move |(found, _)| **found == print).map(|(_, place)| *place)
    }

    fn holds(&self, print: u16) -> bool {
        // Compares the whole line: what stands behind its entries is masked out afterwards.
        let hits = self
            .prints
            .iter()
            .enumerate()
            .fold(0u32, |hits, (at, found)| hits | u32::from(*found == print) << at);
        hits & ((1 << self.len()) - 1) != 0
    }
}

fn print_of(hash: u128) -> u16 {
    (hash >> 112) as u16
}

struct Stage {
    lines: Vec<Line>,
    /// Entries of full lines and of buckets before the stage's first, exactly.
    over: HashMap<u128, u32, FixedState>,
    capacity: u64,
    entries: u64,
    first_bucket: u32,
    /// A place is this many bits of bucket: the stage spans `256 << shift` buckets.
    shift: u32,
}

impl Stage {
    fn new(capacity: u64, first_bucket: u32) -> Self {
        let lines = vec![EMPTY_LINE; capacity.div_ceil(LINE_ENTRIES_MEAN) as usize];
        Self { lines, over: HashMap::with_hasher(FixedState), capacity, entries: 0, first_bucket, shift: 0 }
    }

    fn line_index(&self, hash: u128) -> usize {
        // The product of a 64-bit fraction and the length is a uniform index (Lemire).
        ((hash as u64 as u128 * self.lines.len() as u128) >> 64) as usize
    }

    fn add(&mut self, hash: u128, bucket: u32) {
        self.entries += 1;
        let offset = bucket.checked_sub(self.first_bucket);
        while offset.is_some_and(|offset| offset >> self.shift > u32::from(u8::MAX)) {
            self.widen();
        }
        let index = self.line_index(hash);
        let line = &mut self.lines[index];
        let at = line.len();
        match offset.filter(|_| at < LINE_ENTRIES) {
            Some(offset) => {
                (line.prints[at], line.places[at]) = (print_of(hash), (offset >> self.shift) as u8);
                line.len += 1;
            }
            None => {
                line.len |= OVERFLOWED;
                self.over.insert(hash, bucket);
            }
        }
    }

    /// Two buckets share a place from now on: a quiet shop has few entries in each.
    fn widen(&mut self) {
        self.shift += 1;
        for place in self.lines.iter_mut().flat_map(|line| &mut line.places) {
            *place >>= 1;
        }
    }

    /// Reads the end of the hash's line, so that the rest is near when it is needed.
    fn touch(&self, hash: u128) -> u8 {
        self.lines[self.line_index(hash)].len
    }

    fn might_hold(&self, hash: u128) -> bool {
        let line = &self.lines[self.line_index(hash)];
        line.holds(print_of(hash)) || (line.is_overflowed() && self.over.contains_key(&hash))
    }

    /// Adds the spans of buckets where the hash may stand, newest first.
    fn spans(&self, hash: u128, spans: &mut Spans) {
        let from = spans.len();
        let line = &self.lines[self.line_index(hash)];
        spans.extend(line.places(print_of(hash)).map(|place| {
            let first = self.first_bucket + (u32::from(place) << self.shift);
            (first, first + (1 << self.shift) - 1)
        }));
        spans.extend(self.over.get(&hash).map(|bucket| (*bucket, *bucket)));
        spans[from..].sort_unstable_by_key(|span| std::cmp::Reverse(*span));
        spans.dedup();
    }
}

/// First and last bucket of stretches in which a hash may stand.
pub type Spans = SmallVec<[(u32, u32); 4]>;

/// A growing set of 128-bit hashes, each with the history bucket it stands in; with false positives
/// and no false negatives.
#[derive(Default)]
pub struct Places {
    stages: Vec<Stage>,
}

impl Places {
    /// Adds a hash whose row stands in `bucket`.
    pub fn add(&mut self, hash: u128, bucket: u32) {
        let full = self.stages.last().is_none_or(|stage| stage.entries >= stage.capacity);
        if full {
            let larger = |stage: &Stage| (stage.capacity * STAGE_GROWTH).min(LAST_STAGE_ENTRIES);
            let capacity = self.stages.last().map_or(FIRST_STAGE_ENTRIES, larger);
            self.stages.push(Stage::new(capacity, bucket));
        }
        if let Some(stage) = self.stages.last_mut() {
            stage.add(hash, bucket);
        }
    }

    /// Tells of each hash whether it may have been added. Many at once cost far less than one by one: the
    /// lines lie anywhere, and the processor waits for many of them at the same time.
    pub fn look(&self, hashes: &[u128], mut tell: impl FnMut(u128, bool)) {
        for hashes in hashes.chunks(LOOKS_AT_ONCE) {
            let mut found = [false; LOOKS_AT_ONCE];
            for stage in &self.stages {
                std::hint::black_box(hashes.iter().fold(0, |touched, hash| touched ^ stage.touch(*hash)));
                for (found, hash) in found.iter_mut().zip(hashes) {
                    *found |= stage.might_hold(*hash);
                }
            }
            hashes.iter().zip(found).for_each(|(hash, found)| tell(*hash, found));
        }
    }

    /// True if the hash may have been added.
    pub fn might_hold(&self, hash: u128) -> bool {
        self.stages.iter().any(|stage| stage.might_hold(hash))
    }

    /// The spans of buckets where the row may stand, newest first.
    pub fn spans(&self, hash: u128) -> Spans {
        let mut spans = Spans::new();
        for stage in self.stages.iter().rev() {
            stage.spans(hash, &mut spans);
        }
        spans
    }

    /// Hashes added.
    pub fn len(&self) -> u64 {
        self.stages.iter().map(|stage| stage.entries).sum()
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory in bytes.
    pub fn bytes(&self) -> u64 {
        let over = |stage: &Stage| stage.over.capacity() * (size_of::<(u128, u32)>() + 1);
        self.stages.iter().map(|stage| (size_of_val(&stage.lines[..]) + over(stage)) as u64).sum()
    }
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "the figures are read with --nocapture")]
mod tests {
    use super::*;

    fn hash(seed: u64) -> u128 {
        let mix = |salt: u64| xxhash_rust::xxh3::xxh3_64(&(seed ^ salt << 56).to_le_bytes());
        u128::from(mix(1)) << 64 | u128::from(mix(2))
    }

    #[test]
    fn never_forgets_and_rarely_lies() {
        let mut places = Places::default();
        let entries = FIRST_STAGE_ENTRIES * (1 + STAGE_GROWTH);
        for key in 0..entries {
            places.add(hash(key), (key / 1_000) as u32);
        }
        for key in 0..entries {
            assert!(places.might_hold(hash(key)), "a hash was forgotten");
            let bucket = (key / 1_000) as u32;
            let spans = places.spans(hash(key));
            assert!(spans.iter().any(|(first, last)| (*first..=*last).contains(&bucket)), "{spans:?}");
            assert!(spans.iter().map(|(first, last)| last - first).sum::<u32>() <= 8, "narrow: {spans:?}");
        }
        let lies = (entries..entries + 100_000).filter(|key| places.might_hold(hash(*key))).count();
        let asked: Vec<u128> = (entries - 1_000..entries + 100_000).map(hash).collect();
        let one_by_one: Vec<u128> = asked.iter().copied().filter(|hash| places.might_hold(*hash)).collect();
        let mut together = Vec::new();
        places.look(&asked, |hash, found| together.extend(found.then_some(hash)));
        assert_eq!(together, one_by_one);
        assert!(lies < 100, "expected under 0.1 % false positives over two full stages, found {lies}");
        let bits = places.bytes() * 8 / entries;
        println!("a full stage: {bits} bits per remembered key");
        assert!(bits <= 40, "expected at most 40 bits an entry, found {bits}");
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn names_every_bucket_newest_first() {
        let mut places = Places::default();
        for bucket in [7, 9, 3, 7 + 256 * 8] {
            places.add(hash(1), bucket);
        }
        let spans = places.spans(hash(1));
        assert_eq!(spans.as_slice(), [(2055, 2070), (7, 22), (3, 3)], "3 is before the stage's first bucket");
        assert_eq!(places.spans(hash(2)).as_slice(), []);
    }

    #[test]
    fn a_quiet_shop_widens_its_places() {
        let mut places = Places::default();
        let day = 96;
        for bucket in 0..3_000 * day {
            places.add(hash(u64::from(bucket % 50_000)), bucket);
        }
        let spans = places.spans(hash(u64::from((3_000 * day - 1) % 50_000)));
        assert!(spans.first().is_some_and(|(first, last)| (*first..=*last).contains(&(3_000 * day - 1))));
    }
}
