//! Hosts and stores as flags.

use clap::ValueEnum;
use onrush_engine::{HostKind, StoreKind};

/// Who drives the shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Host {
    /// The calling thread.
    Inline,
    /// One thread per shard.
    Thread,
}

impl From<Host> for HostKind {
    fn from(host: Host) -> Self {
        match host {
            Host::Inline => Self::Inline,
            Host::Thread => Self::Thread,
        }
    }
}

/// Where rows are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Store {
    /// An LSM on disk.
    Fjall,
    /// Memory.
    Memory,
}

impl From<Store> for StoreKind {
    fn from(store: Store) -> Self {
        match store {
            Store::Fjall => Self::Fjall,
            Store::Memory => Self::Memory,
        }
    }
}
