//! Shards, rules, published views, subscriptions and hosts. Embeddable: no sockets.
//!
//! [`Engine::open`] starts it, an [`EngineHandle`] speaks to it: [`call`](EngineHandle::call) for
//! one request, a [`Lane`] for the calls of an event loop, a [`Port`] for batches,
//! [`stock`](EngineHandle::stock) and [`product`](EngineHandle::product) for published reads,
//! [`subscribe`](EngineHandle::subscribe) for what happened, [`audit`](EngineHandle::audit) for the
//! books.
//!
//! Whoever turns shards by hand, as the simulator does, finds the pieces of a host that need no
//! thread: [`shard`], [`recover`](mod@recover), [`Tail`], [`Station`], [`Flusher`], [`Snapshots`], [`views`].

pub mod audit;
mod batch_sizes;
mod boot;
mod cluster;
mod engine;
pub mod flush;
pub mod format;
mod handle;
#[allow(clippy::disallowed_types, reason = "hosts and doors are where threads meet")]
mod host;
#[allow(clippy::disallowed_types, reason = "calls may be dropped and replies taken by other threads")]
mod lane;
mod lists;
mod options;
mod port;
pub mod recover;
pub mod replication;
pub mod rules;
pub mod shard;
mod stages;
pub mod state;
mod stats;
mod subscription;
pub mod tables;
mod verify;
pub mod views;

pub use audit::AuditReport;
pub use batch_sizes::BatchSizes;
pub use cluster::{ClusterOptions, GroupError, GroupStatus, HearError, Post};
pub use engine::{CloseError, Engine, OpenError};
pub use handle::{EngineHandle, ListError};
pub use host::{
    ClockJump, Flusher, HostError, InstallError, Installed, Snapshots, Station, Tail, TailBounds, install,
    install_newest,
};
pub use lane::{Lane, Pump};
pub use options::{ClockOptions, EngineOptions, FlushOptions, HostKind, RetentionOptions, StoreKind};
pub use port::{IN_FLIGHT_MAX, Port};
pub use stages::{Stage, StageTimes};
pub use stats::EngineStats;
pub use subscription::{Batch, Event, SubscribeError, Subscription};
pub use verify::{VerifyError, verify};
pub use views::{ProductView, StockView};
