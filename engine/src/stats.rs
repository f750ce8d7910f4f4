//! Counters of an open engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch_sizes::BatchSizes;
use crate::host::Station;
use crate::stages::StageTimes;
use crate::views::ShardViews;

/// Sums over shards since the engine was opened, as of each shard's last turn.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// How a write is made durable: `O_DIRECT+O_DSYNC` or `write+fdatasync`.
    pub durability: String,
    /// Number of shards.
    pub shards: u16,
    /// Durable writes of the logs: one per frame.
    pub durable_writes: u64,
    /// Records appended.
    pub records: u64,
    /// Log bytes written, padding included.
    pub log_bytes: u64,
    /// Turns taken.
    pub turns: u64,
    /// Requests and messages decided.
    pub requests: u64,
    /// Requests waiting now.
    pub waiting: u64,
    /// How many requests and messages each batch held.
    pub batches: BatchSizes,
    /// Records decided and not durable yet.
    pub commit_lag_records: u64,
    /// Units that unpaid orders hold.
    pub held_units: i64,
    /// The share of the latest orders that wants one and the same SKU, in millionths, where it is largest: by
    /// a sample of one order a batch.
    pub hot_key_ppm: u64,
    /// Orders whose deadline runs.
    pub open_orders: u64,
    /// Orders in memory, open and recently closed.
    pub orders_in_memory: u64,
    /// Idempotency keys remembered.
    pub remembered_keys: u64,
    /// SKUs.
    pub skus: u64,
    /// Memory of all tables in bytes.
    pub state_bytes: u64,
    /// Log bytes that the stores have not absorbed.
    pub store_lag_bytes: u64,
    /// The lag at which admission waits for the store.
    pub store_lag_bytes_max: u64,
    /// The most runs that a store has in level 0.
    pub level0_runs: u64,
    /// Bytes of all stores on disk.
    pub store_bytes: u64,
    /// Shards that stopped after a failed durable write.
    pub stopped_shards: u16,
    /// How long each stage of a turn took, in the order of the stages.
    pub stages: Vec<StageTimes>,
}

impl EngineStats {
    pub(crate) fn of(
        stations: &[Arc<Station>],
        views: &[Arc<ShardViews>],
        durability: &str,
        lag_bytes_max: u64,
    ) -> Self {
        let mut stats = Self {
            durability: durability.into(),
            shards: stations.len() as u16,
            store_lag_bytes_max: lag_bytes_max.saturating_mul(stations.len() as u64),
            stages: StageTimes::none(),
            held_units: views.iter().map(|views| views.held_units()).sum(),
            ..Self::default()
        };
        for station in stations {
            let counters = &station.counters;
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            stats.durable_writes += read(&counters.durable_writes);
            stats.records += read(&counters.records);
            stats.log_bytes += read(&counters.log_bytes);
            stats.turns += read(&counters.turns);
            stats.requests += read(&counters.requests);
            stats.waiting += station.waiting() as u64;
            stats.batches.add(&counters.batches);
            stats.commit_lag_records += read(&counters.decided).saturating_sub(station.tail.committed());
            stats.hot_key_ppm = stats.hot_key_ppm.max(read(&counters.hot_key_ppm));
            stats.open_orders += read(&counters.open_orders);
            stats.orders_in_memory += read(&counters.orders_in_memory);
            stats.remembered_keys += read(&counters.remembered_keys);
            stats.skus += read(&counters.skus);
            stats.state_bytes += read(&counters.state_bytes);
            stats.store_lag_bytes += station.lag_bytes();
            stats.level0_runs = stats.level0_runs.max(read(&counters.level0_runs));
            stats.store_bytes += read(&counters.store_bytes);
            stats.stages.iter_mut().for_each(|times| times.add(&counters.stages));
            stats.stopped_shards += u16::from(station.stopped.load(Ordering::Relaxed));
        }
        stats
    }
}
