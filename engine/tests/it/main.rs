//! The engine's rules from outside: shards driven as a host drives them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are read with --nocapture")]

mod baskets;
mod books;
mod documents;
mod graph;
mod groups;
mod holds;
mod keys;
mod lag;
mod memory;
mod orders;
mod payments;
mod recovery;
mod refunds;
mod render;
mod replication;
mod rig;
mod second_try;
mod snapshots;
mod speech;
mod stock;
mod table;
mod transfer;
