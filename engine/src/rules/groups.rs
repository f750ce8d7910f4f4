//! Consumer groups: how far each has read this shard's log. In no topic.

use onrush_proto::{CommitOffset, Fact, OffsetRow, Receipt, RecordKind, Refusal, Row};

use super::{Accepted, Context, Decision};
use crate::state::State;
use crate::tables::hash_of;

/// Records a position. It may go back (a replay of events), never past the end.
pub fn commit(context: &Context, commit: &CommitOffset) -> Decision {
    let lsn = commit.lsn.ok_or(Refusal::Invalid { field: "lsn", expected: "a position" })?;
    if commit.group.is_empty() {
        return Err(Refusal::Invalid { field: "group", expected: "1 to 47 bytes" });
    }
    if lsn.0 >= context.lsn {
        return Err(Refusal::Invalid {
            field: "lsn",
            expected: "a position at or before the end of the log",
        });
    }
    let row = OffsetRow { group: commit.group, topic: commit.topic as u8, lsn: lsn.0 };
    let fact = Fact::new(RecordKind::OffsetCommitted, hash_of(&commit.group)).with(Row::Offset(row));
    Ok(Accepted { fact, receipt: Receipt::Offset { lsn: lsn.0 } })
}

/// A group's position; 0 if it never committed.
pub fn position(state: &State, commit: &CommitOffset) -> u64 {
    state.offsets.get(&(commit.group, commit.topic as u8)).copied().unwrap_or(0)
}
