//! Which old keys might be in the store: blocked Bloom filters that grow by stages.
//!
//! About 12 bits a key (Putze, Sanders, Singler: *Cache-, Hash- and Space-Efficient Bloom
//! Filters*, 2007: one 512-bit block a key, so one cache miss a stage). A stage that is full stays
//! as it is; the next is four times larger, so 10^8 keys need five.

const BLOCK_WORDS: usize = 8;
const BLOCK_BITS: u64 = 512;
/// Bits set per key. Six nines of a hash fit in 54 bits.
const PROBES: u32 = 6;
/// Bits of memory per key of a full stage.
const BITS_PER_KEY: u64 = 12;
const FIRST_STAGE_KEYS: u64 = 1 << 16;

struct Stage {
    blocks: Vec<[u64; BLOCK_WORDS]>,
    capacity: u64,
    keys: u64,
    /// The span of history buckets that its keys stand in.
    buckets: (u32, u32),
}

impl Stage {
    fn new(capacity: u64) -> Self {
        let blocks = (capacity * BITS_PER_KEY).div_ceil(BLOCK_BITS) as usize;
        Self { blocks: vec![[0; BLOCK_WORDS]; blocks], capacity, keys: 0, buckets: (u32::MAX, 0) }
    }

    fn block_index(&self, hash: u128) -> usize {
        // The product of a 64-bit fraction and the length is a uniform index (Lemire).
        ((hash as u64 as u128 * self.blocks.len() as u128) >> 64) as usize
    }

    fn add(&mut self, hash: u128, bucket: u32) {
        let index = self.block_index(hash);
        let block = &mut self.blocks[index];
        for (word, mask) in probes(hash) {
            block[word] |= mask;
        }
        self.keys += 1;
        self.buckets = (self.buckets.0.min(bucket), self.buckets.1.max(bucket));
    }

    fn might_hold(&self, hash: u128) -> bool {
        let block = &self.blocks[self.block_index(hash)];
        probes(hash).all(|(word, mask)| block[word] & mask != 0)
    }
}

fn probes(hash: u128) -> impl Iterator<Item = (usize, u64)> {
    let high = (hash >> 64) as u64;
    (0..PROBES).map(move |probe| {
        let bit = (high >> (9 * probe)) % BLOCK_BITS;
        ((bit / 64) as usize, 1u64 << (bit % 64))
    })
}

/// A growing set of 128-bit hashes with false positives and no false negatives.
#[derive(Default)]
pub struct Filters {
    stages: Vec<Stage>,
}

impl Filters {
    /// Adds a hash whose row stands in `bucket`.
    pub fn add(&mut self, hash: u128, bucket: u32) {
        let full = self.stages.last().is_none_or(|stage| stage.keys >= stage.capacity);
        if full {
            let capacity = self.stages.last().map_or(FIRST_STAGE_KEYS, |stage| stage.capacity * 4);
            self.stages.push(Stage::new(capacity));
        }
        if let Some(stage) = self.stages.last_mut() {
            stage.add(hash, bucket);
        }
    }

    /// True if the hash may have been added.
    pub fn might_hold(&self, hash: u128) -> bool {
        self.stages.iter().any(|stage| stage.might_hold(hash))
    }

    /// The spans of buckets where the row may stand, newest stage first.
    pub fn spans(&self, hash: u128) -> impl Iterator<Item = (u32, u32)> {
        self.stages.iter().rev().filter(move |stage| stage.might_hold(hash)).map(|stage| stage.buckets)
    }

    /// Hashes added.
    pub fn len(&self) -> u64 {
        self.stages.iter().map(|stage| stage.keys).sum()
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory in bytes.
    pub fn bytes(&self) -> u64 {
        self.stages.iter().map(|stage| (stage.blocks.len() * BLOCK_WORDS * 8) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(seed: u64) -> u128 {
        let mix = |salt: u64| xxhash_rust::xxh3::xxh3_64(&(seed ^ salt << 56).to_le_bytes());
        u128::from(mix(1)) << 64 | u128::from(mix(2))
    }

    #[test]
    fn never_forgets_and_rarely_lies() {
        let mut filters = Filters::default();
        let keys = FIRST_STAGE_KEYS * 5;
        for key in 0..keys {
            filters.add(hash(key), (key / 1000) as u32);
        }
        assert!((0..keys).all(|key| filters.might_hold(hash(key))), "a key was forgotten");
        let lies = (keys..keys + 100_000).filter(|key| filters.might_hold(hash(*key))).count();
        assert!(lies < 3_000, "expected under 3 % false positives over two full stages, found {lies}");
        assert!(filters.bytes() * 8 <= keys * BITS_PER_KEY + 1024);
    }

    #[test]
    fn names_the_span_of_buckets() {
        let mut filters = Filters::default();
        filters.add(hash(1), 7);
        filters.add(hash(2), 9);
        assert_eq!(filters.spans(hash(1)).collect::<Vec<_>>(), [(7, 9)]);
    }
}
