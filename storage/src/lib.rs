//! Bytes that survive a crash: the segmented log, the store and its backends, and snapshots.
//!
//! This crate knows no shop: it moves frames of opaque records and sorted runs of opaque rows.

pub mod disk;
pub mod log;
pub mod planted;
pub mod snapshot;
pub mod store;
