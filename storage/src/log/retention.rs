//! Letting go of segments that nobody needs any more.

use std::sync::Arc;

use super::append::Log;

impl Log {
    /// Raises the retention floor: whole segments whose last Lsn is below `lsn` are put aside and used
    /// again. The caller knows what snapshots, store and consumers still need.
    ///
    /// Segments go oldest first, and never the one being written. A segment that a reader stands in
    /// stays, and so do those behind it, until a later call finds it free: then the answer is false. A poisoned
    /// log keeps all.
    pub fn release_below(&mut self, lsn: u64) -> bool {
        self.release(lsn, u64::MAX).1
    }

    /// The same for the log of a replica: every frame stays whose index is above `index`, as another one lacks them, and so does
    /// the record in front of `lsn`. Behind it may be frames without records, which whoever goes on behind a snapshot that ends
    /// with that record asks for by their indices. True if anything went.
    pub fn release_below_keeping(&mut self, lsn: u64, index: u64) -> bool {
        self.release(lsn.saturating_sub(1), index).0
    }

    /// Whether anything went, and whether all that may go did.
    fn release(&mut self, lsn: u64, index: u64) -> (bool, bool) {
        let mut any = false;
        while !self.poisoned {
            let file = match self.release_oldest(lsn, index) {
                Oldest::Free(file) => file,
                Oldest::Held => return (any, false),
                Oldest::Needed => return (any, true),
            };
            any = true;
            if self.supply.retire(file).is_err() {
                // A younger segment must not go before an older one: that would be a gap.
                self.poisoned = true;
            }
        }
        (any, true)
    }

    fn release_oldest(&self, lsn: u64, index: u64) -> Oldest {
        let mut segments = self.index.write();
        let (Some(oldest), Some(younger)) = (segments.front(), segments.get(1)) else {
            return Oldest::Needed;
        };
        // A seal has the index of the frame in front of it, which is in the oldest segment then.
        let holds_later = younger.first_index().is_none_or(|first| first > index);
        if younger.header.first_lsn > lsn || holds_later {
            return Oldest::Needed;
        }
        // Readers clone under the lock that is held here, so a lone count stays one.
        if Arc::strong_count(oldest) > 1 {
            return Oldest::Held;
        }
        segments.pop_front().map_or(Oldest::Needed, |segment| Oldest::Free(segment.file.name.clone()))
    }
}

/// What becomes of the oldest segment.
enum Oldest {
    /// It holds something that is still needed, or is the only one.
    Needed,
    /// A reader stands in it.
    Held,
    /// It was let go of: its file.
    Free(String),
}
