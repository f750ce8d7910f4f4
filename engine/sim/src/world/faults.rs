//! What goes wrong, and when.

use onrush_storage::disk::FaultPlan;
use onrush_storage::log::AppendError;
use onrush_storage::store::{Keyspace, Store};

use super::World;
use super::events::stopped_reply;
use super::frames::Place;
use crate::faults::Fault;
use crate::invariants::damage::Expected;
use crate::node::{CutStore, FlushCrash, Scar, Stage, Tamper};
use crate::planted::Planted;
use crate::report::{Verdict, Violation};

/// What a disk was told to do to a frame, and where the log ended before.
pub(super) struct Tampered {
    tamper: Tamper,
    before: Option<(String, usize)>,
}

impl World {
    /// Perhaps something fails.
    pub(super) fn maybe_fault(&mut self) -> Verdict {
        // A stopped shard is restarted before long, and with it the process.
        if self.seats.iter().any(|seat| !seat.is_up()) && self.faults.percent(5) {
            return if self.faults.percent(50) { self.kill() } else { self.crash() };
        }
        if self.seats.iter().any(|seat| seat.stalled_until_us == u64::MAX) && self.faults.percent(3) {
            return self.end_stuck();
        }
        if self.faults.below(10_000) >= self.plan.faults_per_10k {
            return Ok(());
        }
        let index = self.faults.index(self.seats.len());
        let (fault, _) = Fault::WEIGHTS[self.faults.weighted(&Fault::WEIGHTS.map(|(_, weight)| weight))];
        self.trace.number(fault as u64);
        if self.plan.without.has(fault) {
            return Ok(());
        }
        self.tell(|| format!("{} at shard {index}", fault.name()));
        self.summary.faults += 1;
        self.fail(fault, index)
    }

    fn fail(&mut self, fault: Fault, index: usize) -> Verdict {
        match fault {
            Fault::Crash => return self.crash(),
            Fault::Kill => return self.kill(),
            Fault::Stop => {
                let waits = |seat: &crate::node::Seat| !seat.is_up() || seat.stalled_until_us > self.now_us;
                return if self.seats.iter().any(waits) { Ok(()) } else { self.stop_in_order() };
            }
            Fault::LoseStore => return self.crash_and_lose_store(index),
            Fault::DamageMiddle => return self.crash_and_damage_middle(index),
            Fault::DamageTail => return self.crash_and_damage_tail(index),
            Fault::DamageSnapshot => return self.crash_and_damage_snapshot(index),
            _ => {}
        }
        let (count, millis) = (self.faults.within(1, 6), self.faults.within(10, 5_000));
        let shift = self.faults.pick(&[-2, -1, 1, 2, 5]);
        let at = self.faults.pick(&[FlushCrash::Before, FlushCrash::HistoryOnly, FlushCrash::CurrentOnly]);
        let of_snapshots = self.faults.percent(40);
        let full = FaultPlan { space_bytes: Some(0), ..self.plan.calm() };
        let seat = &mut self.seats[index];
        let disk = if of_snapshots { &seat.snapshots } else { &seat.disk };
        match fault {
            Fault::CrashInWrite => seat.disk.crash_after_writes(count.div_ceil(2)),
            Fault::CrashInStep => disk.crash_after_steps(count),
            Fault::WriteError => seat.disk.fail_next_write(),
            Fault::SyncError => disk.fail_next_sync(),
            // A new segment is created under the name of a spare, then renamed.
            Fault::EntryError => disk.fail_entry(count.div_ceil(2)),
            Fault::DiskFull => disk.faults(full),
            Fault::SlowSync => seat.stalled_until_us = self.now_us + millis * 1_000,
            Fault::StuckSync => seat.stalled_until_us = u64::MAX,
            Fault::LostWrite => seat.tamper = Some(Tamper::Lose),
            Fault::Misdirected => seat.tamper = Some(Tamper::Misdirect(shift)),
            Fault::CrashInFlush => seat.store.crash_in_flush(at),
            _ => {}
        }
        Ok(())
    }

    /// A write that did not come back has reached the disk or not when the process ends.
    fn end_stuck(&mut self) -> Verdict {
        for index in 0..self.seats.len() {
            let landed = self.faults.percent(50);
            let seat = &mut self.seats[index];
            let stuck = seat.stalled_until_us == u64::MAX;
            if let Some(live) = seat.live.as_mut().filter(|live| stuck && live.stage == Stage::Decided)
                && landed
            {
                // Whatever comes of it, nobody hears.
                drop(live.append());
            }
        }
        if self.faults.percent(50) { self.kill() } else { self.crash() }
    }

    /// Power is lost more often while a shard has something to tell another: what is durable here
    /// and unheard of there is where two shards can come apart.
    pub(super) fn perhaps_cut_off(&mut self, index: usize) -> Verdict {
        let live = self.seats[index].live.as_ref();
        let telling = live.is_some_and(|live| !live.batch.outbound.is_empty());
        let exposed = telling && self.plan.faults_per_10k > 0 && !self.healed;
        let cut = exposed && self.faults.below(1_000) < 6 && !self.plan.without.has(Fault::Crash);
        if cut { self.crash() } else { Ok(()) }
    }

