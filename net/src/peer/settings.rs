//! How QUIC is spoken between nodes, and what it may cost.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::udp::UdpSocketState;
use quinn::{
    AckFrequencyConfig, ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout,
    ServerConfig, TransportConfig, VarInt,
};
use uuid::Uuid;

use super::certificate::configs;
use super::greeting::GREETING_BYTES_MAX;
use super::{PeerError, PeerOptions};
use crate::quic::VERSION;

/// Probes in the silence after which a connection is over.
pub(super) const PROBES: u32 = 4;
/// Bytes on their way to a node that has not seen a proof yet.
pub(super) const STRANGER_BYTES: u32 = (GREETING_BYTES_MAX as u32).next_power_of_two();
/// Bytes on their way to a node that has not read them: more than a LAN has between two reads.
pub(super) const WINDOW_BYTES: u32 = 8 << 20;
/// Bytes on their way that were not acknowledged.
const UNACKNOWLEDGED_BYTES: u64 = 16 << 20;
/// Bytes that leave on a new connection before anything was acknowledged: what a socket's buffer takes.
const FIRST_BYTES: u64 = 64 << 10;
/// A first guess, for a LAN: a handshake that is lost is tried again after three times as long.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Bytes that a socket keeps until they are read, if the system lets it.
const SOCKET_BYTES: usize = 4 << 20;
/// How long a last packet may go unacknowledged: what is lost at the end of a batch is sent again soon after.
const ACK_DELAY: Duration = Duration::from_millis(5);

/// What the keys that QUIC needs are drawn from, with that of the cluster.
const RESET_LABEL: &[u8] = b"onrush peer 1 reset";

/// A node that was killed and is back does not know its connections any more, and can show so to the other
/// ends of them (RFC 9000, 10.3): its key for that is the same again.
pub(super) fn endpoint(options: &PeerOptions) -> EndpointConfig {
    let secret = options.key.prove(&[RESET_LABEL, &options.node.to_le_bytes()]);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(HMAC_SHA256, secret.as_ref())));
    config.supported_versions(vec![VERSION]).cid_generator(|| Box::new(Numbers));
    config
}

/// Numbers of connections. None is known to be of another process: all are answered.
struct Numbers;

impl ConnectionIdGenerator for Numbers {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&Uuid::new_v4().as_u64_pair().1.to_le_bytes())
    }

    fn cid_len(&self) -> usize {
        size_of::<u64>()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// How a node is called, and how it calls.
pub(super) fn quic(options: &PeerOptions) -> Result<(ServerConfig, ClientConfig), PeerError> {
    let silence = options.silence_max;
    let none = |error: quinn::crypto::rustls::NoInitialCipherSuite| PeerError::Certificate(error.to_string());
    let (server, client) = configs(options.tls.as_ref())?;
    let (server, client) = (
        QuicServerConfig::try_from(server).map_err(none)?,
        QuicClientConfig::try_from(client).map_err(none)?,
    );
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::new(called(silence))).migration(false);
    let mut client = ClientConfig::new(Arc::new(client));
    client.version(VERSION).transport_config(Arc::new(calling(silence)));
    Ok((server, client))
}

/// One stream for greetings at first; the messages' own one is allowed with the proof.
fn called(silence: Duration) -> TransportConfig {
    let mut config = both(silence);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .receive_window(VarInt::from_u32(STRANGER_BYTES))
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES));
    config
}

/// Hears nothing but the answer to its greeting.
fn calling(silence: Duration) -> TransportConfig {
    let mut config = both(silence);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(STRANGER_BYTES))
        .keep_alive_interval(Some(silence / PROBES));
    config
}

fn both(silence: Duration) -> TransportConfig {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(FIRST_BYTES);
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .send_window(UNACKNOWLEDGED_BYTES)
        .initial_rtt(ROUND_TRIP)
        .congestion_controller_factory(Arc::new(congestion))
        .ack_frequency_config(Some(acks))
        // An error means that it is too long for QUIC, and it is not.
        .max_idle_timeout(IdleTimeout::try_from(silence).ok());
    config
}

/// Takes messages of a node that has shown who it is.
pub(super) fn admit(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(WINDOW_BYTES));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(1));
}

/// Lets a socket keep what several nodes send at once. With less, some of it is sent again.
pub(super) fn widen(socket: &UdpSocket) {
    // Errors mean that the system has bounds of its own.
    if let Ok(state) = UdpSocketState::new(socket.into()) {
        let _ = state.set_recv_buffer_size(socket.into(), SOCKET_BYTES);
        let _ = state.set_send_buffer_size(socket.into(), SOCKET_BYTES);
    }
}
