//! One fixed hash function for every table: XXH3-64 for bytes, a multiply for numbers.
//!
//! Keys that strangers choose are hashed with a secret before they come here (see
//! [`KeyHasher`](onrush_proto::KeyHasher)) or are bounded by the catalogue.

use std::hash::{BuildHasher, Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64;

/// Builds [`FixedHasher`]s. No random state: two runs of one trace build equal tables.
#[derive(Clone, Copy, Default, Debug)]
pub struct FixedState;

/// A hasher without a seed.
#[derive(Default)]
pub struct FixedHasher(u64);

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl BuildHasher for FixedState {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher::default()
    }
}

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(23) ^ xxh3_64(bytes);
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(MULTIPLIER);
        self.0 = mixed ^ mixed >> 32;
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The hash of a key.
pub fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    FixedState.hash_one(key)
}
