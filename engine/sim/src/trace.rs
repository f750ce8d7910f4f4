//! A running hash over everything that happens: equal hashes, equal runs.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hash of events, frames and replies so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Trace(pub(crate) u64);

impl Trace {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    pub(crate) fn text(&mut self, what: &impl std::fmt::Debug) {
        self.bytes(format!("{what:?}").as_bytes());
    }
}
