//! Letting go of segments that nobody needs any more.

use std::sync::Arc;

use super::append::Log;

impl Log {
    /// Raises the retention floor: whole segments whose last Lsn is below `lsn` are put aside and used
    /// again. The caller knows what snapshots, store and consumers still need.
    ///
    /// Segments go oldest first, and never the one being written. A segment that a reader stands in
    /// stays, and so do those behind it, until a later call finds it free. A poisoned log keeps all.
    pub fn release_below(&mut self, lsn: u64) {
        while !self.poisoned {
            let Some(file) = self.release_oldest(lsn) else { return };
            if self.supply.retire(file).is_err() {
                // A younger segment must not go before an older one: that would be a gap.
                self.poisoned = true;
            }
        }
    }

    fn release_oldest(&self, lsn: u64) -> Option<String> {
        let mut segments = self.index.write();
        let (oldest, younger) = (segments.front()?, segments.get(1)?);
        // Readers clone under the lock that is held here, so a lone count stays one.
        let free = Arc::strong_count(oldest) == 1;
        if !free || younger.header.first_lsn > lsn {
            return None;
        }
        segments.pop_front().map(|segment| segment.file.name.clone())
    }
}
