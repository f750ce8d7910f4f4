//! Log matching: two logs with the same entry are the same in front of it (Ongaro, 3.2). By induction it is enough
//! that an index and a term always name the same entry, behind an entry of the same term.

use std::collections::BTreeMap;

use onrush_engine::replication::{Entry, Position};
use xxhash_rust::xxh3::xxh3_64;

use crate::report::{Verdict, Violation};

/// Bytes of a frame in front of its records.
const HEADER_BYTES: usize = 64;

/// Everything that was ever on a disk: by place, the hash of the entry and the term in front of it.
#[derive(Default)]
pub(crate) struct Matching {
    entries: BTreeMap<Position, (u64, u64)>,
}

impl Matching {
    /// An entry was written behind one of term `before`.
    pub(crate) fn written(&mut self, entry: &Entry, before: u64) -> Verdict {
        let info = entry.info();
        let bytes = entry.frame().bytes();
        let counts = u64::from(info.record_count) << 16 | u64::from(info.flags);
        let said = [info.first_lsn, counts, info.term, info.time_us, info.index].map(u64::to_le_bytes);
        // Epoch and chain in the header are those of one disk; the rest is the same everywhere.
        let hash =
            xxh3_64(&bytes[HEADER_BYTES.min(bytes.len())..]) ^ xxh3_64(said.as_flattened()).rotate_left(32);
        let written = (hash, before);
        let first = *self.entries.entry(entry.position()).or_insert(written);
        if first == written {
            return Ok(());
        }
        let expected = format!("one entry at {:?}, behind term {}", entry.position(), first.1);
        Err(Violation::new("matching", expected, format!("another one, behind term {before}")))
    }
}
