//! The nodes that this one calls: a connection to each, made again whenever it is gone, and what waits for it
//! leaves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{ClientConfig, ConnectionError, Endpoint, SendStream, WriteError};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::certificate::MADE_NAME;
use super::greeting::{Channel, Greeting, Heard};
use super::listen::GREETING_TIME_MAX;
use super::message::prefix;
use super::peer::Peer;
use super::roster::Roster;
use super::{PeerRefusal, PeerRefused};

/// The first pause before a node is called again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest. A connection that stood for as long begins with the first pause again.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes of messages that leave together.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A message of so many bytes is not copied to stand behind others.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// How nodes are called.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) roster: Arc<Roster>,
    pub(super) endpoint: Endpoint,
    pub(super) config: ClientConfig,
    /// How long somebody who says nothing is waited for; somebody who never comes to an end with the
    /// handshake, too.
    pub(super) silence_max: Duration,
    /// Certificates stand for the names at which nodes are called.
    pub(super) is_named: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{address}: {error}")]
    Address { address: String, error: io::Error },
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Refused(PeerRefusal),
    #[error("the node was removed, or is elsewhere now")]
    Stale,
    #[error("the node has called meanwhile, and is called again at once")]
    Awake,
}

impl Failure {
    fn refused(&self) -> Option<PeerRefused> {
        match self {
            Self::Connection(error) => PeerRefused::of(error),
            Self::Refused(refusal) => Some(PeerRefused::by_us(refusal.clone())),
            Self::Address { .. } | Self::Stale | Self::Awake => None,
        }
    }
}

