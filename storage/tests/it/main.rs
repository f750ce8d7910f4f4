//! The storage crate from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod log_append;
mod log_corruption;
mod log_crash;
mod log_real;
mod log_retention;
mod log_stage;
mod log_vote;
mod store_crash;
mod store_damage;
mod store_equal;
