//! Consumer groups: how far each has read this shard's log, and under which generation. In no topic, but for events
//! that were given up.
//!
//! A generation is a fence. Whoever deals the shards of a group to its members begins a new one on each shard first;
//! from then on a position under an older one is refused here, by the shard's own order of records, wherever it comes
//! from. A group that was never dealt has generation 0, and so has whoever commits without one.

use onrush_proto::command::MAX_REASON_BYTES;
use onrush_proto::{
    CommitOffset, DeadLetterRow, Fact, GroupAsk, GroupCommand, GroupRow, GroupStanding, Lsn, OffsetRow,
    Receipt, RecordKind, Refusal, Row, Text,
};

use super::{Accepted, Context, Decision};
use crate::state::State;
use crate::tables::hash_of;

/// Groups, counted once for each topic, that a shard keeps positions of, besides the shop's own.
pub const GROUPS_MAX: usize = 1_024;

/// Groups by which the shop itself reads. They are few, and others must not leave them without a place.
pub const OWN_GROUPS: [&str; 3] = ["payment-gateway", "shipping", "notification"];

/// A group's reading of one topic.
type Reader = (Text<47>, u8);

/// What a group's command comes to.
#[expect(clippy::large_enum_variant, reason = "built and taken apart at once; never stored")]
pub enum Step {
    /// A record.
    Changes(Accepted),
    /// It is so already.
    Known(Receipt),
}

/// Records a position without a generation. It may go back (a replay of events), never past the end.
pub fn commit(state: &State, context: &Context, commit: &CommitOffset) -> Decision {
    let lsn = commit.lsn.ok_or(Refusal::Invalid { field: "lsn", expected: "a position" })?;
    let reader = (commit.group, commit.topic as u8);
    must_be_named(state, reader)?;
    must_be_within(context, lsn)?;
    must_be_current(&row(state, reader), 0)?;
    let fact = Fact::new(RecordKind::OffsetCommitted, hash_of(&commit.group)).with(offset(reader, lsn.0));
    Ok(Accepted { fact, receipt: Receipt::Offset { lsn: lsn.0 } })
}

/// Decides what a group asks under a generation.
pub fn decide(state: &State, context: &Context, command: &GroupCommand) -> Result<Step, Refusal> {
    let reader = (command.group, command.topic as u8);
    must_be_named(state, reader)?;
    match &command.ask {
        GroupAsk::Get => Err(Refusal::NotFound),
        GroupAsk::Fence { generation, lsn, begin } => {
            let lsn = lsn.or(begin.filter(|_| !state.offsets.contains_key(&reader)));
            fence(state, context, reader, (*generation, lsn)).map(Step::Changes)
        }
        GroupAsk::Commit { generation, lsn } => {
            must_be_current(&row(state, reader), *generation)?;
            must_be_within(context, *lsn)?;
            // Commits that overtake one another must not bring back what is done with.
            let known = state.offsets.get(&reader).copied().filter(|known| *known >= lsn.0);
            Ok(known.map_or_else(
                || Step::Changes(moved(reader, lsn.0)),
                |lsn| Step::Known(Receipt::Offset { lsn }),
            ))
        }
        GroupAsk::Reject { .. } => reject(state, context, command).map(Step::Changes),
    }
}

/// A group's position; 0 if it never committed.
pub fn position(state: &State, commit: &CommitOffset) -> u64 {
    state.offsets.get(&(commit.group, commit.topic as u8)).copied().unwrap_or(0)
}

/// How a group stands.
pub fn standing(state: &State, reader: (Text<47>, u8)) -> GroupStanding {
    let GroupRow { group, topic, generation, tried, tries } = row(state, reader);
    GroupStanding { group, topic, lsn: state.offsets.get(&reader).copied(), generation, tried, tries }
}

/// How all groups stand that have a position or a generation, by name and topic.
pub fn all(state: &State) -> impl Iterator<Item = GroupStanding> {
    known(state).map(|reader| standing(state, *reader))
}

fn known(state: &State) -> impl Iterator<Item = &Reader> {
    let fenced = state.groups.keys().filter(|reader| !state.offsets.contains_key(*reader));
    state.offsets.keys().chain(fenced)
}

