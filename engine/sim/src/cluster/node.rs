//! What the members at one node share: its clock, its process, their office, and the links between them.

use onrush_engine::replication::{NodeId, Offices};
use onrush_engine::shard::PeerMessage;

use crate::world::Links;

/// A node. Its members stand in a list of their own.
pub(super) struct Node {
    pub(super) id: NodeId,
    /// How its clock runs, in millionths of the true time.
    pub(super) pace_ppm: u64,
    /// By how much it was set forward, or back below 0.
    pub(super) set_by_us: i64,
    /// When a process that stands still goes on.
    pub(super) paused_until_us: u64,
    /// Gone with the process.
    pub(super) offices: Offices,
    /// What its shards say to each other, with the office in which they said it.
    pub(super) links: Links<(u64, PeerMessage)>,
}

impl Node {
    pub(super) fn new(id: NodeId, shards: usize, pace_ppm: u64) -> Self {
        let (offices, links) = (Offices::new(shards as u16), Links::new(shards));
        Self { id, pace_ppm, set_by_us: 0, paused_until_us: 0, offices, links }
    }

    /// Its process ends.
    pub(super) fn end(&mut self) {
        let set_by_us = self.set_by_us;
        *self = Self { set_by_us, ..Self::new(self.id, self.links.shards(), self.pace_ppm) };
    }
}
