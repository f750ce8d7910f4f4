//! Where nodes listen for each other: as this one was told at its start, and as it was put on record since. What is on
//! record counts, so that a node that is added needs no other one restarted, and one that is struck off stays out.

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
/// Rows that are read at once.
const ROWS_MAX: usize = 64;

/// Where one listens, as a document. Of one that was struck off the address is empty: nobody speaks with it, whoever was told
/// of it at a start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    address: String,
}

/// What is on record of a node: where it listens, or that it was struck off.
type Recorded = BTreeMap<u64, Option<String>>;

impl Place {
    /// An address at which a node can be called; `None` if nobody can.
    pub(crate) fn of(address: &str) -> Option<Self> {
        is_address(address).then(|| Self { address: address.to_owned() })
    }

    /// That of a node that is none any more.
    pub(crate) fn struck_off() -> Self {
        Self { address: String::new() }
    }

    /// The key under which it is on record.
    pub(crate) fn key(node: u64) -> Result<DocKey, Rejection> {
        documents::key(COLLECTION, &node.to_string())
    }
}

/// All nodes that this one knows.
pub(super) struct Places {
    own: u64,
    told: BTreeMap<u64, String>,
    known: RwLock<Arc<BTreeMap<u64, String>>>,
}

impl Places {
    /// What node `own` is told at its start.
    pub(super) fn told(own: u64, told: BTreeMap<u64, String>) -> Self {
        let known = RwLock::new(Arc::new(told.clone()));
        Self { own, told, known }
    }

    /// Where each node listens.
    pub(super) fn known(&self) -> Arc<BTreeMap<u64, String>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This is what is on record now; all nodes if that changes anything. A node stays among those that it knows itself: whether
    /// the others speak with it is theirs to say.
    pub(super) fn recorded(&self, recorded: Recorded) -> Option<Arc<BTreeMap<u64, String>>> {
        let mut all = self.told.clone();
        for (node, address) in recorded {
            match address {
                Some(address) => drop(all.insert(node, address)),
                None if node != self.own => drop(all.remove(&node)),
                None => {}
            }
        }
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
pub(super) fn on_record(engine: &EngineHandle) -> Result<Recorded, onrush_engine::ListError> {
    let prefix = format!("{COLLECTION}/");
    let (mut recorded, mut after) = (Recorded::new(), None);
    loop {
        // Nodes that were struck off stay on record, however many there have been.
        let rows = engine.documents(&prefix, after.as_ref(), ROWS_MAX)?;
        after = rows.last().map(|row| row.key);
        let is_end = rows.len() < ROWS_MAX;
        recorded.extend(rows.into_iter().filter_map(|row| place(&prefix, row)));
        if is_end {
            return Ok(recorded);
        }
    }
}

fn place(prefix: &str, row: onrush_proto::DocumentRow) -> Option<(u64, Option<String>)> {
    let node: u64 = row.key.as_str().strip_prefix(prefix)?.parse().ok().filter(|node| *node > 0)?;
    let Place { address } = serde_json::from_slice(&row.value?).ok()?;
    match address.is_empty() {
        true => Some((node, None)),
        false => is_address(&address).then_some((node, Some(address))),
    }
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

    fn on_record(places: &[(u64, &str)]) -> Recorded {
        let place =
            |(node, address): (u64, String)| (node, Some(address).filter(|address| !address.is_empty()));
        map(places).into_iter().map(place).collect()
    }

    #[test]
    fn what_is_on_record_counts_before_the_settings() {
        let places = Places::told(1, map(&[(1, "a:1"), (2, "b:1")]));
        assert_eq!(places.recorded(on_record(&[])), None, "nothing has changed");
        let all = places.recorded(on_record(&[(2, "c:1"), (4, "d:1")])).unwrap();
        assert_eq!(*all, map(&[(1, "a:1"), (2, "c:1"), (4, "d:1")]));
        assert_eq!(places.known(), all);
        let all = places.recorded(on_record(&[(4, "d:1")])).unwrap();
        assert_eq!(*all, map(&[(1, "a:1"), (2, "b:1"), (4, "d:1")]));
    }

    /// A founder stands among the peers of the others for good: taken off the record it was one of them again.
    #[test]
    fn who_is_struck_off_is_gone_whatever_the_settings_say() {
        let told = [(1, "a:1"), (2, "b:1")];
        let places = Places::told(1, map(&told));
        assert_eq!(*places.recorded(on_record(&[(2, ""), (9, "")])).unwrap(), map(&[(1, "a:1")]));
        assert_eq!(*places.recorded(on_record(&[(2, "b:2")])).unwrap(), map(&[(1, "a:1"), (2, "b:2")]));
        let itself = Places::told(2, map(&told));
        assert_eq!(itself.recorded(on_record(&[(2, "")])), None, "it knows itself");
    }

    #[test]
    fn there_are_never_more_than_a_cluster_may_have() {
        let places = Places::told(1, map(&[(1, "a:1")]));
        let many = (2..=20).map(|node| (node, Some(format!("n{node}:1")))).collect();
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
