//! What a node has to be told to speak with its peers, and why that may not be enough.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::ClusterKey;
use crate::tls::Mutual;

/// Most bytes of a message, unless it is said otherwise: an entry of the log and what a message has beside.
pub const MESSAGE_BYTES_MAX: usize = 9 << 20;
/// Bytes that may wait for one peer, unless it is said otherwise: what replication has in flight.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Silence after which a connection is over, unless it is said otherwise.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Most bytes of what a node says of itself.
pub const ADVERTISED_BYTES_MAX: usize = 1 << 10;

/// A shorter one would end connections between machines that are busy.
const SILENCE_MIN: Duration = Duration::from_millis(100);
/// After a longer one nobody would wait for a node any more.
const SILENCE_LONGEST: Duration = Duration::from_secs(600);

/// Who a node is, and whom it speaks with.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// What all nodes of the cluster know.
    pub key: ClusterKey,
    /// The number of this node.
    pub node: u64,
    /// Where it listens, by UDP; port 0 is one of the system's choice.
    pub listen: SocketAddr,
    /// The nodes of the cluster and where they listen, `host:port`. This node itself may be among them.
    /// Whoever is not is refused.
    pub peers: BTreeMap<u64, String>,
    /// What peers are told of this node, such as where clients find it: at most [`ADVERTISED_BYTES_MAX`] bytes.
    pub advertised: String,
    /// Files by which nodes know each other besides the key; without them each makes a certificate at its
    /// start.
    pub tls: Option<Mutual>,
    /// Bytes of messages that may wait for one peer; at least one message of the largest size.
    pub queue_bytes_max: usize,
    /// Most bytes of a message, the same at all nodes of a cluster.
    pub message_bytes_max: usize,
    /// Silence after which a connection is over, 100 ms to 10 min; of two nodes the shorter one counts. A
    /// node is probed four times within it.
    pub silence_max: Duration,
}

impl PeerOptions {
    /// A node with the usual bounds, that knows nobody yet and says nothing of itself.
    pub fn new(key: ClusterKey, node: u64, listen: SocketAddr) -> Self {
        Self {
            key,
            node,
            listen,
            peers: BTreeMap::new(),
            advertised: String::new(),
            tls: None,
            queue_bytes_max: QUEUE_BYTES_MAX,
            message_bytes_max: MESSAGE_BYTES_MAX,
            silence_max: SILENCE_MAX,
        }
    }

    pub(super) fn check(&self) -> Result<(), PeerError> {
        if self.advertised.len() > ADVERTISED_BYTES_MAX {
            return Err(PeerError::Advertised { found: self.advertised.len() });
        }
        if self.message_bytes_max == 0 || u32::try_from(self.message_bytes_max).is_err() {
            return Err(PeerError::MessageBytes { found: self.message_bytes_max });
        }
        if self.queue_bytes_max < self.message_bytes_max {
            return Err(PeerError::QueueBytes { least: self.message_bytes_max, found: self.queue_bytes_max });
        }
        if !(SILENCE_MIN..=SILENCE_LONGEST).contains(&self.silence_max) {
            return Err(PeerError::Silence { found: self.silence_max });
        }
        check_addresses(&self.peers)
    }
}

/// Refuses addresses that nobody can be called at.
pub(super) fn check_addresses(peers: &BTreeMap<u64, String>) -> Result<(), PeerError> {
    for (&node, address) in peers {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if matches!(port.and_then(|port| port.parse::<u16>().ok()), None | Some(0)) {
            return Err(PeerError::Address { node, found: address.clone() });
        }
    }
    Ok(())
}

/// Why a node cannot speak with peers.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It says too much of itself.
    #[error("advertised: expected at most {ADVERTISED_BYTES_MAX} bytes, found {found}")]
    Advertised {
        /// So many bytes.
        found: usize,
    },
    /// No message has such a bound.
    #[error("message_bytes_max: expected 1 to {}, found {found}", u32::MAX)]
    MessageBytes {
        /// The bound.
        found: usize,
    },
    /// A message of the largest size would never leave.
    #[error("queue_bytes_max: expected at least message_bytes_max, {least}, found {found}")]
    QueueBytes {
        /// As much as one message.
        least: usize,
        /// The bound.
        found: usize,
    },
    /// A connection cannot be told to be over by it.
    #[error("silence_max: expected {SILENCE_MIN:?} to {SILENCE_LONGEST:?}, found {found:?}")]
    Silence {
        /// The bound.
        found: Duration,
    },
    /// Nobody can be called at such an address.
    #[error("peers: expected host:port of node {node}, found {found:?}")]
    Address {
        /// Whose it was to be.
        node: u64,
        /// What it was.
        found: String,
    },
    /// The port cannot be had.
    #[error("listen: expected a UDP port at {address}, found: {error}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The certificate of its own cannot be made or used.
    #[error("expected a certificate of its own, found: {0}")]
    Certificate(String),
    /// The system has no random bytes.
    #[error("expected random bytes of the system, found none")]
    Chance,
    /// The thread cannot be started.
    #[error("expected a thread for peers, found: {0}")]
    Thread(io::Error),
    /// It was closed.
    #[error("expected peers that are spoken with, found them closed")]
    Closed,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_can_never_work_is_refused_by_its_field() {
        let sound = PeerOptions::new(ClusterKey::new([1; 32]), 1, (Ipv4Addr::LOCALHOST, 0).into());
        assert!(sound.check().is_ok());
        let refused = |change: &dyn Fn(&mut PeerOptions)| {
            let mut options = sound.clone();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(refused(&|options| options.advertised = "a".repeat(1_025)).starts_with("advertised: "));
        assert!(refused(&|options| options.message_bytes_max = 0).starts_with("message_bytes_max: "));
        assert!(
            refused(&|options| options.message_bytes_max = usize::MAX).starts_with("message_bytes_max: ")
        );
        assert!(refused(&|options| options.queue_bytes_max = 1 << 20).starts_with("queue_bytes_max: "));
        for silence in [Duration::ZERO, Duration::from_millis(99), Duration::MAX] {
            assert!(refused(&|options| options.silence_max = silence).starts_with("silence_max: "));
        }
        for address in ["", "host", ":1", "host:", "host:0", "host:65536", "host:http"] {
            let found = refused(&|options| drop(options.peers.insert(2, address.into())));
            assert!(found.starts_with("peers: ") && found.contains("node 2"), "{found}");
        }
        for address in ["a.example:1", "127.0.0.1:65535", "[::1]:7"] {
            let options = PeerOptions { peers: [(2, address.to_owned())].into(), ..sound.clone() };
            assert!(options.check().is_ok(), "{address}");
        }
    }
}
