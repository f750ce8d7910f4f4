//! A node of a cluster on loopback, and what it has heard.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onrush_net::peer::{ClusterKey, PeerOptions, PeerStatus, Peers};

/// As long as a test may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn key(byte: u8) -> ClusterKey {
    ClusterKey::new([byte; ClusterKey::BYTES])
}

/// A node on a port of the system's choice that knows nobody yet. It is patient, so that nothing depends on
/// how fast the machine is.
pub(crate) fn options(node: u64) -> PeerOptions {
    let sound = PeerOptions::new(key(7), node, (Ipv4Addr::LOCALHOST, 0).into());
    PeerOptions { advertised: format!("shop of {node}"), silence_max: PATIENCE, ..sound }
}

/// Messages, and of whom each is.
type Heard = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// A node, and what it has heard of whom.
pub(crate) struct Node {
    pub(crate) peers: Peers,
    heard: Heard,
}

impl Node {
    pub(crate) fn start(options: PeerOptions) -> Self {
        let heard = Heard::default();
        let hearing = Arc::clone(&heard);
        let incoming =
            move |from: u64, message: &[u8]| hearing.lock().unwrap().push((from, message.to_vec()));
        Self { peers: Peers::start(options, Arc::new(incoming)).unwrap(), heard }
    }

    pub(crate) fn address(&self) -> String {
        self.peers.local_addr().to_string()
    }

    /// What it has heard of one node.
    pub(crate) fn heard(&self, from: u64) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(node, _)| *node == from).map(|(_, message)| message.clone()).collect()
    }

    /// How many messages it has heard at all.
    pub(crate) fn heard_of_all(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    pub(crate) fn status(&self, node: u64) -> PeerStatus {
        self.peers.status().peers[&node].clone()
    }

    pub(crate) fn knows(&self, peers: impl IntoIterator<Item = (u64, String)>) {
        let peers: BTreeMap<_, _> = peers.into_iter().collect();
        self.peers.set_peers(&peers).unwrap();
    }
}

/// Nodes that know and reach each other, numbered from 1.
pub(crate) fn cluster(options: impl IntoIterator<Item = PeerOptions>) -> Vec<Node> {
    let nodes: Vec<_> = options.into_iter().map(Node::start).collect();
    let addresses: Vec<_> = (1..).zip(nodes.iter().map(Node::address)).collect();
    nodes.iter().for_each(|node| node.knows(addresses.clone()));
    until("all are connected", || nodes.iter().all(is_connected));
    nodes
}

pub(crate) fn is_connected(node: &Node) -> bool {
    node.peers.status().peers.values().all(|peer| peer.connected && peer.heard)
}

/// The same for a test whose own tasks run meanwhile.
pub(crate) async fn until_async(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
