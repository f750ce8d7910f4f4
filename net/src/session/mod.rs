//! The native protocol, the serving side, over whatever carries bytes: frames in, frames out.
//!
//! A front is one thread with a runtime, a socket and a [`Desk`] of its own; [`tcp`](crate::tcp) and
//! [`quic`](crate::quic) are its doors. Each stream of a client has a task that reads and one that writes. What
//! all streams of a front have asked in one tick leaves the desk together, and what comes back is encoded
//! straight into each stream's output, which goes out in one write.
//!
//! What a connection may cost is bounded: by credit what it may ask, by
//! [`Limits::unsent_bytes_max`] what may wait for it, by the longest frame what may wait from it. Nothing is
//! allocated by what a frame says of itself: a buffer grows as bytes arrive.

mod connection;
mod desk;
mod front;
mod greet;
mod incoming;
mod limits;
mod outbox;
mod pool;
mod reader;
mod runtime;
mod signal;
mod subscription;
mod tickets;
mod writer;

pub use desk::{Batch, Desk, Feed, Taken, Ticket};
pub use limits::Limits;

pub(crate) use connection::{Connection, Stage};
pub(crate) use front::{Shared, pump};
pub(crate) use greet::{Further, farther, greet, refuse};
pub(crate) use runtime::{Runtime, Sink, Source, Stop, timeout, unless};
pub(crate) use signal::Signal;
