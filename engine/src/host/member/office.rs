//! An office that is taken and lost, and the shard that is rebuilt when what it decided never happened.

use std::sync::Arc;
use std::thread;

use super::{Member, MemberError};
use crate::host::rebuild::Rebuild;
use crate::recover::{LogPosition, RecoverError};
use crate::shard::Effects;

impl Member {
    pub(super) fn look_at_office(&mut self) -> Result<(), MemberError> {
        let held = self.replica.holds_office();
        if let Some(batches) = self.replica.deposed() {
            self.leave_office(batches)?;
        }
        if self.rebuild.is_some() {
            // Others decide at once, if they can. Once: one that rebuilds as well gives it back.
            if !self.gave_away && self.replica.raft().is_in_office() && self.has_heir() {
                self.gave_away = self.leave().is_ok();
            }
            return Ok(());
        }
        if !held && self.replica.take_office() {
            self.seat.clock.advance_to(self.replica.raft().log().time_us());
            let (shard, term) = (self.seat.station.id.0, self.replica.raft().term());
            tracing::info!(shard, term, "took office");
        }
        Ok(())
    }

    /// What was decided here and not committed may never have happened.
    fn leave_office(&mut self, batches: Vec<Effects>) -> Result<(), MemberError> {
        let open = self.seat.take_open();
        let decided = batches.iter().chain([&open]).any(|batch| !batch.is_empty());
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
        (self.rebuild, self.gave_away) = (Some(rebuild.map_err(MemberError::Thread)?), false);
        Ok(())
    }

    /// The shard that was rebuilt takes its place; true if it did.
    pub(super) fn come_back(&mut self) -> Result<bool, MemberError> {
        let Some(rebuilt) = self.rebuild.as_mut().and_then(Rebuild::poll) else { return Ok(false) };
        self.rebuild = None;
        let old = std::mem::replace(&mut self.seat.shard, rebuilt?);
        // A large one takes long to be let go of. Without a thread it is done here.
        let _ = thread::Builder::new().name("onrush-drop".to_owned()).spawn(move || drop(old));
        tracing::info!(shard = self.seat.station.id.0, applied = self.applied.index, "rebuilt");
        Ok(true)
    }
}
