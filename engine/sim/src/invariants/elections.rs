//! Election safety: at most one leader in a term (Ongaro, 3.2).

use std::collections::BTreeMap;

use onrush_engine::replication::{NodeId, Raft, RoleKind};

use crate::report::{Verdict, Violation};

/// Who led in which term.
#[derive(Default)]
pub(crate) struct Elections {
    leaders: BTreeMap<u64, NodeId>,
}

impl Elections {
    pub(crate) fn look(&mut self, node: NodeId, raft: &Raft) -> Verdict {
        if raft.role() != RoleKind::Leader {
            return Ok(());
        }
        let first = *self.leaders.entry(raft.term()).or_insert(node);
        if first == node {
            return Ok(());
        }
        let expected = format!("{first} to lead alone in term {}", raft.term());
        Err(Violation::new("elections", expected, node.to_string()))
    }
}
