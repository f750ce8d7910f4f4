//! What there is to say of peers, and of strangers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{PeerRefusal, PeerRefused};

/// Messages, and the bytes that they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Their bytes, without what is put around them.
    pub bytes: u64,
}

/// What there is to say of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Where it is called.
    pub address: String,
    /// Messages to it leave: the connection that was made to it stands.
    pub connected: bool,
    /// Messages of it arrive: the connection that it made stands.
    pub heard: bool,
    /// What it said of itself last.
    pub advertised: Option<String>,
    /// What has left.
    pub sent: Traffic,
    /// What has arrived.
    pub received: Traffic,
    /// What was given up: there was no room for it, it was too long, or the connection that it waited for was
    /// not made or broke.
    pub dropped: Traffic,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// The last refusal, by it or of it. One that stands no more stays here: `connected` and `heard` tell.
    pub refused: Option<PeerRefused>,
    /// Why the connection that was made to it is gone, or was not made; none while it stands.
    pub failure: Option<String>,
}

/// Somebody who is none of the peers, or did not show that it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// Where it is.
    pub address: SocketAddr,
    /// The node that it says it is, if it got so far.
    pub node: Option<u64>,
    /// Why it was refused.
    pub refusal: PeerRefusal,
}

/// What there is to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeersStatus {
    /// Of each peer.
    pub peers: BTreeMap<u64, PeerStatus>,
    /// How many strangers were refused.
    pub strangers: u64,
    /// The last of them.
    pub stranger: Option<Stranger>,
    /// Messages to nodes that are no peers.
    pub unaddressed: u64,
}
