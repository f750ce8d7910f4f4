//! The nodes of a cluster, and where each is reached: what callers are told who asked another node than the one
//! that leads.

mod advertised;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use onrush_proto::frame::NODES_MAX;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::config::Service;

pub(crate) use advertised::is_address;
pub use advertised::{ADDRESS_BYTES_MAX, Advertised, AdvertisedError, Door};

/// The fact of a refusal that says which node leads.
pub(crate) const LEADER: &str = "leader";
/// That which says where its port of the same service is.
pub(crate) const LEADER_ADDRESS: &str = "leader_address";

/// More nodes than a cluster may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("nodes: expected at most {NODES_MAX} with numbers from 1 on, found {found}")]
pub struct NodesError {
    /// How many there were, or the number that none has.
    pub found: u64,
}

/// What every node of the cluster advertises. Cheap to clone; clones share it. A node that stands alone knows of none.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    directory: Arc<RwLock<Directory>>,
}

#[derive(Debug, Default)]
struct Directory {
    own: u64,
    nodes: BTreeMap<u64, Arc<Advertised>>,
}

impl Nodes {
    /// This node has the number `own`, and these are all of the cluster, itself among them. From here on callers are
    /// told so. Of what cannot be nothing is taken over.
    pub fn replace(
        &self,
        own: u64,
        nodes: impl IntoIterator<Item = (u64, Advertised)>,
    ) -> Result<(), NodesError> {
        let nodes: BTreeMap<_, _> = nodes.into_iter().map(|(node, told)| (node, Arc::new(told))).collect();
        if own == 0 || nodes.contains_key(&0) {
            return Err(NodesError { found: 0 });
        }
        if nodes.len() > NODES_MAX {
            return Err(NodesError { found: nodes.len() as u64 });
        }
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Directory { own, nodes };
        Ok(())
    }

    /// The number of this node; 0 while it stands alone.
    pub fn own(&self) -> u64 {
        self.read(|directory| directory.own)
    }

    /// What a node advertises, if it is known.
    pub fn advertised(&self, node: u64) -> Option<Arc<Advertised>> {
        self.read(|directory| directory.nodes.get(&node).cloned())
    }

    /// All that have such a door, by number, with its address.
    pub fn at(&self, door: Door) -> Vec<(u64, String)> {
        let address = |(node, told): (&u64, &Arc<Advertised>)| Some((*node, told.address(door)?.to_owned()));
        self.read(|directory| directory.nodes.iter().filter_map(address).collect())
    }

    fn read<T>(&self, read: impl FnOnce(&Directory) -> T) -> T {
        read(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The nodes as the callers of one service's port are told of them.
#[derive(Clone, Debug)]
pub(crate) struct Signpost {
    nodes: Nodes,
    service: Service,
}

impl Signpost {
    pub(crate) fn new(nodes: Nodes, service: Service) -> Self {
        Self { nodes, service }
    }

    /// What is to be added to the facts of a refusal that names who leads, if it is known where that is.
    pub(crate) fn address<'a>(&self, fact: impl Fn(&str) -> Option<&'a String>) -> Option<(String, String)> {
        if fact(LEADER_ADDRESS).is_some() {
            return None;
        }
        let advertised = self.nodes.advertised(fact(LEADER)?.parse().ok()?)?;
        let address = advertised.address(Door::Service(self.service))?;
        Some((LEADER_ADDRESS.to_owned(), address.to_owned()))
    }

    /// A status that names who leads, with where that is; `None` if there is nothing to add.
    pub(crate) fn guided(&self, status: &Status) -> Option<Status> {
        let mut details = status.get_error_details();
        let info = details.error_info()?.clone();
        let address = self.address(|name| info.metadata.get(name))?;
        let facts: HashMap<_, _> = info.metadata.into_iter().chain([address]).collect();
        details.set_error_info(info.reason, info.domain, facts);
        let metadata = status.metadata().clone();
        Some(Status::with_error_details_and_metadata(status.code(), status.message(), details, metadata))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signpost_says_where_the_leaders_port_of_the_same_service_is() {
        let nodes = Nodes::default();
        assert_eq!((nodes.own(), nodes.at(Door::Native)), (0, vec![]));
        let told = |text: &str| text.parse::<Advertised>().unwrap();
        let all = [(1, told("order=a:1,native=a:2")), (2, told("order=b:1")), (3, told("native=c:2"))];
        nodes.replace(2, all).unwrap();
        assert_eq!(nodes.own(), 2);
        assert_eq!(nodes.at(Door::Native), [(1, "a:2".to_owned()), (3, "c:2".to_owned())]);
        let signpost = Signpost::new(nodes.clone(), Service::Order);
        let address = |leader: &str| {
            let facts = BTreeMap::from([(LEADER.to_owned(), leader.to_owned())]);
            signpost.address(|name| facts.get(name)).map(|(_, address)| address)
        };
        let found = ["1", "2", "3", "4", "", "one"].map(address);
        assert_eq!(found, [Some("a:1".into()), Some("b:1".into()), None, None, None, None]);
        let facts = BTreeMap::from([(LEADER, "1".to_owned()), (LEADER_ADDRESS, "x:1".to_owned())]);
        assert_eq!(signpost.address(|name| facts.get(name)), None, "it stands there already");
    }

    #[test]
    fn what_no_cluster_has_changes_nothing() {
        let nodes = Nodes::default();
        let many = |from: u64| (from..from + 17).map(|node| (node, Advertised::default()));
        assert_eq!(nodes.replace(1, many(1)), Err(NodesError { found: 17 }));
        assert_eq!(nodes.replace(1, many(0).take(2)), Err(NodesError { found: 0 }));
        assert_eq!(nodes.replace(0, many(1).take(2)), Err(NodesError { found: 0 }));
        assert_eq!((nodes.own(), nodes.advertised(1)), (0, None));
        nodes.replace(1, many(1).take(16)).unwrap();
        assert!(nodes.advertised(16).is_some());
    }
}
