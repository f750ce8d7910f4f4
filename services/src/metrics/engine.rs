//! What the engine's shards count, one row per shard.

use onrush_engine::{EngineStats, Stage, StageTimes};

use super::family::{Family, Labels, Times};

/// Bounds of the stages' histograms in ns; the last bucket has none.
const BOUNDS_NS: [u64; 16] = [
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
];

/// Name, help and reading of a gauge.
type Gauge = (&'static str, &'static str, fn(&EngineStats) -> f64);
type Counter = (&'static str, &'static str, fn(&EngineStats) -> u64);

const GAUGES: [Gauge; 14] = [
    ("shard_queue_depth", "Requests that wait for the shard", |stats| stats.waiting as f64),
    ("shard_commit_lag_records", "Records decided and not durable yet", |stats| {
        stats.commit_lag_records as f64
    }),
    ("shard_held_units", "Units that unpaid orders hold", |stats| stats.held_units as f64),
    (
        "shard_hot_key_ratio",
        "Share of the latest orders that came by the shard that wants one and the same SKU, by a sample of one order a batch",
        |stats| stats.hot_key_ppm as f64 / 1e6,
    ),
    ("shard_open_orders", "Orders whose deadline runs", |stats| stats.open_orders as f64),
    ("shard_orders_in_memory", "Orders in memory, open and recently closed", |stats| {
        stats.orders_in_memory as f64
    }),
    ("shard_remembered_keys", "Idempotency keys remembered", |stats| stats.remembered_keys as f64),
    ("shard_skus", "SKUs", |stats| stats.skus as f64),
    ("shard_state_bytes", "Memory of all tables", |stats| stats.state_bytes as f64),
    ("shard_store_lag_bytes", "Log that the store has not absorbed", |stats| stats.store_lag_bytes as f64),
    ("shard_store_lag_bytes_max", "Lag at which admission waits for the store", |stats| {
        stats.store_lag_bytes_max as f64
    }),
    ("shard_store_bytes", "The store on disk", |stats| stats.store_bytes as f64),
    ("shard_store_level0_runs", "Runs in level 0 of the store", |stats| stats.level0_runs as f64),
    ("shard_stopped", "1 if the shard no longer writes", |stats| f64::from(stats.stopped_shards)),
];

const COUNTERS: [Counter; 5] = [
    ("shard_requests", "Requests and messages decided", |stats| stats.requests),
    ("shard_turns", "Turns taken", |stats| stats.turns),
    ("shard_records", "Records appended to the log", |stats| stats.records),
    ("shard_durable_writes", "Durable writes of the log, one per frame", |stats| stats.durable_writes),
    ("shard_log_bytes", "Bytes written to the log, padding included", |stats| stats.log_bytes),
];

/// The families of these shards, in the order of their numbers.
pub(crate) fn families(shards: &[EngineStats]) -> Vec<Family> {
    let each = || shards.iter().enumerate().map(|(number, stats)| (of_shard(number), stats));
    let gauges = GAUGES.map(|(name, help, read)| {
        Family::gauges(name, help, each().map(|(labels, stats)| (labels, read(stats))).collect())
    });
    let counters = COUNTERS.map(|(name, help, read)| {
        Family::counters(name, help, each().map(|(labels, stats)| (labels, read(stats))).collect())
    });
    let sizes = each().map(|(labels, stats)| (labels, batch_sizes(stats))).collect();
    let stages = |wanted: fn(Stage) -> bool, named: bool| {
        let of_shard =
            each().flat_map(|(labels, stats)| stats.stages.iter().map(move |times| (labels.clone(), times)));
        let wanted = of_shard.filter(|(_, times)| wanted(times.stage())).map(|(mut labels, times)| {
            if named {
                labels.push(("stage", times.stage().name().into()));
            }
            (labels, stage_times(times))
        });
        wanted.collect()
    };
    let histograms = [
        Family::histograms("shard_batch_size", "Requests and messages of a batch", sizes),
        Family::histograms(
            "shard_durable_write_duration_seconds",
            "Time of a durable write of the log",
            stages(|stage| stage == Stage::Commit, false),
        ),
        Family::histograms(
            "shard_stage_duration_seconds",
            "Time of a stage of a turn",
            stages(|stage| stage != Stage::Commit, true),
        ),
    ];
    gauges.into_iter().chain(counters).chain(histograms).collect()
}

fn of_shard(number: usize) -> Labels {
    vec![("shard", number.to_string())]
}

fn batch_sizes(stats: &EngineStats) -> Times {
    let bound = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64);
    let buckets = stats.batches.buckets().map(|(upper, batches)| (bound(upper), batches));
    Times { buckets: buckets.collect(), sum: stats.requests as f64 }
}

fn stage_times(times: &StageTimes) -> Times {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let within = BOUNDS_NS.iter().map(|bound| (*bound as f64 / 1e9, times.turns_within(*bound)));
    for (bound_s, turns) in within.chain([(f64::INFINITY, times.turns())]) {
        // Shards go on counting while they are read.
        buckets.push((bound_s, turns.saturating_sub(below)));
        below = below.max(turns);
    }
    Times { buckets, sum: times.total_ns() as f64 / 1e9 }
}
