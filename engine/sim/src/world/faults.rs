//! What goes wrong, and when.

use onrush_storage::disk::FaultPlan;
use onrush_storage::log::{AppendError, FrameView};
use onrush_storage::store::{Keyspace, Store};

use super::World;
use super::events::stopped_reply;
use crate::node::{FlushCrash, Stage};
use crate::report::Verdict;

/// Bytes in front of a segment's first frame.
const FRAMES_START: usize = 4096;
const SECTOR: usize = 4096;

/// Where a frame stands in its file: offset, length, and whether it is a seal.
type Place = (usize, usize, bool);

impl World {
    /// Perhaps something fails.
    pub(super) fn maybe_fault(&mut self) -> Verdict {
        let stopped =
            |seat: &crate::node::Seat| seat.live.as_ref().is_none_or(|live| live.stage == Stage::Stopped);
        // A stopped shard is restarted before long, and with it the process.
        if self.seats.iter().any(stopped) && self.faults.percent(5) {
            return self.crash();
        }
        if self.faults.below(10_000) >= self.plan.faults_per_10k {
            return Ok(());
        }
        let index = self.faults.index(self.seats.len());
        let kind = self.faults.weighted(&[30, 30, 20, 12, 8, 12, 8, 2, 3]);
        self.tell(|| format!("fault {kind} at shard {index}"));
        self.trace.number(kind as u64);
        match kind {
            0 => self.crash(),
            1 => {
                let writes = self.faults.within(1, 3);
                self.seats[index].disk.crash_after_writes(writes);
                Ok(())
            }
            2 => {
                let steps = self.faults.within(1, 6);
                self.seats[index].disk.crash_after_steps(steps);
                Ok(())
            }
            3 => {
                self.seats[index].disk.fail_next_write();
                Ok(())
            }
            4 => {
                self.seats[index].disk.faults(FaultPlan { space_bytes: Some(0), ..FaultPlan::default() });
                Ok(())
            }
            5 => self.crash_in_flush(index),
            6 => self.crash_and_lose_store(index),
            7 => self.crash_and_damage_middle(index),
            _ => self.crash_and_damage_tail(index),
        }
    }

    /// Power is lost more often while a shard has something to tell another: what is durable here
    /// and unheard of there is where two shards can come apart.
    pub(super) fn perhaps_cut_off(&mut self, index: usize) -> Verdict {
        let live = self.seats[index].live.as_ref();
        let telling = live.is_some_and(|live| !live.effects.outbound.is_empty());
        let exposed = telling && self.plan.faults_per_10k > 0 && !self.healed;
        if exposed && self.faults.below(1_000) < 6 { self.crash() } else { Ok(()) }
    }

    /// A durable write failed: power is gone, or the shard stops.
    pub(super) fn append_failed(&mut self, index: usize, error: &AppendError) -> Verdict {
        self.tell(|| format!("shard {index} stops: {error}"));
        if error.to_string().contains("lost power") {
            return self.crash();
        }
        if let AppendError::TooLarge { bytes, limit } = error {
            let expected = format!("a frame of at most {limit} bytes from one turn");
            return Err(crate::report::Violation::new("liveness", expected, bytes.to_string()));
        }
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        live.stage = Stage::Stopped;
        let mut waiting: Vec<_> =
            std::mem::take(&mut live.effects.replies).into_iter().map(|(to, _)| to).collect();
        live.effects.outbound.clear();
        waiting.extend(std::mem::take(&mut live.inbox).into_iter().filter_map(super::crash::reply_to));
        waiting.into_iter().try_for_each(|to| self.reply(to, &stopped_reply()))
    }

    fn crash_in_flush(&mut self, index: usize) -> Verdict {
        let crash = self.faults.pick(&[FlushCrash::Before, FlushCrash::HistoryOnly, FlushCrash::CurrentOnly]);
        let checkpoint = self.faults.percent(50);
        self.seats[index].flush(&self.plan, checkpoint, crash)?;
        self.crash()
    }

    /// The store is derived: without it the log alone is enough, while it reaches back.
    fn crash_and_lose_store(&mut self, index: usize) -> Verdict {
        let seat = &mut self.seats[index];
        if seat.live.as_ref().is_some_and(|live| live.log.first_lsn() == 1) {
            seat.store = onrush_storage::store::MemoryStore::new();
        }
        self.crash()
    }

    /// Where the frames of the last segment stand.
    fn frames_of(&self, index: usize) -> Option<(String, Vec<Place>)> {
        let seat = &self.seats[index];
        let names = onrush_storage::disk::Disk::list(&seat.disk).ok()?;
        let book = &self.mirror.books[index];
        for name in names.into_iter().rev().filter(|name| name.ends_with(".segment")) {
            let bytes = seat.disk.contents(&name).ok()?;
            let mut frames: Vec<Place> = Vec::new();
            let (mut offset, mut next) = (FRAMES_START, None);
            while let Some(rest) = bytes.get(offset..) {
                let Ok(view) = FrameView::parse(rest) else { break };
                if next.is_some_and(|next| next != view.info().first_lsn) {
                    break;
                }
                next = Some(view.info().next_lsn());
                frames.push((offset, view.bytes().len(), view.info().is_seal()));
                offset += view.bytes().len().next_multiple_of(SECTOR);
            }
            // The last segment is the one whose frames reach the end, or a frame in flight behind it.
            if next.is_some_and(|next| next > book.end_lsn) {
                return Some((name, frames));
            }
        }
        None
    }

    /// Damage in front of acknowledged frames: recovery must refuse.
    fn crash_and_damage_middle(&mut self, index: usize) -> Verdict {
        self.power_loss();
        let Some((name, frames)) = self.frames_of(index) else { return self.restart(false, None) };
        if frames.len() < 3 {
            return self.restart(false, None);
        }
        let (offset, len, _) = frames[self.faults.index(frames.len() - 2)];
        self.flip(index, &name, (offset, len));
        self.restart(false, Some(index))
    }

    /// Damage to the last frame while no seal stands behind it: the one residue. Its records are
    /// gone, and nothing else is. With several shards other logs may rest on it, so it is tried
    /// with one alone.
    fn crash_and_damage_tail(&mut self, index: usize) -> Verdict {
        self.power_loss();
        let found = if self.seats.len() == 1 { self.frames_of(index) } else { None };
        let Some((name, frames)) = found else { return self.restart(false, None) };
        let Some(&(offset, len, false)) = frames.last() else { return self.restart(false, None) };
        let store = &self.seats[index].store;
        let applied = store.applied(Keyspace::History).max(store.applied(Keyspace::Current));
        let last = self.mirror.books[index].frames.last().map_or(0, |frame| frame.view().info().first_lsn);
        if applied >= last {
            return self.restart(false, None);
        }
        self.flip(index, &name, (offset, len));
        self.restart(true, None)
    }

    fn flip(&mut self, index: usize, name: &str, (offset, len): (usize, usize)) {
        let byte = offset + self.faults.index(len);
        let bit = self.faults.below(8) as u8;
        self.tell(|| format!("bit {bit} of byte {byte} of {name} of shard {index} flips"));
        drop(self.seats[index].disk.flip_bit(name, byte as u64, bit));
    }
}