fn fence(
    state: &State,
    context: &Context,
    reader: Reader,
    (generation, lsn): (u64, Option<Lsn>),
) -> Decision {
    let known = row(state, reader);
    if generation <= known.generation {
        return Err(Refusal::StaleGeneration { expected: known.generation + 1, found: generation });
    }
    let next = match lsn {
        // Where it begins anew, nothing was tried yet.
        Some(_) => GroupRow { generation, tried: 0, tries: 0, ..known },
        None => GroupRow { generation, ..known },
    };
    let mut fact = Fact::new(RecordKind::GroupFenced, hash_of(&reader.0)).with(Row::Group(next));
    if let Some(lsn) = lsn {
        must_be_within(context, lsn)?;
        fact = fact.with(offset(reader, lsn.0));
    }
    let lsn = lsn.map_or_else(|| state.offsets.get(&reader).copied().unwrap_or(0), |lsn| lsn.0);
    Ok(Accepted { fact, receipt: Receipt::Offset { lsn } })
}

/// Counts a try; the last one gives the event up, in the same record that moves the position past it.
fn reject(state: &State, context: &Context, command: &GroupCommand) -> Decision {
    let GroupAsk::Reject { generation, lsn, reason, tries_max } = &command.ask else {
        return Err(Refusal::NotFound);
    };
    let (reader, known) =
        ((command.group, command.topic as u8), row(state, (command.group, command.topic as u8)));
    must_be_current(&known, *generation)?;
    must_be_within(context, *lsn)?;
    let position = state.offsets.get(&reader).copied().unwrap_or(0);
    if lsn.0 <= position {
        return Err(Refusal::Invalid { field: "lsn", expected: "a position behind the group's" });
    }
    if reason.len() > MAX_REASON_BYTES {
        return Err(Refusal::Invalid { field: "reason", expected: "at most 1,024 bytes" });
    }
    let tries = if known.tried == lsn.0 { known.tries.saturating_add(1) } else { 1 };
    let dead = tries >= *tries_max;
    let fact =
        if dead {
            let letter = DeadLetterRow {
                group: command.group,
                topic: command.topic as u8,
                shard: context.map.shard(command.slot).0,
                lsn: lsn.0,
                tries,
                reason: reason.clone(),
            };
            Fact::new(RecordKind::DeadLettered, hash_of(&command.group))
                .with(Row::DeadLetter(Box::new(letter)))
                .with(offset(reader, lsn.0))
                .with(Row::Group(GroupRow { tried: 0, tries: 0, ..known }))
        } else {
            let fact = Fact::new(RecordKind::EventRejected, hash_of(&command.group))
                .with(Row::Group(GroupRow { tried: lsn.0, tries, ..known }));
            if position < lsn.0 - 1 { fact.with(offset(reader, lsn.0 - 1)) } else { fact }
        };
    Ok(Accepted { fact, receipt: Receipt::Rejected { tries, dead } })
}

fn row(state: &State, reader: Reader) -> GroupRow {
    let none = GroupRow { group: reader.0, topic: reader.1, generation: 0, tried: 0, tries: 0 };
    state.groups.get(&reader).copied().unwrap_or(none)
}

fn offset((group, topic): Reader, lsn: u64) -> Row {
    Row::Offset(OffsetRow { group, topic, lsn })
}

fn moved(reader: Reader, lsn: u64) -> Accepted {
    let fact = Fact::new(RecordKind::OffsetCommitted, hash_of(&reader.0)).with(offset(reader, lsn));
    Accepted { fact, receipt: Receipt::Offset { lsn } }
}

fn must_be_named(state: &State, reader: Reader) -> Result<(), Refusal> {
    if reader.0.is_empty() {
        return Err(Refusal::Invalid { field: "group", expected: "1 to 47 bytes" });
    }
    let is_new = !state.offsets.contains_key(&reader) && !state.groups.contains_key(&reader);
    if is_new && !is_own(&reader) && is_full(state) {
        return Err(Refusal::Invalid {
            field: "group",
            expected: "one of the 1,024 that a shard knows already",
        });
    }
    Ok(())
}

fn is_own(reader: &Reader) -> bool {
    OWN_GROUPS.contains(&reader.0.as_str())
}

/// True if as many groups of others are known as may be.
fn is_full(state: &State) -> bool {
    // Whoever has a position and a generation is in both: counting is worth it only where the bound may be reached.
    state.offsets.len() + state.groups.len() >= GROUPS_MAX
        && known(state).filter(|reader| !is_own(reader)).count() >= GROUPS_MAX
}

fn must_be_within(context: &Context, lsn: Lsn) -> Result<(), Refusal> {
    match lsn.0 < context.lsn {
        true => Ok(()),
        false => {
            Err(Refusal::Invalid { field: "lsn", expected: "a position at or before the end of the log" })
        }
    }
}

fn must_be_current(known: &GroupRow, generation: u64) -> Result<(), Refusal> {
    match known.generation == generation {
        true => Ok(()),
        false => Err(Refusal::StaleGeneration { expected: known.generation, found: generation }),
    }
}
