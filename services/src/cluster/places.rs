//! Where nodes listen for each other: as this one was told at its start, and as it was put on record since. What is on
//! record counts, so that a node that is added needs no other one restarted.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use onrush_engine::EngineHandle;
use onrush_proto::frame::NODES_MAX;
use onrush_proto::{DocKey, ShardId};
use serde::{Deserialize, Serialize};

use crate::documents;
use crate::nodes::is_address;
use crate::status::Rejection;

/// The collection of nodes: each has its number there.
const COLLECTION: &str = "nodes";

/// Where one listens, as a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    address: String,
}

impl Place {
    /// An address at which a node can be called; `None` if nobody can.
    pub(crate) fn of(address: &str) -> Option<Self> {
        is_address(address).then(|| Self { address: address.to_owned() })
    }

    /// The key under which it is on record.
    pub(crate) fn key(node: u64) -> Result<DocKey, Rejection> {
        documents::key(COLLECTION, &node.to_string())
    }
}

/// All nodes that this one knows.
pub(super) struct Places {
    told: BTreeMap<u64, String>,
    known: RwLock<Arc<BTreeMap<u64, String>>>,
}

impl Places {
    /// What a node is told at its start.
    pub(super) fn told(told: BTreeMap<u64, String>) -> Self {
        let known = RwLock::new(Arc::new(told.clone()));
        Self { told, known }
    }

    /// Where each node listens.
    pub(super) fn known(&self) -> Arc<BTreeMap<u64, String>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This is what is on record now; all nodes if that changes anything.
    pub(super) fn recorded(&self, recorded: BTreeMap<u64, String>) -> Option<Arc<BTreeMap<u64, String>>> {
        let mut all = self.told.clone();
        all.extend(recorded);
        // Two who put nodes on record at once may pass the bound: those that came last wait.
        while all.len() > NODES_MAX {
            all.pop_last();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if **known == all {
            return None;
        }
        *known = Arc::new(all);
        Some(Arc::clone(&known))
    }
}

/// What is on record, as far as this node has applied the log. Reads the store: not for a front.
///
/// # Errors
/// What keeps the rows from being read.
pub(super) fn on_record(engine: &EngineHandle) -> Result<BTreeMap<u64, String>, onrush_engine::ListError> {
    let prefix = format!("{COLLECTION}/");
    let rows = engine.documents(&prefix, None, 2 * NODES_MAX)?;
    let place = |row: onrush_proto::DocumentRow| {
        let node: u64 = row.key.as_str().strip_prefix(&prefix)?.parse().ok().filter(|node| *node > 0)?;
        let Place { address } = serde_json::from_slice(&row.value?).ok()?;
        is_address(&address).then_some((node, address))
    };
    Ok(rows.into_iter().filter_map(place).collect())
}

/// How far the logs are that have been applied here: nothing new can be on record before that has changed.
pub(super) fn position(engine: &EngineHandle) -> u64 {
    (0..engine.slot_map().shards()).map(|shard| engine.end(ShardId(shard)).0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(places: &[(u64, &str)]) -> BTreeMap<u64, String> {
        places.iter().map(|(node, address)| (*node, (*address).to_owned())).collect()
    }

    #[test]
    fn what_is_on_record_counts_and_what_is_taken_off_leaves_the_settings() {
        let places = Places::told(map(&[(1, "a:1"), (2, "b:1")]));
        assert_eq!(places.recorded(map(&[])), None, "nothing has changed");
        let all = places.recorded(map(&[(2, "c:1"), (4, "d:1")])).unwrap();
        assert_eq!(*all, map(&[(1, "a:1"), (2, "c:1"), (4, "d:1")]));
        assert_eq!(places.known(), all);
        assert_eq!(*places.recorded(map(&[(4, "d:1")])).unwrap(), map(&[(1, "a:1"), (2, "b:1"), (4, "d:1")]));
        assert_eq!(*places.recorded(map(&[])).unwrap(), map(&[(1, "a:1"), (2, "b:1")]));
    }

    #[test]
    fn there_are_never_more_than_a_cluster_may_have() {
        let places = Places::told(map(&[(1, "a:1")]));
        let many: BTreeMap<u64, String> = (2..=20).map(|node| (node, format!("n{node}:1"))).collect();
        let all = places.recorded(many).unwrap();
        assert_eq!((all.len(), all.keys().last().copied()), (NODES_MAX, Some(NODES_MAX as u64)));
    }

    #[test]
    fn an_address_that_nobody_can_call_is_none() {
        for bad in ["", "host", ":7200", "host:", "host:0", "host:65536", "a b:1"] {
            assert_eq!(Place::of(bad), None, "{bad:?}");
        }
        assert!(Place::of("10.0.0.4:7200").is_some() && Place::of("[::1]:7").is_some());
    }
}
