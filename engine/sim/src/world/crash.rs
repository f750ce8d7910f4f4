//! The ends of a process, and restarts of the whole node.

use onrush_engine::flush::Stored;
use onrush_engine::install_newest;
use onrush_engine::recover::recover;
use onrush_engine::shard::{Input, PeerMessage, ReplyTo};
use onrush_engine::views::Views;
use onrush_proto::ShardId;
use onrush_storage::disk::FaultPlan;
use onrush_storage::store::MemoryStore;

use super::World;
use crate::clients::HOLDING;
use crate::dice::Dice;
use crate::invariants;
use crate::invariants::damage::Expected;
use crate::node::{Reopened, Seat};
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// Restarts that may fail in a row before the disks must be left alone.
const RESTARTS_MAX: usize = 8;

/// Who waits for an input's answer.
pub(super) fn reply_to(input: Input) -> Option<ReplyTo> {
    match input {
        Input::Request { to, .. } | Input::Peer { message: PeerMessage::Forward { to, .. }, .. } => Some(to),
        Input::Peer { .. } => None,
    }
}

impl World {
    /// Power loss now, and a restart.
    pub(super) fn crash(&mut self) -> Verdict {
        self.power_loss();
        self.restart()
    }

    /// The process is killed and starts again: what the page cache holds is still there.
    pub(super) fn kill(&mut self) -> Verdict {
        self.tell(|| "the process is killed".to_owned());
        self.summary.kills += 1;
        self.end_process();
        self.restart()
    }

    /// The process finishes what has reached it, brings the stores up to date, and starts again.
    pub(super) fn stop_in_order(&mut self) -> Verdict {
        self.tell(|| "the process stops".to_owned());
        self.settle()?;
        for index in 0..self.seats.len() {
            if self.seats[index].is_up() {
                self.seal(index)?;
            }
            let up = self.seats[index].is_up();
            let Some(live) = &mut self.seats[index].live else { continue };
            let Some(flusher) = live.flusher.take().filter(|_| up) else { continue };
            if let Err(error) = flusher.close()
                && self.seats[index].scar.is_none()
                && !error.contains("lost power")
            {
                return Err(Violation::new("replay", "a store that closes", error));
            }
        }
        self.end_process();
        self.restart()
    }

    /// Everything in memory is gone; disks keep what disks keep.
    pub(super) fn power_loss(&mut self) {
        self.summary.crashes += 1;
        self.tell(|| "power is lost".to_owned());
        self.end_process();
        for seat in &mut self.seats {
            seat.disk.crash();
            seat.snapshots.crash();
        }
    }

    fn end_process(&mut self) {
        for seat in &mut self.seats {
            seat.live = None;
            seat.tamper = None;
            seat.disk.calm();
            seat.stalled_until_us = 0;
            seat.store.calm();
        }
        self.links.clear();
        drop(self.oracle.lost());
    }

    /// Opens every shard again; a log that refuses, as it must after damage, ends the run.
    pub(super) fn restart(&mut self) -> Verdict {
        // A restart takes time; sometimes the wall clock has moved on far.
        self.now_us += self.faults.within(1_000, 50_000);
        if self.faults.percent(10) {
            self.now_us += self.faults.below(60_000_000);
        }
        for round in 0..RESTARTS_MAX {
            let last = round + 1 == RESTARTS_MAX || self.healed;
            for seat in &mut self.seats {
                seat.live = None;
                let mut plan = self.plan.calm();
                // Recovery itself is cut short now and then.
                if !last && self.faults.percent(8) {
                    seat.disk.crash_after_steps(self.faults.within(1, 3));
                } else if !last && self.faults.percent(4) {
                    plan.read_error_ppm = 200_000;
                }
                seat.disk.faults(plan);
            }
            if self.open_all()? {
                break;
            }
        }
        for seat in &self.seats {
            seat.disk.faults(self.plan.calm());
            seat.snapshots.faults(FaultPlan::default());
        }
        if self.over {
            return Ok(());
        }
        self.audit_recovery()?;
        self.send_reclaims();
        Ok(())
    }

    /// What the disk of a shard must be found to hold.
    fn expected(&self, index: usize) -> Expected {
        match (&self.flipped, self.seats[index].scar) {
            (Some((shard, expected)), _) if *shard == index => expected.clone(),
            (_, Some(scar)) => Expected::of(scar),
            _ => Expected::Intact,
        }
    }

    /// A tail is cut once: the next opening has nothing to report, nor has one after a failed one.
    fn cut_is_told(&mut self, index: usize) {
        if let Some((shard, Expected::TailGone { cut, .. })) = &mut self.flipped
            && *shard == index
        {
            *cut = None;
        }
    }

