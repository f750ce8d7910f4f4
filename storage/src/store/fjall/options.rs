//! How the LSM trees are laid out. The defaults are what `examples/store_cost.rs` found cheapest.

use std::sync::Arc;

use ::fjall::{
    CompressionType, KeyspaceCreateOptions,
    compaction::Leveled,
    config::{
        BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
        PinningPolicy,
    },
};

use crate::store::Keyspace;

/// Options of a [`FjallStore`](super::FjallStore).
#[derive(Clone, Debug)]
pub struct FjallOptions {
    /// Memory for blocks, both keyspaces together.
    pub cache_bytes: u64,
    /// `ingest` waits while a keyspace has more runs than this in level 0.
    pub level0_runs_max: usize,
    /// Layout of [`Keyspace::History`].
    pub history: TreeOptions,
    /// Layout of [`Keyspace::Current`].
    pub current: TreeOptions,
}

/// Options of one keyspace.
#[derive(Clone, Debug)]
pub struct TreeOptions {
    /// Level 0 is merged down when it holds this many tables.
    pub level0_threshold: u8,
    /// Size of a table in the sorted levels; the first of these levels holds `level0_threshold` of them.
    pub table_bytes: u64,
    /// How much larger each level is than the one above.
    pub level_ratio: f32,
    /// Size of a data block before compression.
    pub block_bytes: u32,
    /// Bits of filter per key; 0 = no filter.
    pub filter_bits: f32,
    /// Levels, counted from level 0, whose blocks stay uncompressed.
    pub plain_levels: usize,
}

impl Default for FjallOptions {
    fn default() -> Self {
        // Runs that end at a bucket boundary lie above everything older and are moved down unread;
        // the threshold matters only to those that do not.
        let history = TreeOptions {
            level0_threshold: 4,
            table_bytes: 64 << 20,
            level_ratio: 10.0,
            block_bytes: 4 << 10,
            // Pages are read by their prefix, and an order stands in a run of its bucket: no filter would
            // spare a read.
            filter_bits: 0.0,
            plain_levels: 2,
        };
        // Here every run overlaps its elders: merging many at once rewrites less.
        let current =
            TreeOptions { level0_threshold: 12, table_bytes: 32 << 20, filter_bits: 10.0, ..history.clone() };
        Self { cache_bytes: 64 << 20, level0_runs_max: 24, history, current }
    }
}

impl FjallOptions {
    pub(super) fn tree(&self, keyspace: Keyspace) -> &TreeOptions {
        match keyspace {
            Keyspace::History => &self.history,
            Keyspace::Current => &self.current,
        }
    }

    pub(super) fn layout(&self, keyspace: Keyspace) -> KeyspaceCreateOptions {
        let tree = self.tree(keyspace);
        let mut compression = vec![CompressionType::None; tree.plain_levels];
        compression.push(CompressionType::Lz4);
        let filter = if tree.filter_bits > 0.0 {
            FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(tree.filter_bits))
        } else {
            FilterPolicyEntry::None
        };
        KeyspaceCreateOptions::default()
            .manual_journal_persist(true)
            .with_kv_separation(None)
            .compaction_strategy(self.strategy(keyspace))
            .data_block_compression_policy(CompressionPolicy::new(compression))
            .data_block_size_policy(BlockSizePolicy::all(tree.block_bytes))
            .index_block_pinning_policy(PinningPolicy::new([true, true, false]))
            .filter_policy(FilterPolicy::all(filter))
    }

    pub(super) fn strategy(&self, keyspace: Keyspace) -> Arc<Leveled> {
        let tree = self.tree(keyspace);
        Arc::new(
            Leveled::default()
                .with_l0_threshold(tree.level0_threshold)
                .with_table_target_size(tree.table_bytes)
                .with_level_ratio_policy(vec![tree.level_ratio]),
        )
    }
}
