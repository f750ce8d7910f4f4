//! What one seed runs with: bounds of the shards, chances of faults.

use onrush_engine::shard::ShardOptions;
use onrush_engine::state::StateLimits;
use onrush_engine::{FlushOptions, RetentionOptions};
use onrush_proto::{KeyHasher, ShardId, SlotMap};
use onrush_storage::disk::FaultPlan;

use crate::dice::Dice;
use crate::faults::FaultSet;
use crate::options::RunOptions;
use crate::planted::Planted;

/// Purposes of the random streams.
pub(crate) mod purpose {
    pub(crate) const PLAN: u64 = 1;
    pub(crate) const SCHEDULE: u64 = 2;
    pub(crate) const WORKLOAD: u64 = 3;
    pub(crate) const FAULTS: u64 = 4;
    pub(crate) const DISK: u64 = 5;
    pub(crate) const SECRET: u64 = 6;
    pub(crate) const GATEWAY: u64 = 7;
    pub(crate) const READERS: u64 = 8;
    pub(crate) const NETWORK: u64 = 9;
    pub(crate) const PLOTS: u64 = 10;
}

/// The configuration of one run, drawn from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) events: u64,
    pub(crate) planted: Option<Planted>,
    pub(crate) batch_inputs_max: usize,
    pub(crate) recent_keys_min: usize,
    pub(crate) closed_rows_min: usize,
    pub(crate) open_orders_max: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) frame_bytes_max: usize,
    pub(crate) default_hold_us: u64,
    /// Faults per 10,000 events.
    pub(crate) faults_per_10k: u64,
    /// Weights of scheduling: how eager shards and links are against clients.
    pub(crate) eagerness: u64,
    pub(crate) without: FaultSet,
    /// Most customers and SKUs.
    pub(crate) parties: (usize, usize),
    /// When rows go to the store, and the store to a snapshot.
    pub(crate) flush: FlushOptions,
    /// Bytes of frames that subscribers find in memory.
    pub(crate) tail_bytes_max: usize,
    /// True if durable writes go through a page cache.
    pub(crate) buffered: bool,
    /// Weights of what clients ask for: orders, stock, products, payments, calling off, documents,
    /// names, reads.
    pub(crate) wishes: [u64; 8],
    /// Weights of how far time passes at once: from microseconds to a quarter of an hour.
    pub(crate) strides: [u64; 5],
    /// Nodes of a cluster; 1 for a node alone.
    pub(crate) nodes: usize,
    /// Nodes that do not belong to the group at first.
    pub(crate) spare_nodes: usize,
    /// Chances in a thousand that a message between nodes is lost, doubled, out of order.
    pub(crate) network: (u64, u64, u64),
    /// Election timeout in us; heartbeats are a sixth of it.
    pub(crate) election_us: u64,
    /// By how many millionths the clocks of nodes may run fast or slow.
    pub(crate) drift_ppm: u64,
    /// Most bytes of entries in one message.
    pub(crate) message_bytes_max: usize,
    /// Bytes of entries that a member keeps in memory.
    pub(crate) recent_bytes_max: usize,
    /// Bytes of one piece of a snapshot that goes to another node.
    pub(crate) piece_bytes: usize,
    /// True if a leader keeps the log that followers lack who answer.
    pub(crate) waits_for_followers: bool,
    /// Weight of messages that arrive between the shards of a node: how long they wait there.
    pub(crate) inside: u64,
    /// Plots per 10,000 events in which none is under way.
    pub(crate) plots_per_10k: u64,
}

impl Plan {
    pub(crate) fn new(options: &RunOptions, seed: u64) -> Self {
        let mut dice = Dice::new(seed, purpose::PLAN);
        let drawn = if options.nodes > 1 { dice.pick(&[1, 1, 1, 2, 3, 4]) } else { dice.pick(&[1, 2, 2, 4]) };
        let segment_bytes = dice.pick(&[48 << 10, 64 << 10, 96 << 10, 256 << 10]);
        let mut plan = Self::drawn(options, seed, (&mut dice, drawn, segment_bytes));
        // A cluster decides less in as many events, and each of several shards less again: their logs are let go of in smaller
        // pieces.
        if plan.nodes > 1 && plan.shards > 1 && dice.percent(50) {
            plan.frame_bytes_max = 4 << 10;
            plan.flush.snapshot_bytes = 1;
            (plan.flush.rows, plan.flush.log_bytes, plan.flush.checkpoint_bytes) = (1, 4 << 10, 1);
            plan.flush.retention.bytes_max = 16 << 10;
        }
        if plan.nodes > 1 && plan.frame_bytes_max <= 4 << 10 && dice.percent(70) {
            plan.segment_bytes = dice.pick(&[16 << 10, 24 << 10, 32 << 10]);
        }
        plan
    }

