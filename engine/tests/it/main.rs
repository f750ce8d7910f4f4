//! The engine's rules from outside: shards driven as a host drives them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod books;
mod documents;
mod holds;
mod orders;
mod render;
mod rig;
mod speech;
mod stock;
mod table;
