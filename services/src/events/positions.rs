//! Positions of groups, as the shards keep them.

use std::time::Duration;

use onrush_engine::{EngineHandle, SubscribeError};
use onrush_grpc::log::v1::{Edge, Place, place};
use onrush_proto::{
    Command, CommitOffset, GroupAsk, GroupCommand, GroupStanding, Lsn, Outcome, Receipt, Refusal, Request,
    ShardId, Slot, Text, Topic,
};

use super::groups::Dealt;
use crate::backend::{Backend, off_front, unexpected};
use crate::field::FieldError;
use crate::status::Rejection;

/// How often a shard that is at its bound is asked again.
const TRIES: u32 = 20;
/// How long it has in between.
const PAUSE: Duration = Duration::from_millis(50);

type Key = (Text<47>, Topic);

/// Asks the shards of an engine in this process.
#[derive(Clone)]
pub(super) struct Positions {
    engine: EngineHandle,
    backend: Backend,
}

impl Positions {
    pub(super) fn new(engine: EngineHandle) -> Self {
        Self { backend: Backend::local(engine.clone()), engine }
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.engine.slot_map().shards()).map(ShardId)
    }

    /// Refused if there is no such shard.
    pub(super) fn shard(&self, path: &'static str, shard: u32) -> Result<ShardId, FieldError> {
        let shards = self.engine.slot_map().shards();
        match u16::try_from(shard) {
            Ok(shard) if shard < shards => Ok(ShardId(shard)),
            _ => Err(FieldError::invalid(path, format!("0 to {}", shards - 1), shard.to_string())),
        }
    }

    /// The first record of a shard that can be read.
    pub(super) fn first(&self, shard: ShardId) -> Result<Lsn, Rejection> {
        self.engine.first(shard).map_err(unread)
    }

    /// Where a shard's committed log ends.
    pub(super) fn end(&self, shard: ShardId) -> Lsn {
        self.engine.end(shard)
    }

    /// The position behind which a shard is read from a place: `None` for a place that names nothing.
    pub(super) async fn behind(
        &self,
        path: &'static str,
        shard: ShardId,
        to: &Place,
    ) -> Result<Lsn, Rejection> {
        match to.place {
            Some(place::Place::Edge(edge)) if edge == Edge::Beginning as i32 => {
                Ok(Lsn(self.first(shard)?.0.saturating_sub(1)))
            }
            Some(place::Place::Edge(edge)) if edge == Edge::End as i32 => Ok(self.end(shard)),
            Some(place::Place::Edge(edge)) => {
                let error = FieldError::invalid(path, "EDGE_BEGINNING or EDGE_END", edge.to_string());
                Err(error.because("UNKNOWN_ENUM_VALUE").into())
            }
            Some(place::Place::TimeUs(time_us)) => {
                let time_us = u64::try_from(time_us).map_err(|_| {
                    FieldError::invalid(path, "microseconds since the Unix epoch", time_us.to_string())
                })?;
                let engine = self.engine.clone();
                let found = off_front(move || engine.first_at(shard, time_us)).await?;
                Ok(Lsn(found.map_err(unread)?.0.saturating_sub(1)))
            }
            Some(place::Place::Lsn(lsn)) => self.behind_lsn(path, shard, lsn),
            None => Err(FieldError::invalid(path, "an edge, a time or a position", "none")
                .because("MISSING_FIELD")
                .into()),
        }
    }

    /// The same for a record that is read next: one that is there, or the one to come.
    pub(super) fn behind_lsn(&self, path: &'static str, shard: ShardId, lsn: u64) -> Result<Lsn, Rejection> {
        let (first, next) = (self.first(shard)?.0, self.end(shard).0 + 1);
        if lsn > next {
            // A node that follows may not have it yet.
            self.backend.must_decide()?;
        }
        if lsn > next || lsn == 0 {
            return Err(FieldError::invalid(path, format!("{first} to {next}"), lsn.to_string()).into());
        }
        if lsn < first {
            return Err(Refusal::OffsetOutOfRange { first, found: lsn }.into());
        }
        Ok(Lsn(lsn - 1))
    }

    /// Refused unless an event of the topic stands there.
    pub(super) async fn must_be_event(
        &self,
        topic: Topic,
        shard: ShardId,
        lsn: u64,
    ) -> Result<(), Rejection> {
        let mut found = None;
        if lsn > 0 && lsn <= self.end(shard).0 {
            let engine = self.engine.clone();
            let read = off_front(move || {
                let mut at = None;
                let mut subscription = engine.subscribe(shard, Lsn(lsn));
                subscription.poll(1, |event| at = Some((event.lsn, event.fact.kind))).map(|_| at)
            });
            found = read.await?.map_err(unread)?;
        }
        match found {
            Some((at, kind)) if at == Lsn(lsn) && kind.is_in(topic) => Ok(()),
            _ => {
                let expected = format!("the position of an event of {topic}");
                Err(FieldError::invalid("lsn", expected, lsn.to_string()).into())
            }
        }
    }

    /// How a group stands on a shard.
    pub(super) async fn standing(&self, key: Key, shard: ShardId) -> Result<GroupStanding, Rejection> {
        match self.ask(key, shard, GroupAsk::Get).await {
            Outcome::Groups(found) if found.len() == 1 => Ok(found[0]),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("how a group stands, or a refusal", &other)),
        }
    }

    /// How all groups stand on a shard.
    pub(super) async fn all(&self, shard: ShardId) -> Result<Vec<GroupStanding>, Rejection> {
        let command = Command::ListGroups(slot(shard));
        match self.backend.call(Request::unkeyed(command)).await.outcome {
            Outcome::Groups(found) => Ok(found),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("how groups stand, or a refusal", &other)),
        }
    }

    /// How a group stands on every shard that takes part: one that has stopped does not.
    async fn standings(&self, key: Key) -> Result<Vec<(ShardId, GroupStanding)>, Rejection> {
        let mut standings = Vec::new();
        for shard in self.shards() {
            match self.standing(key, shard).await {
                Ok(standing) => standings.push((shard, standing)),
                Err(Rejection::Refused(Refusal::Stopped)) => {}
                Err(rejection) => return Err(rejection),
            }
        }
        Ok(standings)
    }

    /// The newest generation of a group that any shard knows of.
    pub(super) async fn newest(&self, key: Key) -> Result<u64, Rejection> {
        Ok(newest(&self.standings(key).await?))
    }

    /// Moves a group that has no generation.
    pub(super) async fn set(&self, (group, topic): Key, to: &[(ShardId, Lsn)]) -> Result<(), Rejection> {
        for (moved, (shard, lsn)) in to.iter().enumerate() {
            let commit = CommitOffset { slot: slot(*shard), group, topic, lsn: Some(*lsn) };
            let accepted = self.backend.accept(Request::unkeyed(Command::CommitOffset(Box::new(commit))));
            accepted.await.map_err(|refused| begun(moved > 0, refused))?;
        }
        Ok(())
    }

    /// Begins a generation of a group on every shard; on those of `to` at another position, and on those that know none
    /// where `begin` says. A shard that has stopped takes no part.
    pub(super) async fn fence(
        &self,
        key: Key,
        to: &[(ShardId, Lsn)],
        begin: &[Lsn],
    ) -> Result<Dealt, Rejection> {
        let mut floor = 0;
        'again: loop {
            let standings = self.standings(key).await?;
            let generation = floor.max(1 + newest(&standings));
            let mut positions = Vec::new();
            for (shard, _) in standings {
                let lsn = to.iter().find(|(of, _)| *of == shard).map(|(_, lsn)| *lsn);
                let begin = begin.get(usize::from(shard.0)).copied();
                match self.fence_shard(key, shard, GroupAsk::Fence { generation, lsn, begin }).await {
                    Ok(position) => positions.push((shard, position)),
                    // Somebody else began one in between: a newer one is begun everywhere.
                    Err(Rejection::Refused(Refusal::StaleGeneration { expected, .. })) => {
                        floor = expected;
                        continue 'again;
                    }
                    Err(rejection) => return Err(begun(!positions.is_empty(), rejection)),
                }
            }
            return Ok(Dealt { generation, positions });
        }
    }

    async fn fence_shard(&self, key: Key, shard: ShardId, fence: GroupAsk) -> Result<Lsn, Rejection> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ask(key, shard, fence.clone()).await {
                Outcome::Accepted(Receipt::Offset { lsn }) => return Ok(Lsn(lsn)),
                Outcome::Refused(Refusal::Overloaded) if tries < TRIES => tokio::time::sleep(PAUSE).await,
                Outcome::Refused(refusal) => return Err(refusal.into()),
                other => return Err(unexpected("a position or a refusal", &other)),
            }
        }
    }

    /// Asks a shard something of a group.
    pub(super) async fn ask(&self, (group, topic): Key, shard: ShardId, ask: GroupAsk) -> Outcome {
        let command = GroupCommand { slot: slot(shard), group, topic, ask };
        self.backend.call(Request::unkeyed(Command::Group(Box::new(command)))).await.outcome
    }

    /// The engine.
    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }
}

