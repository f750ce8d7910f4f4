//! How QUIC is spoken between nodes, and what it may cost.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::PeerError;
use super::certificate::configs;
use super::greeting::GREETING_BYTES_MAX;
use crate::quic::VERSION;
use crate::tls::Mutual;

/// Silence after which a node is probed by the one that called it.
pub(super) const PROBE: Duration = Duration::from_millis(250);
/// Silence after which a connection is over.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(1);
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
/// How long a last packet may go unacknowledged: what is lost at the end of a batch is sent again soon after.
const ACK_DELAY: Duration = Duration::from_millis(5);

/// How a node is called, and how it calls.
pub(super) fn quic(tls: Option<&Mutual>) -> Result<(ServerConfig, ClientConfig), PeerError> {
    let none = |error: quinn::crypto::rustls::NoInitialCipherSuite| PeerError::Certificate(error.to_string());
    let (server, client) = configs(tls)?;
    let (server, client) = (
        QuicServerConfig::try_from(server).map_err(none)?,
        QuicClientConfig::try_from(client).map_err(none)?,
    );
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::new(called())).migration(false);
    let mut client = ClientConfig::new(Arc::new(client));
    client.version(VERSION).transport_config(Arc::new(calling()));
    Ok((server, client))
}

/// One stream for greetings at first; the messages' own one is allowed with the proof.
fn called() -> TransportConfig {
    let mut config = both();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .receive_window(VarInt::from_u32(STRANGER_BYTES))
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES));
    config
}

/// Hears nothing but the answer to its greeting.
fn calling() -> TransportConfig {
    let mut config = both();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(STRANGER_BYTES))
        .keep_alive_interval(Some(PROBE));
    config
}

fn both() -> TransportConfig {
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
        .max_idle_timeout(IdleTimeout::try_from(SILENCE_MAX).ok());
    config
}

/// Takes messages of a node that has shown who it is.
pub(super) fn admit(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(WINDOW_BYTES));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(1));
}