    fn drawn(options: &RunOptions, seed: u64, (dice, drawn, segment_bytes): (&mut Dice, u16, u64)) -> Self {
        let reads = if options.nodes > 1 { dice.pick(&[1, 10]) } else { 1 };
        let faults = dice.pick(&[0, 10, 40, 80, 160]);
        Self {
            seed,
            shards: options.shards.unwrap_or(drawn),
            events: options.events,
            planted: options.planted,
            batch_inputs_max: dice.pick(&[1, 3, 16, 64]),
            recent_keys_min: dice.pick(&[0, 4, 32, 1 << 12]),
            closed_rows_min: dice.pick(&[0, 4, 32, 1 << 12]),
            open_orders_max: dice.pick(&[40, 400, 1 << 20]),
            segment_bytes,
            frame_bytes_max: dice.pick(&[4 << 10, 24 << 10]),
            default_hold_us: dice.pick(&[200_000, 2_000_000, 20_000_000]),
            faults_per_10k: options.faults.unwrap_or(faults),
            eagerness: dice.pick(&[1, 3, 9]),
            without: options.without,
            parties: (options.clients.unwrap_or(usize::MAX), options.skus.unwrap_or(usize::MAX)),
            flush: FlushOptions {
                rows: dice.pick(&[1, 20, 100, 1 << 20]),
                log_bytes: dice.pick(&[4 << 10, 16 << 10, 48 << 10]),
                checkpoint_bytes: dice.pick(&[1, 24 << 10, 96 << 10]),
                lag_bytes_max: u64::MAX,
                snapshot_bytes: dice.pick(&[1, 1, 16 << 10, u64::MAX]),
                retention: RetentionOptions {
                    bytes_max: dice.pick(&[16 << 10, 256 << 10, u64::MAX]),
                    ..RetentionOptions::default()
                },
            },
            tail_bytes_max: dice.pick(&[1, 4 << 10, 32 << 10, 1 << 20]),
            buffered: dice.percent(30),
            wishes: [45, 6, 4, 22, 8, 5, 4, 6 * reads].map(|weight| weight * dice.pick(&[0, 1, 1, 2, 4]) + 1),
            strides: dice.pick(&[
                [50, 30, 15, 4, 1],
                [70, 30, 0, 0, 0],
                [50, 45, 5, 1, 0],
                [0, 0, 20, 20, 5],
            ]),
            nodes: options.nodes,
            spare_nodes: dice.pick(&[0, 1, 1, 2]),
            network: (dice.pick(&[0, 5, 50, 200]), dice.pick(&[0, 5, 50]), dice.pick(&[0, 5, 100])),
            election_us: dice.pick(&[10_000, 50_000, 300_000]),
            drift_ppm: dice.pick(&[0, 1_000, 30_000]),
            message_bytes_max: dice.pick(&[1, 8 << 10, 64 << 10]),
            recent_bytes_max: dice.pick(&[1, 16 << 10, 1 << 20]),
            piece_bytes: dice.pick(&[1 << 10, 16 << 10, 1 << 20]),
            waits_for_followers: dice.percent(30),
            inside: dice.pick(&[1, 4, 30, 60]),
            plots_per_10k: dice.pick(&[0, 0, 20, 60]),
        }
    }

    /// What a shard is told.
    pub(crate) fn shard_options(&self, id: ShardId, map: SlotMap, hasher: KeyHasher) -> ShardOptions {
        ShardOptions {
            default_hold_us: self.default_hold_us,
            batch_inputs_max: self.batch_inputs_max,
            frame_bytes_max: self.frame_bytes_max,
            open_orders_max: self.open_orders_max,
            limits: StateLimits {
                recent_keys_min: self.recent_keys_min,
                closed_rows_min: self.closed_rows_min,
            },
            ..ShardOptions::new(id, map, hasher)
        }
    }

    /// What a disk does when nothing is wrong with it.
    pub(crate) fn calm(&self) -> FaultPlan {
        FaultPlan { buffered: self.buffered, ..FaultPlan::default() }
    }

    /// True if the host has this planted bug.
    pub(crate) fn has(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }
}
