//! The native protocol over TCP, the serving side: frames in, frames out.
//!
//! A [`Front`] is one thread with a runtime, a listener and a [`Desk`] of its own; fronts share a port by
//! SO_REUSEPORT and nothing else. Each connection has a task that reads and one that writes. What all
//! connections of a front have asked in one tick leaves the desk together, and what comes back is encoded
//! straight into each connection's output, which goes out in one write.
//!
//! What a connection may cost is bounded: by credit what it may ask, by
//! [`Limits::unsent_bytes_max`] what may wait for it, by the longest frame what may wait from it. Nothing is
//! allocated by what a frame says of itself: a buffer grows as bytes arrive.

mod connection;
mod desk;
mod front;
mod incoming;
mod limits;
mod outbox;
mod pool;
mod reader;
mod signal;
mod tickets;
mod writer;

pub use desk::{Desk, Taken, Ticket};
pub use front::Front;
pub use limits::Limits;