    /// A durable write failed: power is gone, or the shard stops.
    pub(super) fn append_failed(&mut self, index: usize, error: &AppendError) -> Verdict {
        self.tell(|| format!("shard {index} stops: {error}"));
        if error.to_string().contains("lost power") {
            return self.crash();
        }
        if let AppendError::TooLarge { bytes, limit } = error {
            let expected = format!("a frame of at most {limit} bytes from one turn");
            return Err(Violation::new("liveness", expected, bytes.to_string()));
        }
        self.summary.poisoned += 1;
        if self.plan.has(Planted::ACK_FAILED_WRITE)
            && let Some(live) = &mut self.seats[index].live
        {
            live.poisoned = true;
            live.stage = Stage::Durable;
            return Ok(());
        }
        self.stop_shard(index)
    }

    /// Nothing that is not on disk leaves any more; who waits hears that the shard has stopped.
    pub(super) fn stop_shard(&mut self, index: usize) -> Verdict {
        let goes_on = self.plan.has(Planted::DECIDE_WHEN_POISONED);
        let Some(live) = &mut self.seats[index].live else { return Ok(()) };
        live.poisoned = true;
        live.stage = if goes_on { Stage::Idle } else { Stage::Stopped };
        let mut waiting = Vec::new();
        for batch in [&mut live.batch, &mut live.open] {
            waiting.extend(batch.replies.drain(..).map(|(to, _)| to));
            batch.clear();
        }
        if !goes_on {
            waiting.extend(std::mem::take(&mut live.inbox).into_iter().filter_map(super::crash::reply_to));
        }
        waiting.into_iter().try_for_each(|to| self.reply(to, &stopped_reply()))
    }

    /// Tells the disk what to do with the next durable write of the log.
    pub(super) fn tamper_with_write(&mut self, index: usize) -> Option<Tampered> {
        let before = self.seats[index].tamper.and_then(|_| self.end_of(index));
        let seat = &mut self.seats[index];
        let tamper = seat.tamper.take_if(|_| seat.scar.is_none())?;
        match tamper {
            Tamper::Lose => seat.disk.lose_next_write(),
            Tamper::Misdirect(sectors) => seat.disk.misdirect_next_write(sectors),
        }
        Some(Tampered { tamper, before })
    }

    /// A durable write was acknowledged: notes what it proves, or what it hides.
    pub(super) fn note_durable(&mut self, index: usize, tampered: Option<Tampered>, first_lsn: u64) {
        if let Some(scar) = &mut self.seats[index].scar {
            scar.proven = true;
        }
        // It may have landed in its place after all: there is nothing in front of a file.
        if let Some(Tampered { tamper, before }) = tampered
            && !self.is_continued(index, before.as_ref())
        {
            self.seats[index].scar = Some(Scar { tamper, first_lsn, proven: false });
            self.summary.tampered += 1;
        }
    }

    /// The store is derived: snapshots and the log are enough without it.
    fn crash_and_lose_store(&mut self, index: usize) -> Verdict {
        self.power_loss();
        self.seats[index].store = CutStore::default();
        self.restart()
    }

    /// Of two snapshots one is enough, with the log behind it.
    fn crash_and_damage_snapshot(&mut self, index: usize) -> Verdict {
        self.power_loss();
        let names = self.seats[index].snapshot_names();
        let all = self.faults.percent(10);
        let only = self.faults.index(names.len());
        for name in names.iter().enumerate().filter(|(at, _)| all || *at == only).map(|(_, name)| name) {
            let len = self.seats[index].snapshots.contents(name).map_or(0, |bytes| bytes.len());
            let (byte, bit) = (self.faults.index(len), self.faults.below(8) as u8);
            self.tell(|| format!("bit {bit} of byte {byte} of {name} of shard {index} flips"));
            drop(self.seats[index].snapshots.flip_bit(name, byte as u64, bit));
        }
        self.seats[index].store = CutStore::default();
        self.restart()
    }

    /// Damage in front of acknowledged frames: recovery must refuse.
    fn crash_and_damage_middle(&mut self, index: usize) -> Verdict {
        self.power_loss();
        let Some((name, frames)) = self.frames_of(index) else { return self.restart() };
        if frames.len() < 3 {
            return self.restart();
        }
        let place = frames[self.faults.index(frames.len() - 2)];
        self.flip(index, &name, place);
        self.flipped = Some((index, Expected::Refusal));
        self.restart()
    }

    /// Damage to the last frame while no seal stands behind it: the one residue. Its records are
    /// gone, and nothing else is.
    fn crash_and_damage_tail(&mut self, index: usize) -> Verdict {
        self.power_loss();
        let Some((name, frames)) = self.frames_of(index) else { return self.restart() };
        let Some(&place) = frames.last() else { return self.restart() };
        let store = &self.seats[index].store;
        let applied = store.applied(Keyspace::History).max(store.applied(Keyspace::Current));
        let book = &self.mirror.books[index];
        // A frame in flight that was not acknowledged, or one that the store has, proves nothing.
        let acknowledged = place.first_lsn <= book.end_lsn;
        if place.seal || !acknowledged || applied >= place.first_lsn {
            return self.restart();
        }
        self.flip(index, &name, place);
        self.flipped = Some((index, Expected::TailGone { first_lsn: place.first_lsn, cut: Some(name) }));
        self.restart()
    }

    fn flip(&mut self, index: usize, name: &str, place: Place) {
        let byte = place.offset + self.faults.index(place.len);
        let bit = self.faults.below(8) as u8;
        self.tell(|| format!("bit {bit} of byte {byte} of {name} of shard {index} flips"));
        drop(self.seats[index].disk.flip_bit(name, byte as u64, bit));
    }
}
