//! The rules of the shop: pure functions from state and command to a fact or a refusal.
//!
//! *Invariant*: no rule changes state, reads a clock or looks at anything but its arguments.

pub mod documents;
pub mod groups;
pub mod inventory;
pub mod names;
pub mod orders;
pub mod payments;

use onrush_proto::{Fact, KeyHasher, Receipt, Refusal, SlotMap};

/// What a decision may look at besides state and command.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Shard time in us.
    pub now_us: u64,
    /// The position the record will have.
    pub lsn: u64,
    /// The history bucket of what is born now.
    pub bucket: u32,
    /// Hold interval in us where neither order nor SKU names one.
    pub default_hold_us: u64,
    /// The directory's secret hash.
    pub hasher: KeyHasher,
    /// Which shard owns what.
    pub map: SlotMap,
}

/// An accepted command: what to record, and what to answer.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The record.
    pub fact: Fact,
    /// The answer.
    pub receipt: Receipt,
}

/// What a rule says of a command.
pub type Decision = Result<Accepted, Refusal>;
