//! This process as a node of a cluster: its engine's messages, on the way to others and from them; where callers are
//! told that the nodes are; what works only where the shop is decided.

mod office;
mod places;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use onrush_engine::format::{ClusterFormat, Format, FormatError};
use onrush_engine::replication::{MESSAGE_VERSION, NodeId};
use onrush_engine::{ClusterOptions, EngineHandle, GroupError, HearError, Post};
use onrush_net::peer::{ClusterKey, PEER_VERSION, PeerError, PeerOptions, Peers, PeersStatus};
use onrush_net::tls::{Mutual, MutualError};
use onrush_proto::ShardId;

use crate::config::{ClusterConfig, Config};
use crate::nodes::{Advertised, AdvertisedError, Door, Nodes, NodesError};

pub(crate) use office::{Office, keep_places, keep_watch};
pub(crate) use places::Place;
use places::Places;

// Who would not be understood is refused by its greeting, by name.
const _: () = assert!(PEER_VERSION == MESSAGE_VERSION as u16, "greetings have the version of messages");

/// How long a node that ends looks for somebody to take its office, and how often.
const LEAVING_MAX: Duration = Duration::from_secs(1);
const LEAVING_PAUSE: Duration = Duration::from_millis(5);

/// Why a process is no node.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The data directory's format cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It was not formatted for a cluster.
    #[error("peers: expected a data directory of a node (`onrush format`), found none")]
    NoNode,
    /// It was formatted as another one.
    #[error("node: expected {formatted}, as the data directory was formatted, found {found}")]
    Node {
        /// As it was formatted.
        formatted: u64,
        /// As the setting says.
        found: u64,
    },
    /// It is not among its peers.
    #[error("peers: expected node {node} itself among them, found {found}")]
    NotAmong {
        /// The node.
        node: u64,
        /// Who is.
        found: String,
    },
    /// The others cannot be spoken with.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The certificates between nodes cannot be used.
    #[error(transparent)]
    Mutual(#[from] MutualError),
    /// What clients are to be told of it is no address.
    #[error("advertise: {0}")]
    Advertised(#[from] AdvertisedError),
    /// There are too many nodes.
    #[error(transparent)]
    Nodes(#[from] NodesError),
}

/// The way of the engine's messages. Before the others can be spoken with they are lost, which they may be.
#[derive(Default)]
struct Wire {
    peers: OnceLock<Peers>,
}

impl Post for Wire {
    fn send(&self, to: NodeId, message: Vec<u8>) {
        if let Some(peers) = self.peers.get() {
            // What does not fit is sent again.
            let _ = peers.send(to.0, message);
        }
    }
}

/// A node: whom it speaks with, and how its engine does.
pub(crate) struct Node {
    format: ClusterFormat,
    config: ClusterConfig,
    places: Places,
    wire: Arc<Wire>,
    nodes: Nodes,
    tls: Option<Mutual>,
}

impl Node {
    /// The node that a process is told to be, if it is.
    pub(crate) fn of(config: &Config, nodes: &Nodes) -> Result<Option<Self>, ClusterError> {
        let Some(cluster) = config.cluster.clone() else { return Ok(None) };
        let formatted = Format::read(&config.data_dir)?.and_then(|format| format.cluster);
        let format = formatted.ok_or(ClusterError::NoNode)?;
        let node = format.node.0;
        if let Some(found) = cluster.node.filter(|found| *found != node) {
            return Err(ClusterError::Node { formatted: node, found });
        }
        if !cluster.peers.contains_key(&node) {
            let found: Vec<String> = cluster.peers.keys().map(u64::to_string).collect();
            return Err(ClusterError::NotAmong { node, found: found.join(", ") });
        }
        let read = |files: &crate::config::PeerFiles| {
            Mutual::read(&files.certificate, &files.key, &files.authorities)
        };
        let tls = cluster.tls.as_ref().map(read).transpose()?;
        let places = Places::told(node, cluster.peers.clone());
        let (wire, nodes) = (Arc::default(), nodes.clone());
        Ok(Some(Self { format, config: cluster, places, wire, nodes, tls }))
    }

    /// What its engine is told.
    pub(crate) fn options(&self) -> ClusterOptions {
        ClusterOptions { post: self.wire.clone(), timing: self.config.timing() }
    }

    fn own_address(&self) -> &str {
        self.config.peers.get(&self.format.node.0).map_or("", String::as_str)
    }

    /// What clients are told of it: its doors at the host that it is known by.
    fn advertised(&self, doors: &[(Door, SocketAddr)]) -> Result<Advertised, AdvertisedError> {
        let own = self.own_address().rsplit_once(':').map_or("", |(host, _)| host);
        let host = self.config.advertise.as_deref().unwrap_or(own);
        let door = |told: Advertised, (door, address): &(Door, SocketAddr)| {
            told.with(*door, &format!("{host}:{}", address.port()))
        };
        doors.iter().try_fold(Advertised::default(), door)
    }

    /// Begins to speak with the others.
    pub(crate) fn start(
        &self,
        engine: EngineHandle,
        listen: std::net::IpAddr,
        doors: &[(Door, SocketAddr)],
    ) -> Result<(), ClusterError> {
        let node = self.format.node.0;
        let own = self.own_address().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = self.config.port.or(own).unwrap_or(0);
        let advertised = self.advertised(doors)?;
        self.nodes.replace(node, [(node, advertised.clone())])?;
        let key = ClusterKey::new(self.format.key.proof_secret());
        let options = PeerOptions {
            peers: (*self.places.known()).clone(),
            advertised: advertised.to_string(),
            tls: self.tls.clone(),
            ..PeerOptions::new(key, node, SocketAddr::new(listen, port))
        };
        let incoming = move |from, bytes: &[u8]| {
            match engine.hear(NodeId(from), bytes) {
                // That it has stopped was told.
                Ok(()) | Err(HearError::Group(GroupError::Stopped)) => {}
                Err(error) => tracing::warn!(from, %error, "a message of another node was not taken"),
            }
        };
        let peers = Peers::start(options, Arc::new(incoming))?;
        // There is one start.
        let _ = self.wire.peers.set(peers);
        Ok(())
    }

    /// Takes over what the others say of themselves.
    pub(crate) fn look_around(&self) {
        let Some(peers) = self.wire.peers.get() else { return };
        let own = self.format.node.0;
        let told = |node: &u64| {
            let of_others = || peers.advertised(*node)?.parse::<Advertised>().ok();
            let told = if *node == own {
                self.nodes.advertised(own).map(|told| (*told).clone())
            } else {
                of_others()
            };
            Some((*node, told.unwrap_or_default()))
        };
        let all: BTreeMap<u64, Advertised> = self.places.known().keys().filter_map(told).collect();
        if let Err(error) = self.nodes.replace(own, all) {
            tracing::warn!(%error, "callers are not told of all nodes");
        }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.format.node.0
    }

    /// Where each node listens for the others.
    pub(crate) fn addresses(&self) -> Arc<BTreeMap<u64, String>> {
        self.places.known()
    }

    /// Goes by what is on record of where nodes listen.
    pub(crate) fn look_for_places(&self, engine: &EngineHandle) {
        let recorded = match places::on_record(engine) {
            Ok(recorded) => recorded,
            // One that has stopped says so elsewhere.
            Err(error) => return tracing::debug!(%error, "where nodes listen cannot be read"),
        };
        let (Some(all), Some(peers)) = (self.places.recorded(recorded), self.wire.peers.get()) else {
            return;
        };
        match peers.set_peers(&all) {
            Ok(()) => tracing::info!(nodes = ?all, "nodes are spoken with as they are on record"),
            Err(error) => tracing::warn!(%error, "nodes cannot be spoken with as they are on record"),
        }
    }

    /// What a node says of itself; nothing if it was not heard yet.
    pub(crate) fn advertised_by(&self, node: u64) -> String {
        self.nodes.advertised(node).map(|told| told.to_string()).unwrap_or_default()
    }

    /// How it gets on with the others.
    pub(crate) fn peers(&self) -> Option<PeersStatus> {
        Some(self.wire.peers.get()?.status())
    }

    /// Gives the offices of its engine away, before it turns callers away: they need not wait for an election.
    pub(crate) fn leave_offices(&self, engine: &EngineHandle) {
        let until = Instant::now() + LEAVING_MAX;
        for shard in (0..engine.slot_map().shards()).map(ShardId) {
            while engine.decides(shard) && Instant::now() < until {
                // Declined, it is asked again.
                let _ = engine.leave_office(shard);
                std::thread::sleep(LEAVING_PAUSE);
            }
        }
    }

    /// Says no more.
    pub(crate) fn close(&self) {
        if let Some(peers) = self.wire.peers.get() {
            peers.close();
        }
    }
}
