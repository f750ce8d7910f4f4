//! The storage crate from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../fuzz/src/decoders.rs"]
mod decoders;
#[path = "../../../proto/fuzz/src/heap.rs"]
mod heap;
#[path = "../../fuzz/src/program.rs"]
mod program;
#[path = "../../fuzz/src/records.rs"]
mod records;
#[path = "../../fuzz/src/segments.rs"]
mod segments;
#[path = "../../fuzz/src/snapshot.rs"]
mod snapshot;

mod corpus;
mod log_append;
mod log_begin;
mod log_corruption;
mod log_crash;
mod log_real;
mod log_retention;
mod log_stage;
mod log_truncate;
mod log_vote;
mod store_crash;
mod store_damage;
mod store_equal;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;