    /// True if every shard is up, or the run is over.
    fn open_all(&mut self) -> Result<bool, Violation> {
        for index in 0..self.seats.len() {
            self.epochs += 1;
            let epoch = Dice::new(self.plan.seed ^ self.epochs << 20, index as u64).next();
            let options = self.shard_options(index);
            match self.seats[index].reopen(&self.plan, options, epoch)? {
                Reopened::Up { recovery, from_snapshot } => {
                    self.tell(|| format!("shard {index} recovered: {recovery:?}"));
                    self.summary.from_snapshots += u64::from(from_snapshot);
                    let book = &self.mirror.books[index];
                    invariants::damage::opened(index, &self.expected(index), book, &recovery)?;
                    self.cut_is_told(index);
                }
                Reopened::Corrupt(error) => {
                    self.tell(|| format!("shard {index} refuses: {error}"));
                    invariants::damage::refused(index, &self.expected(index), &error)?;
                    (self.over, self.summary.refused_log) = (true, true);
                    return Ok(true);
                }
                Reopened::Unreachable(error) => {
                    self.tell(|| format!("shard {index} cannot be rebuilt: {error}"));
                    let intact = self.seats[index].intact_snapshots();
                    invariants::damage::unreachable(index, &self.expected(index), intact, &error)?;
                    (self.over, self.summary.refused_store) = (true, true);
                    return Ok(true);
                }
                Reopened::DiskFailed => {
                    self.cut_is_told(index);
                    self.power_loss();
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What came back must be what was there.
    fn audit_recovery(&mut self) -> Verdict {
        let mut views = Vec::new();
        for index in 0..self.seats.len() {
            self.forget_tail(index);
            let seat = &self.seats[index];
            let Some(live) = &seat.live else { continue };
            views.push(std::sync::Arc::clone(&live.views));
            invariants::durable::reaches(index, seat.promised, live.log.end_lsn())?;
            self.enter_survivors(index)?;
        }
        for seat in &self.seats {
            let Some(live) = &seat.live else { continue };
            invariants::lsns::readable(&self.mirror.books[seat.index], &live.log)?;
        }
        self.views = Some(Views::new(views, self.mirror.map));
        for reader in &mut self.readers {
            let book = &self.mirror.books[reader.shard];
            let group = (reader.group(), HOLDING as u8);
            let known =
                if reader.holds { book.offsets.get(&group).copied().unwrap_or(0) } else { reader.cursor };
            // What it saw of a lost tail, it has to see anew.
            reader.start_behind(known.min(book.end_lsn));
        }
        self.full_check()
    }

    /// A tail that a disk lost is nobody's any more.
    fn forget_tail(&mut self, index: usize) {
        let expected = self.expected(index);
        let seat = &mut self.seats[index];
        let Some(live) = &seat.live else { return };
        let end_lsn = live.log.end_lsn();
        if matches!(expected, Expected::TailGone { .. }) {
            self.mirror.rewind(index, end_lsn);
            self.oracle.forget_lost(&self.mirror);
            seat.promised = seat.promised.min(end_lsn);
            self.summary.lost_tails += 1;
        }
        seat.scar = None;
        if self.flipped.as_ref().is_some_and(|(shard, _)| *shard == index) {
            self.flipped = None;
        }
    }

    /// A frame in flight that reached the disk counts.
    fn enter_survivors(&mut self, index: usize) -> Verdict {
        let Some(live) = &self.seats[index].live else { return Ok(()) };
        let end = self.mirror.books[index].end_lsn;
        let failed = |error: onrush_storage::log::ReadError| {
            Violation::new("lsns", "a log that reads", error.to_string())
        };
        let mut reader = live.log.reader();
        reader.seek(end + 1).map_err(failed)?;
        while let Some(frame) = reader.next_frame().map_err(failed)? {
            if frame.info().record_count > 0 && frame.info().first_lsn > end {
                self.trace.bytes(frame.bytes());
                self.mirror.enter(index, &frame)?;
            }
        }
        Ok(())
    }

    /// Claims go to their shards before any client does.
    fn send_reclaims(&mut self) {
        if self.plan.has(Planted::FORGET_RECLAIMS) {
            return;
        }
        for index in 0..self.seats.len() {
            let Some(live) = &self.seats[index].live else { continue };
            for (ShardId(to), message) in live.shard.reclaims() {
                if let Some(keeper) = &mut self.seats[usize::from(to)].live {
                    keeper.inbox.push_back(Input::Peer { from: ShardId(index as u16), message });
                }
            }
        }
    }

    /// A shard rebuilt beside the live one: from its store and the log, from a snapshot and the log,
    /// from the log alone.
    pub(super) fn rebuilt_agrees(&self, seat: &Seat) -> Verdict {
        let Some(live) = &seat.live else { return Ok(()) };
        let failed = |whose: &str, error: &dyn std::fmt::Display| {
            Violation::new("replay", format!("a shard {whose}"), error.to_string())
        };
        let book = &self.mirror.books[seat.index];
        let at = crate::node::position(&live.log, book.time_us);
        let mut snapshot = MemoryStore::new();
        let installed = install_newest(&seat.snapshots, &mut snapshot)
            .map_err(|error| failed("filled from a snapshot", &error))?;
        let mut stores: Vec<(Box<dyn onrush_storage::store::Store>, &str)> =
            vec![(Box::new(seat.store.clone()), "rebuilt from its store")];
        // With every snapshot damaged there may be nothing that the log continues.
        if installed.lsn.is_some() && installed.damaged.len() < 2 {
            stores.push((Box::new(snapshot), "rebuilt from a snapshot"));
        }
        if live.log.first_lsn() == 1 {
            stores.push((Box::new(MemoryStore::new()), "replayed from the log"));
        }
        for (store, whose) in stores {
            let options = self.shard_options(seat.index);
            let rebuilt = recover(options, store.as_ref(), live.log.reader(), at, |_| {});
            let rebuilt = rebuilt.map_err(|error| failed(whose, &error))?;
            let stored = Stored::new(store.reader());
            invariants::replay::agrees(book, &rebuilt.shard, &stored, whose)?;
        }
        Ok(())
    }
}
