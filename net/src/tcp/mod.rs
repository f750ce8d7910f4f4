//! The native protocol over TCP, the serving side, with or without TLS.
//!
//! A [`Front`] is one thread with a listener of its own; fronts share a port by SO_REUSEPORT and nothing else. What
//! is said on a connection is a [`session`](crate::session).

mod front;
mod halves;
mod protected;

pub use front::{Driver, Front};
