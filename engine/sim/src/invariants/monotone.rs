//! Terms, commits and what is applied never go back in a life, and what is applied is on disk; a term in which a node
//! has spoken survives it.

use onrush_engine::replication::Raft;

use crate::report::{Verdict, Violation};

const NAME: &str = "monotone";

/// What was last seen of a life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Seen {
    term: u64,
    commit: u64,
    applied: u64,
}

/// `spoke_in` is the highest term of any message that has left the node, over all its lives; `on_disk` how many entries
/// its disk holds.
pub(crate) fn look((spoke_in, on_disk): (u64, usize), raft: &Raft, applied: u64, seen: &mut Seen) -> Verdict {
    let now = Seen { term: raft.term(), commit: raft.commit(), applied };
    if now.term < seen.term || now.commit < seen.commit || now.applied < seen.applied {
        let expected = format!("{} at {seen:?} or later", raft.id());
        return Err(Violation::new(NAME, expected, format!("{now:?}")));
    }
    *seen = now;
    if applied > on_disk as u64 {
        let expected = format!("entry {applied}, which is applied, on the disk of {}", raft.id());
        return Err(Violation::new(NAME, expected, format!("{on_disk} entries")));
    }
    if raft.term() < spoke_in {
        let expected = format!("{} in term {spoke_in} or later, in which it has spoken", raft.id());
        return Err(Violation::new(NAME, expected, raft.term().to_string()));
    }
    if applied > raft.commit() || raft.commit() > raft.log().last().index {
        let expected = format!("applied <= commit <= end at {}", raft.id());
        let found = format!("{applied}, {}, {}", raft.commit(), raft.log().last().index);
        return Err(Violation::new(NAME, expected, found));
    }
    Ok(())
}
