//! Clients against peers on real sockets.

#![allow(clippy::unwrap_used, reason = "a peer that cannot go on fails its test")]

mod certificates;
mod cluster;
mod leader;
mod native;
mod node;
mod nodes;
mod peer;
mod refusals;
mod relay;
mod stranger;
