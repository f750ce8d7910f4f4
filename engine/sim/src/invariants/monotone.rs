//! Terms, commits and what is applied never go back; a term in which a node has spoken survives it.

use onrush_engine::replication::Raft;

use crate::report::{Verdict, Violation};

const NAME: &str = "monotone";

/// `spoke_in` is the highest term of any message that has left the node, over all its lives.
pub(crate) fn look(spoke_in: u64, raft: &Raft, applied: u64) -> Verdict {
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
