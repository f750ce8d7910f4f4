//! Subscribers at work.

use onrush_proto::{Command, Slot};

use super::World;
use crate::clients::{HOLDING, Reader};
use crate::invariants::delivery;
use crate::report::Verdict;

/// Records that a reader takes at once, at most.
const POLL_MAX: u64 = 20;

impl World {
    /// Readers of one shard: two that keep their own position, one whose group holds the log.
    pub(super) fn readers_of(shard: usize) -> [Reader; 3] {
        [false, false, true].map(|holds| Reader::new(shard, holds))
    }

    /// One subscriber reads on, or stands elsewhere first.
    pub(super) fn read_some(&mut self) -> Verdict {
        let at = self.reading.index(self.readers.len());
        let reader = &mut self.readers[at];
        let cursor = reader.cursor;
        match self.reading.below(40) {
            0 => reader.start_behind(cursor),
            1 => reader.seek(cursor),
            // To see again what it has seen; a group goes forward alone.
            2 if !reader.holds => reader.seek(self.reading.below(cursor + 1)),
            3 if !reader.holds => reader.start_behind(self.reading.below(cursor + 1)),
            _ => {}
        }
        let max = self.reading.within(1, POLL_MAX) as usize;
        self.read(at, max)?;
        if self.readers[at].holds && self.reading.percent(30) { self.commit_position(at) } else { Ok(()) }
    }

    /// Lets a reader take what there is, and checks what it gets. True if it got something.
    pub(super) fn read(&mut self, at: usize, max: usize) -> Result<bool, crate::report::Violation> {
        let reader = &mut self.readers[at];
        let seat = &self.seats[reader.shard];
        let Some(live) = &seat.live else { return Ok(false) };
        let committed = self.mirror.books[reader.shard].end_lsn;
        match reader.poll(&live.tail, max) {
            Ok(seen) if seen.is_empty() => delivery::at_end(reader, committed).map(|()| false),
            Ok(seen) => {
                for record in &seen {
                    delivery::record(&self.mirror, reader, committed, record)?;
                    reader.cursor = record.lsn;
                }
                self.summary.delivered += seen.len() as u64;
                self.trace.number(reader.cursor);
                Ok(true)
            }
            Err(error) if error.to_string().contains("lost power") => self.crash().map(|()| false),
            // Its frame is not where it should be, and it is told so.
            Err(error) if seat.scar.is_some() && error.to_string().contains("corrupt log: ") => {
                self.tell(|| format!("a subscriber meets damage: {error}"));
                Ok(false)
            }
            Err(error) => {
                let first = live.log.first_lsn();
                delivery::gap(&self.mirror, reader, first, &error)?;
                self.summary.gaps += 1;
                reader.seek(first - 1);
                Ok(true)
            }
        }
    }

    fn commit_position(&mut self, at: usize) -> Verdict {
        let reader = &self.readers[at];
        let book = &self.mirror.books[reader.shard];
        let done = book.offsets.get(&(reader.group(), HOLDING as u8));
        let owned = (0..=255).map(Slot).find(|slot| self.mirror.owner(*slot) == reader.shard);
        let Some(slot) = owned.filter(|_| done.is_none_or(|done| *done < reader.cursor)) else {
            return Ok(());
        };
        let commit = Command::CommitOffset(Box::new(reader.commit(slot)));
        // Without a key: a late copy of it must not take the group back.
        self.send(onrush_proto::Request::unkeyed(commit))
    }
}
