//! An office that is taken and lost, with those of the other shards; and the shard that is rebuilt when what it decided never happened.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use onrush_proto::{Refusal, ShardId};

use super::{Member, MemberError};
use crate::host::rebuild::Rebuild;
use crate::host::station::Station;
use crate::recover::{LogPosition, RecoverError};
use crate::replication::{Beside, NodeId, RoleKind};
use crate::shard::Effects;

impl Member {
    pub(super) fn look_at_office(&mut self) -> Result<(), MemberError> {
        if let Some(batches) = self.replica.deposed() {
            self.tell_ready(None);
            self.leave_office(batches)?;
        }
        if self.replica.holds_office() {
            if self.office.open() == Some(self.seat.office) {
                return Ok(());
            }
            // Another shard has lost its group, and with it the office is over for all.
            self.ready = None;
            let batches = self.replica.resign();
            self.leave_office(batches)?;
        }
        self.give_away_rebuilding();
        if self.rebuild.is_some() {
            return Ok(());
        }
        self.enter_office();
        Ok(())
    }

    /// While a shard of this node is rebuilt, others decide at once, if they can. The first shard goes, the rest follow. Once:
    /// a node that rebuilds as well gives it back.
    fn give_away_rebuilding(&mut self) {
        if !self.is_first() {
            return;
        }
        let mut stations = self.seat.stations().iter();
        let rebuilding =
            self.rebuild.is_some() || stations.any(|station| station.rebuilding.load(Ordering::Relaxed));
        if !rebuilding {
            self.gave_away = false;
        } else if !self.gave_away && self.replica.raft().is_in_office() && self.has_heir() {
            self.gave_away = self.leave().is_ok();
        }
    }

    /// Enters the office of this node, once all its shards are ready for it.
    fn enter_office(&mut self) {
        let term = self.replica.raft().term();
        let ready = self.replica.is_ready().then_some(term);
        // Whoever is ready says so again: the end of an office has everybody forgotten.
        if ready.is_some() || self.ready.is_some() {
            self.tell_ready(ready);
        }
        let Some(office) = self.office.open().filter(|_| ready.is_some()) else { return };
        if self.replica.take_office() {
            self.seat.clock.advance_to(self.replica.raft().log().time_us());
            self.seat.enter(office);
            tracing::info!(shard = self.seat.station.id.0, term, office, "took office");
        }
    }

    /// Tells the other shards of this node whether this one is ready; whoever sleeps hears of an office that begins or ends.
    pub(super) fn tell_ready(&mut self, ready: Option<u64>) {
        self.ready = ready;
        if self.office.tell(self.seat.station.id, ready) {
            self.seat.stations().iter().for_each(|station| station.call());
        }
    }

    /// Hands over what it leads here while the first shard is led elsewhere: all shards are decided where that one is. A node
    /// on which a shard has stopped leads none.
    pub(super) fn follow_first(&mut self) {
        let (now_us, raft) = (self.clock.now_us(), self.replica.raft());
        if raft.role() != RoleKind::Leader || raft.is_handing_over() || now_us < self.follow_due_us {
            return;
        }
        let unfit = |station: &Arc<Station>| {
            station.stopped.load(Ordering::Relaxed) || !station.has_place.load(Ordering::Relaxed)
        };
        let beside = Beside {
            first: self.first_elsewhere().or_else(|| self.first_leader()),
            is_fit: !self.seat.stations().iter().any(unfit),
            led_us: now_us - self.led_since_us,
            election_us: self.election_us,
        };
        if let Some(heir) = beside.heir(raft, self.turn) {
            (self.follow_due_us, self.turn) = (now_us + self.election_us, self.turn + 1);
            // Declined, it is asked again.
            let _ = self.hand_over(heir);
        }
    }

    pub(super) fn is_first(&self) -> bool {
        self.seat.station.id == ShardId(0)
    }

    /// The node that leads the first shard, as far as is known here.
    pub(super) fn first_leader(&self) -> Option<NodeId> {
        match self.seat.stations().first() {
            Some(first) if !self.is_first() => first.leader(),
            _ => self.replica.raft().leader(),
        }
    }

    /// The node to which all shards belong, if that is another one.
    pub(super) fn first_elsewhere(&self) -> Option<NodeId> {
        let first = self.seat.stations().first().filter(|_| !self.is_first())?;
        first.heir().or_else(|| first.leader()).filter(|node| *node != self.replica.raft().id())
    }

    /// What was decided here and not committed may never have happened.
    fn leave_office(&mut self, batches: Vec<Effects>) -> Result<(), MemberError> {
        let open = self.seat.take_open();
        let decided = batches.iter().chain([&open]).any(|batch| !batch.is_empty());
        self.seat.leave();
        let leader = self.first_leader().map_or(0, |node| node.0);
        self.seat.refuse_inputs(Refusal::NotLeader { leader });
        tracing::info!(shard = self.seat.station.id.0, batches = batches.len(), "lost office");
        for batch in batches.into_iter().chain([open]) {
            self.seat.answer_unknown(batch);
        }
        // What has decided nothing that is not committed knows nothing that is not so.
        if decided { self.rebuild() } else { Ok(()) }
    }

    /// Begins the shard anew, from what was committed. Until it is there nothing is applied and no office taken.
    fn rebuild(&mut self) -> Result<(), MemberError> {
        let at = LogPosition {
            first_lsn: self.log.first_lsn(),
            end_lsn: self.applied.lsn,
            time_us: self.applied.time_us,
        };
        let frozen = self.seat.stored.freeze().map_err(RecoverError::from)?;
        let station = Arc::clone(&self.seat.station);
        let rebuild = Rebuild::start(self.shard_options, frozen, self.log.another(), at, station);
        self.rebuild = Some(rebuild.map_err(MemberError::Thread)?);
        self.seat.station.rebuilding.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The shard that was rebuilt takes its place; true if it did.
    pub(super) fn come_back(&mut self) -> Result<bool, MemberError> {
        let Some(rebuilt) = self.rebuild.as_mut().and_then(Rebuild::poll) else { return Ok(false) };
        self.rebuild = None;
        self.seat.station.rebuilding.store(false, Ordering::Relaxed);
        let old = std::mem::replace(&mut self.seat.shard, rebuilt?);
        // A large one takes long to be let go of. Without a thread it is done here.
        let _ = thread::Builder::new().name("onrush-drop".to_owned()).spawn(move || drop(old));
        tracing::info!(shard = self.seat.station.id.0, applied = self.applied.index, "rebuilt");
        Ok(true)
    }
}
