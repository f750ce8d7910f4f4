//! All peers, and whom else there was.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::greeting::{Greeting, Instance};
use super::peer::{Older, Peer};
use super::{ClusterKey, Incoming, PeerOptions, PeerRefusal, PeerRefused, PeersStatus, RefusedBy, Stranger};

/// Refusals of strangers that are remembered so that they are told once; beyond them none is told.
const TOLD_MAX: usize = 1_024;

/// What a lock keeps. Nothing here panics while it holds one, and each change is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node, and all whom it knows.
pub(super) struct Roster {
    pub(super) key: ClusterKey,
    pub(super) node: u64,
    pub(super) instance: Instance,
    pub(super) advertised: String,
    pub(super) message_bytes_max: usize,
    pub(super) queue_bytes_max: usize,
    pub(super) incoming: Incoming,
    peers: RwLock<BTreeMap<u64, Arc<Peer>>>,
    strangers: Mutex<(u64, Option<Stranger>)>,
    pub(super) unaddressed: AtomicU64,
    told: Mutex<HashSet<Told>>,
}

/// Of whom the log was told, and what.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Told {
    who: Who,
    by: RefusedBy,
    code: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Node(u64),
    Address(IpAddr),
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("node", &self.node).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Roster {
    /// A node that knows nobody yet.
    pub(super) fn new(options: &PeerOptions, instance: Instance, incoming: Incoming) -> Self {
        Self {
            key: options.key.clone(),
            node: options.node,
            instance,
            advertised: options.advertised.clone(),
            message_bytes_max: options.message_bytes_max,
            queue_bytes_max: options.queue_bytes_max,
            incoming,
            peers: RwLock::default(),
            strangers: Mutex::default(),
            unaddressed: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// What this node says to the one that it wants.
    pub(super) fn greeting(&self, wanted: u64) -> Greeting {
        Greeting {
            cluster: self.key.id(),
            node: self.node,
            wanted,
            instance: self.instance,
            // It was checked at the start.
            message_bytes_max: u32::try_from(self.message_bytes_max).unwrap_or(u32::MAX),
            advertised: self.advertised.clone(),
        }
    }

    pub(super) fn peer(&self, node: u64) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// From now on these are the peers: those that are new among them, and those that are none any more.
    pub(super) fn replace(&self, peers: &BTreeMap<u64, String>) -> (Vec<Arc<Peer>>, Vec<Arc<Peer>>) {
        let mut known = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            known.extract_if(.., |node, _| !peers.contains_key(node)).map(|(_, peer)| peer).collect();
        let mut new = Vec::new();
        for (&node, address) in peers {
            if let Some(peer) = known.get(&node) {
                peer.moves(address);
            } else if node != self.node {
                let peer = Arc::new(Peer::new(node, address.clone(), self.queue_bytes_max));
                known.insert(node, Arc::clone(&peer));
                new.push(peer);
            }
        }
        (new, gone)
    }

    /// A connection whose greeting is proven comes in, if it is of a peer; an older one of the same node is
    /// told that it is replaced.
    pub(super) fn enter(
        &self,
        connection: &quinn::Connection,
        greeting: &Greeting,
    ) -> Result<Arc<Peer>, PeerRefusal> {
        let node = greeting.node;
        let (peer, older) = {
            // Whoever is removed meanwhile waits, and finds it.
            let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
            let peer = peers.get(&node).ok_or(PeerRefusal::UnknownNode { node })?;
            (Arc::clone(peer), peer.hear(connection, greeting)?)
        };
        match older {
            Some(Older { connection, is_other_process: true }) => {
                let refusal = PeerRefusal::Replaced { node };
                refusal.close(&connection);
                self.refuse(&peer, PeerRefused::by_us(refusal));
            }
            Some(Older { connection, .. }) => connection.close(super::refusal::LEFT, b""),
            None => {}
        }
        Ok(peer)
    }

    /// A peer was refused, or has refused this node: the log is told once.
    pub(super) fn refuse(&self, peer: &Peer, refused: PeerRefused) {
        let (node, by, refusal) = (peer.node, refused.by, refused.refusal.clone());
        peer.refuse(refused);
        if self.is_news(Who::Node(node), by, &refusal) {
            match by {
                RefusedBy::Us => tracing::warn!(node, %refusal, "a peer is refused"),
                RefusedBy::Them => tracing::warn!(node, %refusal, "a peer refuses this node"),
            }
        }
    }

    /// Somebody was refused who is no peer, or did not show that it is.
    pub(super) fn refuse_stranger(&self, stranger: Stranger) {
        let Stranger { address, node, refusal } = stranger.clone();
        {
            let mut strangers = lock(&self.strangers);
            strangers.0 += 1;
            strangers.1 = Some(stranger);
        }
        if self.is_news(Who::Address(address.ip()), RefusedBy::Us, &refusal) {
            tracing::warn!(%address, node, %refusal, "a stranger is refused");
        }
    }

    /// What is refused from here on is told again: all was well for a while.
    pub(super) fn forget(&self, node: u64) {
        lock(&self.told).retain(|told| told.who != Who::Node(node));
    }

    fn is_news(&self, who: Who, by: RefusedBy, refusal: &PeerRefusal) -> bool {
        let mut told = lock(&self.told);
        // Members are few, whatever strangers there are.
        let has_room = told.len() < TOLD_MAX || matches!(who, Who::Node(_));
        has_room && told.insert(Told { who, by, code: refusal.code() })
    }

    pub(super) fn status(&self) -> PeersStatus {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let peers = peers.iter().map(|(&node, peer)| (node, peer.status())).collect();
        let (strangers, stranger) = lock(&self.strangers).clone();
        PeersStatus { peers, strangers, stranger, unaddressed: self.unaddressed.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn roster() -> Roster {
        let options = PeerOptions::new(ClusterKey::new([1; 32]), 1, (Ipv4Addr::LOCALHOST, 0).into());
        Roster::new(&options, Instance([1; 16]), Arc::new(|_, _| {}))
    }

    #[test]
    fn a_refusal_is_news_once_until_all_was_well() {
        let roster = roster();
        let refusal = PeerRefusal::UnknownNode { node: 1 };
        let is_news = |node, by| roster.is_news(Who::Node(node), by, &refusal);
        assert!(is_news(2, RefusedBy::Us) && !is_news(2, RefusedBy::Us));
        assert!(is_news(2, RefusedBy::Them) && is_news(3, RefusedBy::Us));
        roster.forget(2);
        assert!(is_news(2, RefusedBy::Us) && !is_news(3, RefusedBy::Us));
    }

    #[test]
    fn strangers_fill_no_memory() {
        let roster = roster();
        for number in 0..2 * TOLD_MAX as u32 {
            let address = Who::Address(Ipv4Addr::from(number).into());
            let told = roster.is_news(address, RefusedBy::Us, &PeerRefusal::Garbage);
            assert_eq!(told, number < TOLD_MAX as u32);
        }
        assert!(roster.is_news(Who::Node(2), RefusedBy::Us, &PeerRefusal::Garbage));
    }

    #[test]
    fn peers_that_stay_are_the_same_and_the_own_number_is_none() {
        let roster = roster();
        let at = |port: u16| format!("a.example:{port}");
        let numbers = |peers: &[Arc<Peer>]| peers.iter().map(|peer| peer.node).collect::<Vec<_>>();
        let (new, gone) = roster.replace(&[(1, at(1)), (2, at(2)), (3, at(3))].into());
        assert_eq!((numbers(&new), numbers(&gone)), (vec![2, 3], vec![]));
        let second = roster.peer(2).unwrap();
        let (new, gone) = roster.replace(&[(2, at(7)), (4, at(4))].into());
        assert_eq!((numbers(&new), numbers(&gone)), (vec![4], vec![3]));
        assert!(Arc::ptr_eq(&second, &roster.peer(2).unwrap()));
        assert_eq!(second.address(), at(7));
        assert!(roster.peer(1).is_none() && roster.peer(3).is_none());
    }
}
