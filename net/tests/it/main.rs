//! Clients against peers on real sockets.

#![allow(clippy::unwrap_used, reason = "a peer that cannot go on fails its test")]

mod native;
mod node;
mod nodes;
mod peer;
