//! The storage crate from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod store_crash;
mod store_damage;
mod store_equal;
