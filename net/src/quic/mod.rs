//! The native protocol over QUIC, the serving side.
//!
//! A [`Front`] is one thread with a UDP socket of its own; fronts share a port by SO_REUSEPORT, and a client stays
//! with the front that its address leads to, so connections do not move to other addresses. A client's first stream
//! is a [`session`](crate::session), as a connection over TCP is; each further one is one request. Nothing is taken
//! before a handshake is over (0-RTT).

mod front;
mod halves;
mod settings;
mod streams;

pub use front::Front;
pub(crate) use settings::endpoint;

/// The one version of QUIC that is spoken, that of RFC 9000.
pub(crate) const VERSION: u32 = 1;
