//! The nodes of a cluster, as they speak with each other: messages that this crate does not look into, over
//! QUIC.
//!
//! [`Peers`] is one thread with one UDP socket. Each node calls those that it sends to, so between two nodes
//! there are two connections, one for each direction: neither has to agree with the other on whose call
//! counts. A connection begins with a greeting of both sides, which shows that they know the key of the
//! cluster; then come messages, until it breaks. What is lost with it is lost: whoever speaks over this sends
//! again what still holds.
//!
//! Bytes of the greeting and of messages: the section "Between nodes" in `docs/wire.md`.

mod certificate;
mod dial;
#[cfg(test)]
mod document;
mod greeting;
mod key;
mod listen;
mod message;
mod options;
#[expect(clippy::module_inception, reason = "one peer, among the parts of all of them")]
mod peer;
mod peers;
mod queue;
mod refusal;
mod roster;
mod settings;
mod status;

pub use certificate::PEER_ALPN;
pub use greeting::PEER_VERSION;
pub use key::{ClusterId, ClusterKey};
pub use options::{
    ADVERTISED_BYTES_MAX, MESSAGE_BYTES_MAX, PeerError, PeerOptions, QUEUE_BYTES_MAX, SILENCE_MAX,
};
pub use peers::{Incoming, Peers};
pub use refusal::{PeerRefusal, PeerRefused, RefusedBy};
pub use status::{PeerStatus, PeersStatus, Stranger, Traffic};