fn newest(standings: &[(ShardId, GroupStanding)]) -> u64 {
    standings.iter().map(|(_, found)| found.generation).max().unwrap_or(0)
}

/// Why there was no more: if a shard has accepted its part, it is not as if nothing was done.
fn begun(accepted: bool, rejection: Rejection) -> Rejection {
    if accepted { rejection.behind_acceptance() } else { rejection }
}

/// Slots are dealt round-robin, so a shard's number is one of its slots.
pub(super) fn slot(shard: ShardId) -> Slot {
    Slot(shard.0 as u8)
}

/// A log that cannot be read from a position on.
pub(super) fn unread(error: SubscribeError) -> Rejection {
    match error {
        SubscribeError::OutOfRange { first, found } => Refusal::OffsetOutOfRange { first, found }.into(),
        error => Rejection::Internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use onrush_engine::{Engine, EngineOptions, FlushOptions};
    use onrush_grpc::log::v1::SubscribeResponse;
    use onrush_proto::PutDocument;
    use tokio::sync::mpsc;
    use tonic::Status;

    use super::super::follower::{Credit, Follower};
    use super::*;
    use crate::access::{Caller, Standing};

    async fn letters(engine: &EngineHandle) {
        for _ in 0..16 {
            let put = PutDocument {
                key: "letters/1".parse().unwrap(),
                placement: None,
                value: vec![b'7'; 200 << 10],
                expected: None,
                emit: Some(Topic::NotificationSent),
            };
            let outcome = engine.call(Request::unkeyed(Command::PutDocument(Box::new(put)))).await.outcome;
            assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
        }
    }

    fn refused<T>(found: Result<T, Rejection>) -> Option<(u64, u64)> {
        match found {
            Err(Rejection::Refused(Refusal::OffsetOutOfRange { first, found })) => Some((first, found)),
            _ => None,
        }
    }

    /// A log whose first records are released is refused from there on, with the first position that is left.
    #[tokio::test]
    async fn what_was_released_is_refused_by_the_first_that_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let flush = FlushOptions {
            log_bytes: 1 << 20,
            checkpoint_bytes: 1 << 20,
            snapshot_bytes: 1 << 20,
            ..FlushOptions::default()
        };
        let data_dir = Some(dir.path().join("data"));
        let options = EngineOptions { data_dir, flush, segment_bytes: 1 << 20, ..EngineOptions::default() };
        let engine = Engine::open(options).unwrap();
        let handle = engine.handle();
        let (positions, shard) = (Positions::new(handle.clone()), ShardId(0));
        let mut rounds = 0;
        // Beyond what is kept in memory, too: whoever keeps up is not read from files.
        while positions.first(shard).unwrap() == Lsn(1) || positions.end(shard).0 < 400 {
            assert!(rounds < 200, "the log is still kept");
            letters(&handle).await;
            rounds += 1;
        }
        let (first, found) = refused(positions.behind_lsn("lsn", shard, 1)).unwrap();
        assert_eq!(found, 1);
        assert!(first > 1 && first <= positions.first(shard).unwrap().0);
        assert!(positions.behind_lsn("lsn", shard, positions.end(shard).0).is_ok());

        let (out, _told) = mpsc::channel::<Result<SubscribeResponse, Status>>(1);
        let follower = Follower {
            shard,
            topic: Topic::NotificationSent,
            feed: positions.backend().subscribe(shard, Lsn(1)),
            cursor: Lsn(0),
            credit: Credit::new(1),
            standing: Standing::new(Caller::Operator, u64::MAX),
            out,
        };
        let (left, found) = refused(follower.run(Duration::ZERO).await).unwrap();
        assert_eq!(found, 1);
        assert!(left >= first);
        drop(positions);
        engine.close().unwrap();
    }
}
