//! Hosts drive shards: they bring inputs and the time, write the log, and let answers go.
//!
//! A [`Worker`] is one shard with its log; a host decides which thread turns it. *Boundary*:
//! clocks, threads and locks begin here.

use std::time::Duration;

mod alone;
mod clock;
mod desk;
mod flusher;
#[cfg(all(feature = "glommio", target_os = "linux"))]
mod glommio;
mod host_error;
mod hot_keys;
mod inline;
mod laps;
mod member;
mod node_office;
mod outbox;
mod ports;
mod rebuild;
mod seat;
mod snapshots;
mod station;
mod tail;
#[cfg(test)]
mod tests;
mod thread;
mod worker;
mod writer;

/// How often a host looks whether a store has caught up that requests wait for.
const STORE_PATIENCE: Duration = Duration::from_millis(1);

pub use clock::ClockJump;
pub(crate) use clock::{HostClock, wall_us};
pub(crate) use desk::{Call, Desk};
pub use flusher::Flusher;
pub(crate) use flusher::{Cut, FlushControl, FlusherHandle};
#[cfg(all(feature = "glommio", target_os = "linux"))]
pub(crate) use glommio::GlommioHost;
pub use host_error::HostError;
pub(crate) use inline::InlineHost;
pub(crate) use member::MemberParts;
pub(crate) use node_office::{NO_OFFICE, NodeOffice};
pub(crate) use ports::{PortQueue, Ports, Sink};
pub(crate) use seat::SeatParts;
pub use snapshots::{InstallError, Installed, Snapshots, install, install_newest};
pub(crate) use station::Parcel;
pub use station::Station;
pub(crate) use tail::Tailed;
pub use tail::{Tail, TailBounds};
pub(crate) use thread::ThreadHost;
pub(crate) use worker::Worker;
