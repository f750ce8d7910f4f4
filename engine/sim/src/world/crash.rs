//! Power loss and restart of the whole node.

use onrush_engine::recover::recover;
use onrush_engine::shard::{Input, PeerMessage, ReplyTo};
use onrush_proto::ShardId;
use onrush_storage::disk::FaultPlan;
use onrush_storage::store::{MemoryStore, Store};

use super::World;
use crate::dice::Dice;
use crate::invariants;
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
        self.restart(false, None)
    }

    /// Everything in memory is gone; disks keep what disks keep.
    pub(super) fn power_loss(&mut self) {
        self.summary.crashes += 1;
        self.tell(|| "power is lost".to_owned());
        for seat in &mut self.seats {
            seat.live = None;
            seat.disk.crash();
        }
        self.links.clear();
        drop(self.oracle.lost());
    }

    /// Opens every shard again; a log that refuses, as it must after `damaged`, ends the run.
    pub(super) fn restart(&mut self, tail_lost: bool, damaged: Option<usize>) -> Verdict {
        // A restart takes time; sometimes the wall clock has moved on far.
        self.now_us += self.faults.within(1_000, 50_000);
        if self.faults.percent(10) {
            self.now_us += self.faults.below(60_000_000);
        }
        for round in 0..RESTARTS_MAX {
            let last = round + 1 == RESTARTS_MAX || self.healed;
            for seat in &mut self.seats {
                seat.live = None;
                let mut plan = FaultPlan::default();
                // Recovery itself is cut short now and then.
                if !last && self.faults.percent(8) {
                    seat.disk.crash_after_steps(self.faults.within(1, 3));
                } else if !last && self.faults.percent(4) {
                    plan.read_error_ppm = 200_000;
                }
                seat.disk.faults(plan);
            }
            if self.open_all(damaged)? {
                break;
            }
        }
        for seat in &self.seats {
            seat.disk.faults(FaultPlan::default());
        }
        if self.over {
            return Ok(());
        }
        if let Some(index) = damaged {
            return Err(Violation::new(
                "lsns",
                format!("shard {index} to refuse its damaged log"),
                "it opened",
            ));
        }
        self.audit_recovery(tail_lost)?;
        self.send_reclaims();
        Ok(())
    }

    /// The first start.
    pub(super) fn start(&mut self, tail_lost: bool) -> Verdict {
        self.restart(tail_lost, None)
    }

    /// True if every shard is up, or the run is over.
    fn open_all(&mut self, damaged: Option<usize>) -> Result<bool, Violation> {
        for index in 0..self.seats.len() {
            self.epochs += 1;
            let epoch = Dice::new(self.plan.seed ^ self.epochs << 20, index as u64).next();
            let options = self.shard_options(index);
            match self.seats[index].reopen(&self.plan, options, epoch, false)? {
                Reopened::Up(recovery) => self.tell(|| format!("shard {index} recovered: {recovery:?}")),
                Reopened::Corrupt(_) if damaged == Some(index) => {
                    (self.over, self.summary.refused_log) = (true, true);
                    return Ok(true);
                }
                Reopened::Corrupt(error) => {
                    return Err(Violation::new("lsns", format!("an intact log of shard {index}"), error));
                }
                Reopened::DiskFailed => {
                    self.power_loss();
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What came back must be what was there.
    fn audit_recovery(&mut self, tail_lost: bool) -> Verdict {
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            let Some(live) = &seat.live else { continue };
            let end_lsn = live.log.end_lsn();
            if tail_lost && end_lsn < self.mirror.books[index].end_lsn {
                self.mirror.rewind(index, end_lsn);
                self.oracle.forget_lost(&self.mirror);
                seat.promised = seat.promised.min(end_lsn);
            }
            invariants::durable::reaches(index, seat.promised, end_lsn)?;
            self.enter_survivors(index)?;
        }
        for seat in &self.seats {
            let Some(live) = &seat.live else { continue };
            invariants::lsns::readable(&self.mirror.books[seat.index], &live.log)?;
        }
        self.full_check()
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
        if self.plan.has(Planted::ForgetReclaims) {
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

    /// A shard rebuilt from store and log beside the live one, and from the log alone.
    pub(super) fn rebuilt_agrees(&self, seat: &Seat) -> Verdict {
        let Some(live) = &seat.live else { return Ok(()) };
        let book = &self.mirror.books[seat.index];
        let at = crate::node::position(&live.log, book.time_us);
        let mut stores = vec![(seat.store.clone(), "rebuilt")];
        if live.log.first_lsn() == 1 {
            stores.push((MemoryStore::new(), "replayed"));
        }
        for (store, whose) in stores {
            let options = self.shard_options(seat.index);
            let rebuilt = recover(options, &store, live.log.reader(), at, |_| {});
            let rebuilt = rebuilt
                .map_err(|error| Violation::new("replay", format!("a {whose} shard"), error.to_string()))?;
            let stored = onrush_engine::flush::Stored::new(store.reader());
            invariants::replay::agrees(book, &rebuilt.shard, &stored, whose)?;
        }
        Ok(())
    }
}
