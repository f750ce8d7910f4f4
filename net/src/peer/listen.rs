//! Nodes that call this one: who they are is shown first, then their messages come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{ConnectionError, Endpoint, ReadError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::dial::PAUSE_MAX;
use super::greeting::{Channel, Heard};
use super::message::Messages;
use super::peer::Peer;
use super::roster::Roster;
use super::{PeerRefusal, PeerRefused, Stranger, settings};

/// How long a handshake, and then a greeting, may take.
pub(super) const GREETING_TIME_MAX: Duration = Duration::from_secs(5);
/// Connections that may be on their way in.
pub(super) const ARRIVING_MAX: usize = 64;
/// While so many are, a caller has to show first that it is where it says it is.
const UNPROVEN_MAX: usize = 16;
/// Most bytes that are read in one go.
const READ_BYTES_MAX: usize = 1 << 20;

/// Takes connections until the endpoint is closed.
pub(super) async fn listen(roster: Arc<Roster>, endpoint: Endpoint) {
    let places = Arc::new(Semaphore::new(ARRIVING_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let arriving = ARRIVING_MAX - places.available_permits();
        if arriving >= UNPROVEN_MAX && !incoming.remote_address_validated() {
            // An error means that it was asked to before.
            let _ = incoming.retry();
            continue;
        }
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(receive(Arc::clone(&roster), incoming, place))),
            Err(_) => incoming.refuse(),
        }
    }
}

/// One connection, from its first packet to its end.
async fn receive(roster: Arc<Roster>, incoming: quinn::Incoming, place: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let shake = async { incoming.accept()?.await };
    let connection = match timeout(GREETING_TIME_MAX, shake).await.unwrap_or(Err(ConnectionError::TimedOut)) {
        Ok(connection) => connection,
        Err(error) => {
            if let Some(PeerRefused { refusal, .. }) = PeerRefused::of(&error) {
                roster.refuse_stranger(Stranger { address, node: None, refusal });
            }
            return;
        }
    };
    let late = Err(Unmet::refused(None, PeerRefusal::Late));
    let met = timeout(GREETING_TIME_MAX, meet(&roster, &connection)).await.unwrap_or(late);
    drop(place);
    match met {
        Ok(standing) => {
            let began = Instant::now();
            let peer = Arc::clone(&standing.peer);
            let refused = read(&roster, &peer, &connection).await;
            drop(standing);
            if began.elapsed() >= PAUSE_MAX {
                roster.forget(peer.node);
            }
            if let Some(refused) = refused {
                roster.refuse(&peer, refused);
            }
        }
        Err(Unmet::Gone) => {}
        Err(Unmet::Refused { node, peer, refusal }) => {
            refusal.close(&connection);
            match peer {
                Some(peer) => roster.refuse(&peer, PeerRefused::by_us(refusal)),
                None => roster.refuse_stranger(Stranger { address, node, refusal }),
            }
        }
    }
}

/// A connection of a peer that stands. It is over with the task that greets and reads, however that ends.
struct Standing {
    peer: Arc<Peer>,
    connection: quinn::Connection,
}

impl Drop for Standing {
    fn drop(&mut self) {
        // With the last of its handles it is closed.
        self.peer.unhear(&self.connection);
    }
}

/// Why a connection goes no further than its greeting.
enum Unmet {
    /// The other side is gone, or has refused this one.
    Gone,
    /// It is refused.
    Refused {
        /// The node that it says it is.
        node: Option<u64>,
        /// The peer that it is, if that is proven.
        peer: Option<Arc<Peer>>,
        refusal: PeerRefusal,
    },
}

impl Unmet {
    fn refused(node: Option<u64>, refusal: PeerRefusal) -> Self {
        Self::Refused { node, peer: None, refusal }
    }
}

/// Hears who calls, and answers if it is a peer.
async fn meet(roster: &Roster, connection: &quinn::Connection) -> Result<Standing, Unmet> {
    let (mut sink, mut source) = connection.accept_bi().await.map_err(|_| Unmet::Gone)?;
    let heard = Heard::read(&mut source).await.map_err(|_| Unmet::Gone)?;
    let heard = heard.map_err(|refusal| Unmet::refused(None, refusal))?;
    let node = heard.greeting.node;
    let stranger = |refusal| Unmet::refused(Some(node), refusal);
    let (expected, found) = (roster.key.id(), heard.greeting.cluster);
    if expected != found {
        return Err(stranger(PeerRefusal::Cluster { expected, found }));
    }
    let channel = Channel::new(&roster.key, connection).map_err(stranger)?;
    channel.check_call(&heard).map_err(stranger)?;
    // From here on it is known to be of the cluster.
    if node == roster.node {
        return Err(stranger(PeerRefusal::DuplicateNode { node }));
    }
    if heard.greeting.wanted != roster.node {
        let refusal = PeerRefusal::Addressee { expected: roster.node, found: heard.greeting.wanted };
        return Err(Unmet::Refused { node: Some(node), peer: roster.peer(node), refusal });
    }
    let peer = roster.enter(connection, &heard.greeting).map_err(stranger)?;
    let standing = Standing { peer, connection: connection.clone() };
    settings::admit(connection);
    let answer = channel.answer(&roster.greeting(node), &heard);
    match sink.write_all(&answer).await.is_ok() && sink.finish().is_ok() {
        true => Ok(standing),
        false => Err(Unmet::Gone),
    }
}

/// Hands over what comes, until the connection ends; a refusal if that is why.
async fn read(roster: &Roster, peer: &Peer, connection: &quinn::Connection) -> Option<PeerRefused> {
    let mut stream = match connection.accept_uni().await {
        Ok(stream) => stream,
        Err(error) => return PeerRefused::of(&error),
    };
    let mut messages = Messages::new(roster.message_bytes_max);
    loop {
        let piece = match stream.read_chunk(READ_BYTES_MAX, true).await {
            Ok(Some(piece)) => piece,
            Err(ReadError::ConnectionLost(error)) => return PeerRefused::of(&error),
            // A node ends its connection, never its stream.
            Ok(None) | Err(_) => {
                PeerRefusal::Garbage.close(connection);
                return Some(PeerRefused::by_us(PeerRefusal::Garbage));
            }
        };
        // Of one that was removed or replaced meanwhile nothing more is taken.
        if let Some(error) = connection.close_reason() {
            return PeerRefused::of(&error);
        }
        let taken = messages.take(&piece.bytes, |message| {
            peer.received.add(1, message.len() as u64);
            (roster.incoming)(peer.node, message);
        });
        if let Err(refusal) = taken {
            refusal.close(connection);
            return Some(PeerRefused::by_us(refusal));
        }
    }
}
