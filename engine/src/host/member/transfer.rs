//! Log that is let go of, and snapshots for who lacks it.

use super::{Member, MemberError};
use crate::replication::{Body, Message, TakerError, Took, TransferError, hear_of_snapshot};

/// How long after its last answer a follower's log is waited for.
const FOLLOWED_US: u64 = 10_000_000;
/// Bytes of log that are kept for followers alone.
const FOLLOWED_BYTES_MAX: u64 = 4 << 30;

impl Member {
    /// Lets go of log that neither store, snapshots and subscribers nor followers need any more.
    pub(super) fn release_log(&mut self) -> Result<(), MemberError> {
        let Some(files) = self.writer.disk() else { return Ok(()) };
        self.seat.count_log(&files.log);
        let (now_us, below) = (self.clock.now_us(), self.seat.station.release_below());
        let first_lsn = files.log.first_lsn();
        // A shard that is being rebuilt reads it from its checkpoint on.
        if now_us < self.release_due_us || below <= first_lsn || self.rebuild.is_some() {
            return Ok(());
        }
        self.release_due_us = now_us + self.election_us;
        let kept = self.kept_behind(below, now_us);
        let Some(files) = self.writer.disk() else { return Ok(()) };
        if files.log.release_below_keeping(below, kept) {
            self.replica.raft_mut().released()?;
        }
        Ok(())
    }

    /// The entry behind which followers need all: those who answer, and who fetches a snapshot.
    fn kept_behind(&mut self, below: u64, now_us: u64) -> u64 {
        let fetched = self.giver.keeps_behind(now_us).unwrap_or(u64::MAX);
        let raft = self.replica.raft();
        if self.log.bytes_behind(0).saturating_sub(self.log.bytes_behind(below)) > FOLLOWED_BYTES_MAX {
            return fetched;
        }
        let lacking = raft.lacking();
        let followed = |(node, matched, silent_us)| {
            (silent_us < FOLLOWED_US && !lacking.contains(&node)).then_some(matched)
        };
        let matched = raft.followers(now_us).into_iter().filter_map(followed).min();
        matched.unwrap_or(u64::MAX).min(fetched)
    }

    /// Offers a snapshot to followers that lack what was released here.
    pub(super) fn offer_snapshots(&mut self, now_us: u64) {
        if now_us < self.offer_due_us {
            return;
        }
        self.offer_due_us = now_us + self.election_us;
        let raft = self.replica.raft();
        let (lacking, front) = (raft.lacking(), raft.log().front().index);
        if lacking.is_empty() {
            return;
        }
        let shard = self.seat.station.id.0;
        match self.giver.offer(front, self.seat.station.owed(), now_us) {
            Ok(Some(offer)) => {
                lacking.into_iter().for_each(|node| self.say(node, Body::Offer(offer)));
            }
            // The next one that is taken will do.
            Ok(None) => {}
            Err(error) => tracing::warn!(shard, %error, "no snapshot can be offered"),
        }
    }

    /// A snapshot is offered, asked for, or on its way.
    pub(super) fn hear_of_snapshot(&mut self, message: Message) -> Result<(), MemberError> {
        let Message { from, to, body, .. } = message;
        let (now_us, shard) = (self.clock.now_us(), self.seat.station.id.0);
        let raft = self.replica.raft();
        if to != raft.id() {
            return Ok(());
        }
        let sides = (&mut self.giver, &mut self.taker);
        let took = hear_of_snapshot(raft, sides, (from, body), now_us);
        match took {
            Ok(Took::Nothing) => {}
            Ok(Took::Ask(body)) => self.say(from, body),
            Ok(Took::Whole(offer)) => return Err(MemberError::Arrived { lsn: offer.lsn }),
            Err(TransferError::Taken(error @ TakerError::Mark(_))) => return Err(error.into()),
            Err(error) => tracing::warn!(shard, %error, "a piece of a snapshot is asked for again"),
        }
        Ok(())
    }

    fn say(&self, to: crate::replication::NodeId, body: Body) {
        self.send(&mut vec![Message::of_snapshot(self.replica.raft().id(), to, body)]);
    }
}
