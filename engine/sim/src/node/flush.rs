//! From log to store, as the host's flusher does it, and the ways in which it can be cut short.

use onrush_engine::flush::{Flush, Stored};
use onrush_storage::store::{Keyspace, SortedRun, Store};

use super::seat::Seat;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Where a crash cuts a flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlushCrash {
    /// Nowhere: both runs are in.
    No,
    /// Neither run is in.
    Before,
    /// The history run is in alone.
    HistoryOnly,
    /// The current run is in alone.
    CurrentOnly,
}

fn failed(error: impl std::fmt::Display) -> Violation {
    Violation::new("replay", "a log and a store that work", error.to_string())
}

impl Seat {
    /// Absorbs committed frames up to the ceiling and hands the runs to the store.
    pub(crate) fn flush(&mut self, plan: &Plan, checkpoint: bool, crash: FlushCrash) -> Verdict {
        let Some(live) = &mut self.live else { return Ok(()) };
        let ceiling = match plan.has(Planted::AbsorbBeyondCeiling) {
            true => u64::MAX,
            false => live.shard.store_ceiling(),
        };
        let mut reader = live.log.reader();
        reader.seek(live.absorbed + 1).map_err(failed)?;
        while let Some(frame) = reader.next_frame().map_err(failed)? {
            let last = frame.info().next_lsn() - 1;
            // A frame that ends behind the ceiling stays where it is, and all behind it.
            if last > ceiling {
                break;
            }
            if frame.info().record_count > 0 {
                live.absorber.absorb(&frame).map_err(failed)?;
                live.absorbed = last;
            }
        }
        let end = live.absorber.end_lsn();
        let applied = self.store.applied(Keyspace::History).max(self.store.applied(Keyspace::Current));
        if end == 0 || end <= applied {
            return Ok(());
        }
        // Mostly as the host's flusher does while it runs, now and then as it does when it closes.
        let flush = match end % 4 {
            0 => Some(live.absorber.flush(checkpoint)),
            _ => live.absorber.rotate(checkpoint),
        };
        let Some(flush) = flush else { return Ok(()) };
        self.ingest(flush, crash)?;
        if crash == FlushCrash::No {
            self.tell_stored();
        }
        Ok(())
    }

    fn ingest(&mut self, flush: Flush, crash: FlushCrash) -> Verdict {
        let Flush { history, current, history_applied, current_applied } = flush;
        let has_history = history_applied > self.store.applied(Keyspace::History);
        let mut put = |keyspace, run: &SortedRun, applied: u64| {
            if applied > self.store.applied(keyspace) {
                self.store.ingest(keyspace, run, applied)
            } else {
                Ok(())
            }
        };
        if crash == FlushCrash::Before {
            return Ok(());
        }
        put(Keyspace::Current, &current, current_applied).map_err(failed)?;
        if crash == FlushCrash::CurrentOnly {
            return Ok(());
        }
        put(Keyspace::History, &history, history_applied).map_err(failed)?;
        if crash == FlushCrash::HistoryOnly && has_history {
            self.store.lose_last_runs(Keyspace::Current, 1);
        }
        Ok(())
    }

    fn tell_stored(&mut self) {
        let stored = self.store.applied(Keyspace::History).min(self.store.applied(Keyspace::Current));
        if let Some(live) = &mut self.live {
            live.shard.set_stored(stored);
        }
    }

    /// Lets the log go below what a recovery would replay.
    pub(crate) fn release(&mut self, plan: &Plan) -> Verdict {
        let Some(live) = &mut self.live else { return Ok(()) };
        let checkpoint = Stored::new(self.store.reader()).checkpoint().map_err(failed)?.lsn;
        let stored = self.store.applied(Keyspace::History).min(self.store.applied(Keyspace::Current));
        let checkpoint = if plan.has(Planted::ReleaseBeyondCheckpoint) { stored } else { checkpoint };
        live.log.release_below(checkpoint.min(stored) + 1);
        Ok(())
    }
}
