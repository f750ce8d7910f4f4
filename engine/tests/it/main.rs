//! The engine's rules from outside: shards driven as a host drives them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod baskets;
mod books;
mod documents;
mod graph;
mod holds;
mod keys;
mod orders;
mod payments;
mod refunds;
mod render;
mod rig;
mod speech;
mod stock;
mod table;
