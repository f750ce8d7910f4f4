//! Sockets and buffers: clients of the services, and the serving side of the native protocol.

pub mod client;
pub mod peer;
pub mod quic;
pub mod session;
pub mod tcp;
pub mod tls;
