//! The node: the product's shards, logs, flushers and stores, driven by hand.

mod reopen;
mod seat;
mod store;

pub(crate) use reopen::{Reopened, position};
pub(crate) use seat::{Live, Scar, Seat, Stage, Tamper};
pub(crate) use store::{CutStore, FlushCrash};
