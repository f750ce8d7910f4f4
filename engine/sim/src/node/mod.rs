//! The node: the product's shards, logs and stores, driven by hand.

mod flush;
mod reopen;
mod seat;

pub(crate) use flush::FlushCrash;
pub(crate) use reopen::{Reopened, position};
pub(crate) use seat::{Seat, Stage};
