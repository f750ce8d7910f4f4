//! Benches of the engine and its peers: the subcommands of `onrush-bench` and what they share.
//!
//! A subcommand is a module with its `Args` and its `run`. It prints the machine, the method in a
//! line, and medians over rounds; where two things are compared, their rounds alternate, so that a
//! machine that slows down slows both.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

pub mod counts;
pub mod cpu;
pub mod failure;
pub mod fsync;
pub mod group;
pub mod heap;
pub mod idle;
pub mod kinds;
pub mod logins;
pub mod lone;
pub mod machine;
pub mod newcomer;
pub mod outage;
pub mod reach;
pub mod recommend;
pub mod replay;
pub mod sale;
pub mod samples;
pub mod scratch;
pub mod shard;
pub mod shop;
pub mod store;
pub mod subscribe;
pub mod table;
pub mod till;
pub mod token;
pub mod unary;

pub use failure::Failure;
