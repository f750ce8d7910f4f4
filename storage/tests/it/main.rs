//! The storage crate from the outside.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod log_append;
mod log_corruption;
mod log_crash;
mod log_real;
mod log_retention;
mod log_stage;
mod log_vote;
