//! Shards, rules, published views, subscriptions and hosts. Embeddable: no sockets.

pub mod flush;
pub mod format;
pub mod options;
pub mod recover;
pub mod rules;
pub mod shard;
pub mod state;
pub mod tables;
pub mod views;
