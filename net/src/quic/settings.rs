//! How QUIC is spoken, and what it may cost.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use onrush_proto::frame::Hello;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::VERSION;
use crate::session::Limits;
use crate::tls::Identity;

/// Probes in the time in which one is sent over TCP: clients have idle times of their own, often of 30 s.
const PROBES: u32 = 2;
/// Times of that length after which a client that stays silent is gone, as over TCP.
const SILENCES: u32 = 4;
/// Bytes that a client may have on its way before it has said who it is: one Hello, and what a packet has beside.
const STRANGER_BYTES: u32 = (Hello::FRAME_BYTES_MAX as u32).next_power_of_two();
/// Bytes on their way on one stream that were not read.
const STREAM_BYTES: u32 = 1 << 20;
/// On all streams of a connection.
const CONNECTION_BYTES: u32 = 2 << 20;
/// Bytes on their way to a client that it has not acknowledged.
const UNACKNOWLEDGED_BYTES: u64 = 1 << 20;
/// Connections that wait to be looked at.
const INCOMING_MAX: usize = 4_096;

pub(crate) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.supported_versions(vec![VERSION]);
    config
}

pub(super) fn server(identity: &Identity, limits: &Limits) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(identity.config()).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(limits)?));
    // Its packets would reach another front.
    config.migration(false);
    config.max_incoming(INCOMING_MAX);
    Ok(config)
}

fn transport(limits: &Limits) -> io::Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_BYTES))
        .receive_window(VarInt::from_u32(STRANGER_BYTES))
        .send_window(UNACKNOWLEDGED_BYTES)
        .keep_alive_interval(Some(limits.keepalive / PROBES))
        .max_idle_timeout(Some(idle(limits.keepalive * SILENCES)?));
    Ok(config)
}

fn idle(time: Duration) -> io::Result<IdleTimeout> {
    IdleTimeout::try_from(time).map_err(io::Error::other)
}

/// What a client may have on its way once it is known.
pub(super) fn admit(connection: &quinn::Connection, limits: &Limits) {
    connection.set_receive_window(VarInt::from_u32(CONNECTION_BYTES));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(1 + u32::from(limits.streams_max)));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The table of the document, by what its rows are about.
    fn bound(about: &str) -> u64 {
        // Asked when it runs: a binary that was built in another checkout would look there.
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let document = std::fs::read_to_string(Path::new(&own).join("../docs/wire.md")).unwrap();
        let behind = document.split_once("\n## QUIC\n").unwrap().1;
        let row = behind.lines().find(|line| line.trim_end_matches(" |").ends_with(about));
        let number = row.and_then(|row| row.split('|').nth(1)).and_then(|cell| cell.trim().parse().ok());
        number.unwrap_or_else(|| panic!("no row about {about}"))
    }

    #[test]
    fn the_document_has_the_bounds_of_the_code() {
        let limits = Limits::default();
        let table = [
            ("| version of QUIC", VERSION.into()),
            ("before the Welcome", STRANGER_BYTES.into()),
            ("on one stream", STREAM_BYTES.into()),
            ("on all streams of a connection", CONNECTION_BYTES.into()),
            ("streams beside the first", limits.streams_max.into()),
            ("a client is probed", (limits.keepalive / PROBES).as_secs()),
            ("it is gone", (limits.keepalive * SILENCES).as_secs()),
        ];
        for (about, number) in table {
            assert_eq!(bound(about), number, "{about}");
        }
        assert!(STRANGER_BYTES as usize >= Hello::FRAME_BYTES_MAX);
    }
}
