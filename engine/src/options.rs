//! How an engine is opened. What is frozen at format stands in [`Format`](crate::format::Format).

use std::path::PathBuf;

use crate::cluster::ClusterOptions;
#[allow(unused_imports, reason = "for the docs")]
use crate::host::HostError;
use crate::rules::inventory::HOLD_US_MAX;
use crate::state::StateLimits;

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where log, store and snapshots live. `None`: a temporary directory, removed at close.
    pub data_dir: Option<PathBuf>,
    /// Number of shards, 1..=256, frozen when the directory is formatted. `None`: as formatted, 1 for
    /// a new directory.
    pub shards: Option<u16>,
    /// Who drives the shards.
    pub host: HostKind,
    /// Where rows are kept.
    pub store: StoreKind,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// Hold interval in us where neither order nor SKU names one.
    pub default_hold_us: u64,
    /// Most requests waiting in front of one shard; further ones are refused as overloaded.
    pub inbox_requests_max: usize,
    /// Most requests of a batch: one durable write.
    pub batch_requests_max: usize,
    /// Most open orders per shard; further ones are refused as overloaded.
    pub open_orders_max: usize,
    /// What each shard keeps in memory.
    pub limits: StateLimits,
    /// When rows go to the store.
    pub flush: FlushOptions,
    /// How far the wall clock is believed.
    pub clock: ClockOptions,
    /// How a node takes part in its cluster; needed where the directory was formatted for one, and only there.
    pub cluster: Option<ClusterOptions>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            shards: None,
            host: HostKind::Thread,
            store: StoreKind::Fjall,
            segment_bytes: 64 << 20,
            default_hold_us: 600_000_000,
            inbox_requests_max: 1 << 16,
            batch_requests_max: 8_192,
            open_orders_max: 8 << 20,
            limits: StateLimits::default(),
            flush: FlushOptions::default(),
            clock: ClockOptions::default(),
            cluster: None,
        }
    }
}

/// How far the wall clock is believed. It is read once, when an engine opens.
#[derive(Clone, Copy, Debug)]
pub struct ClockOptions {
    /// Most us between the wall clock and the last frame, either way. As long as the longest hold: after
    /// such a rest there is none left to expire.
    pub jump_max_us: u64,
    /// True if an operator has looked at the clock and it may be further away.
    pub accept_jump: bool,
    /// Reads the wall clock, in us since the epoch.
    pub wall_us: fn() -> u64,
}

impl Default for ClockOptions {
    fn default() -> Self {
        Self { jump_max_us: HOLD_US_MAX, accept_jump: false, wall_us: crate::host::wall_us }
    }
}

/// Who drives the shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostKind {
    /// The calling thread: nothing happens between calls. For embedding and for one core.
    Inline,
    /// One thread per shard.
    Thread,
    /// One pinned io_uring executor per core, shards dealt out over them. Linux, with cargo feature
    /// `glommio`, where io_uring is allowed; otherwise opening fails with a [`HostError`].
    Glommio,
}

/// Where rows are kept. The log is on disk in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// An LSM on disk.
    Fjall,
    /// Memory, rebuilt from snapshot and log at every start.
    Memory,
}

/// When rows go to the store.
#[derive(Clone, Copy, Debug)]
pub struct FlushOptions {
    /// Rows that make a run.
    pub rows: usize,
    /// Three quarters of these log bytes make a run, too, once a bucket begins; twice as many do anyhow.
    pub log_bytes: u64,
    /// Log bytes between two checkpoints of what is open, if the list of it takes less than a quarter of them: a
    /// restart replays at least this much.
    pub checkpoint_bytes: u64,
    /// Log bytes by which the store may lag before admission waits for it.
    pub lag_bytes_max: u64,
    /// Log bytes between two snapshots; a snapshot waits for at least its predecessor's size.
    pub snapshot_bytes: u64,
    /// What consumer groups may keep of the log.
    pub retention: RetentionOptions,
}

/// How much log waits for consumer groups that carry neither money nor goods. Beyond it they are
/// told `OFFSET_OUT_OF_RANGE` with the first position that is left.
#[derive(Clone, Copy, Debug)]
pub struct RetentionOptions {
    /// Log bytes.
    pub bytes_max: u64,
    /// Age of a record in us of shard time.
    pub age_us_max: u64,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        Self { bytes_max: 16 << 30, age_us_max: 3 * 24 * 3600 * 1_000_000 }
    }
}

impl Default for FlushOptions {
    fn default() -> Self {
        Self {
            rows: 200_000,
            log_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            lag_bytes_max: 256 << 20,
            snapshot_bytes: 4 << 30,
            retention: RetentionOptions::default(),
        }
    }
}
