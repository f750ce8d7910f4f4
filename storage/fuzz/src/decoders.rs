//! What must hold of everything that reads files, whatever stands in them.
//!
//! libFuzzer calls these functions (`main.rs`), and `cargo test` calls them with the committed corpora
//! (`storage/tests/it/corpus.rs`).

use crate::records::records;
use crate::segments::segments;
use crate::snapshot::snapshot;

/// A reader and what is tried on it.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    /// Its name, and that of its corpus.
    pub(crate) name: &'static str,
    check: fn(&[u8]),
}

/// Every reader of what stands on a disk.
pub(crate) const DECODERS: [Decoder; 3] = [
    Decoder { name: "records", check: records },
    Decoder { name: "segments", check: segments },
    Decoder { name: "snapshot", check: snapshot },
];

impl Decoder {
    /// Tries some bytes.
    ///
    /// # Panics
    /// If something does not hold: that is a bug.
    pub(crate) fn try_on(&self, input: &[u8]) {
        (self.check)(input);
    }
}