impl Dialler {
    /// Keeps a connection to a peer, for ever.
    pub(super) async fn keep(self, peer: Arc<Peer>) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let Err(failure) = self.converse(&peer).await;
            if let Failure::Awake = failure {
                continue;
            }
            if began.elapsed() >= PAUSE_MAX && !matches!(failure, Failure::Refused(_)) {
                pause = PAUSE_MIN;
                self.roster.forget(peer.node);
            }
            // An end that this node has made for a reason has told it already.
            if let Some(refused) = failure.refused() {
                self.roster.refuse(&peer, refused);
            }
            peer.disconnect(failure.to_string());
            tracing::debug!(node = peer.node, %failure, "no connection to a peer");
            if timeout(jitter(pause), peer.is_awake()).await.is_ok() {
                pause = PAUSE_MIN;
            } else {
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// One connection: it is made, and what waits leaves on it, until it ends.
    async fn converse(&self, peer: &Peer) -> Result<std::convert::Infallible, Failure> {
        let address = peer.address();
        let connection = self.connect(peer, &address).await?;
        let greeted = timeout(GREETING_TIME_MAX, self.greet(peer, &connection)).await;
        let greeting = match greeted.unwrap_or(Err(Failure::Refused(PeerRefusal::Late))) {
            Ok(greeting) => greeting,
            Err(failure) => {
                if let Failure::Refused(refusal) = &failure {
                    refusal.close(&connection);
                }
                return Err(failure);
            }
        };
        let most = usize::try_from(greeting.message_bytes_max).unwrap_or(usize::MAX);
        let mut stream = connection.open_uni().await?;
        if !peer.connect(&connection, &address, greeting) {
            return Err(Failure::Stale);
        }
        tracing::debug!(node = peer.node, address, "connected to a peer");
        loop {
            let batch = tokio::select! {
                batch = peer.queue.take(BATCH_BYTES_MAX) => batch,
                error = connection.closed() => return Err(error.into()),
            };
            write(peer, &mut stream, batch, most).await.map_err(|error| match error {
                WriteError::ConnectionLost(error) => error,
                // Nobody stops the stream.
                _ => connection.close_reason().unwrap_or(ConnectionError::LocallyClosed),
            })?;
        }
    }

    /// Tries each address that the name has.
    async fn connect(&self, peer: &Peer, address: &str) -> Result<quinn::Connection, Failure> {
        let wrong = |error: io::Error| Failure::Address { address: address.to_owned(), error };
        let mut failure = wrong(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for target in lookup_host(address).await.map_err(wrong)? {
            let connected = tokio::select! {
                connected = self.connect_to(address, target) => connected,
                // It was started meanwhile, and what was sent to it before is lost.
                () = peer.is_awake() => return Err(Failure::Awake),
            };
            match connected {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, address: &str, target: SocketAddr) -> Result<quinn::Connection, Failure> {
        let name = if self.is_named { host(address) } else { MADE_NAME };
        let connecting = self.endpoint.connect_with(self.config.clone(), target, name).map_err(|error| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, error);
            Failure::Address { address: address.to_owned(), error }
        })?;
        Ok(timeout(GREETING_TIME_MAX.max(self.silence_max), connecting)
            .await
            .unwrap_or(Err(ConnectionError::TimedOut))?)
    }

    /// Says who this is, and hears whether the other one is who was wanted.
    async fn greet(&self, peer: &Peer, connection: &quinn::Connection) -> Result<Greeting, Failure> {
        let lost = || connection.close_reason().unwrap_or(ConnectionError::LocallyClosed);
        let roster = &self.roster;
        let channel = Channel::new(&roster.key, connection).map_err(Failure::Refused)?;
        let called = channel.call(&roster.greeting(peer.node));
        let (mut sink, mut source) = connection.open_bi().await?;
        sink.write_all(&called).await.map_err(|_| lost())?;
        let heard = Heard::read(&mut source).await;
        let heard = heard.map_err(|_| connection.close_reason().unwrap_or_else(lost))?;
        let heard = heard.map_err(Failure::Refused)?;
        check(roster, peer, &channel, &heard, &called).map_err(Failure::Refused)?;
        // A stream that was not finished would be reset, and the greeting with it.
        let _ = sink.finish();
        Ok(heard.greeting)
    }
}

fn check(
    roster: &Roster,
    peer: &Peer,
    channel: &Channel<'_>,
    heard: &Heard,
    called: &[u8],
) -> Result<(), PeerRefusal> {
    let (expected, found) = (roster.key.id(), heard.greeting.cluster);
    if expected != found {
        return Err(PeerRefusal::Cluster { expected, found });
    }
    channel.check_answer(heard, called)?;
    let said = &heard.greeting;
    for (expected, found) in [(peer.node, said.node), (roster.node, said.wanted)] {
        if expected != found {
            return Err(PeerRefusal::Addressee { expected, found });
        }
    }
    Ok(())
}

/// Messages leave together; one that the other side does not read is dropped.
async fn write(
    peer: &Peer,
    stream: &mut SendStream,
    batch: Vec<Vec<u8>>,
    most: usize,
) -> Result<(), WriteError> {
    let (mut pieces, mut together) = (Vec::new(), Vec::new());
    let (mut messages, mut bytes) = (0, 0);
    for message in batch {
        let length = message.len();
        if length > most {
            peer.dropped.add(1, length as u64);
            continue;
        }
        (messages, bytes) = (messages + 1, bytes + length as u64);
        together.extend(prefix(length));
        if length <= COPIED_BYTES_MAX {
            together.extend(message);
        } else {
            pieces.push(std::mem::take(&mut together).into());
            pieces.push(message.into());
        }
    }
    if !together.is_empty() {
        pieces.push(together.into());
    }
    let written = stream.write_all_chunks(&mut pieces).await;
    // Of those that a connection broke with, some may have arrived.
    let count = if written.is_ok() { &peer.sent } else { &peer.dropped };
    count.add(messages, bytes);
    written
}

/// The host of `host:port`, as it stands in certificates.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Half of it at least, so that nodes that were cut off together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let mut dice = [0; 4];
    match super::key::random(&mut dice) {
        Ok(()) => pause.mul_f64(0.5 + f64::from(u32::from_le_bytes(dice)) / f64::from(u32::MAX) / 2.0),
        // Without chance they do.
        Err(_) => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_stay_within_their_bound() {
        for _ in 0..100 {
            let pause = jitter(PAUSE_MAX);
            assert!(pause >= PAUSE_MAX / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
    }

    #[test]
    fn a_host_is_named_as_in_certificates() {
        for (address, name) in
            [("a.example:1", "a.example"), ("127.0.0.1:1", "127.0.0.1"), ("[::1]:1", "::1")]
        {
            assert_eq!(host(address), name);
        }
    }
}
