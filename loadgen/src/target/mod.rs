//! What is loaded: an engine in this process, or a server at an address.

mod embedded;
mod error;
pub(crate) mod events;
mod grpc;
pub(crate) mod money;
mod native;
mod operator;
mod reply;
mod server;
#[cfg(test)]
pub(crate) mod shelf;

use std::path::PathBuf;
use std::time::Duration;

use onrush_proto::{Reply, Request, Sku};

use crate::meter::Meter;
use crate::target::events::Events;
use crate::target::money::Money;
pub(crate) use embedded::{Embedded, EmbeddedOptions, GatewaySetup, StandIn, directory};
pub(crate) use error::TargetError;
pub(crate) use grpc::{Grpc, LinkOptions};
pub(crate) use native::{LinkError, Native, NativeAddress, NativeOptions, Quic, Tcp};

/// A client's connection to what is loaded. One thread drives it.
///
/// A remote target hands what [`submit`](Self::submit) gave it to its connections at
/// [`flush`](Self::flush), and sends keys as their 32 hex digits.
pub(crate) trait Target {
    /// Its name in reports: `embedded`, or an address.
    fn name(&self) -> String;

    /// Takes a request to send at the next flush, or gives it back when as many are in flight as
    /// the connection allows. Each taken request is answered once, under its tag.
    fn submit(&mut self, tag: u64, request: Request) -> Option<Request>;

    /// Sends what was submitted.
    fn flush(&mut self);

    /// Appends the answers that are there; returns how many.
    fn drain(&mut self, replies: &mut Vec<(u64, Reply)>) -> usize;

    /// Blocks until an answer is there or `timeout` passed; true if one is there.
    fn wait(&mut self, timeout: Duration) -> bool;

    /// Requests sent or submitted and not yet drained.
    fn in_flight(&self) -> usize;

    /// False while as many requests are in flight as the connection allows.
    fn has_room(&self) -> bool {
        true
    }

    /// True if a gateway behind the target settles payments: the answer to a started attempt is
    /// its end, [`Receipt::AttemptSettled`](onrush_proto::Receipt::AttemptSettled).
    fn settles(&self) -> bool {
        false
    }

    /// Orders that an audit reads back one by one; of longer journals it reads every n-th.
    fn orders_read_max(&self) -> usize {
        1_000_000
    }

    /// Reads what the shop publishes about a SKU. A read that is sent needs room.
    fn view(&mut self, tag: u64, page: Page, sku: &Sku) -> Viewed;

    /// Checks the engine's books.
    fn books(&mut self) -> Result<Books, TargetError>;

    /// Reads the events of the run; `None` where nobody can from here.
    fn events(&mut self) -> Result<Option<Events>, TargetError> {
        Ok(None)
    }

    /// Reads the money of all orders; `None` where nobody can from here.
    fn money(&mut self) -> Result<Option<Money>, TargetError> {
        Ok(None)
    }

    /// What reads its memory and its lag while it is loaded.
    fn meter(&self) -> Result<Meter, TargetError>;

    /// How it is set up.
    fn setup(&self) -> Setup;

    /// Ends it in good order.
    fn close(self: Box<Self>) -> Result<(), TargetError>;
}

/// Which page is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Page {
    /// The catalogue row.
    Product,
    /// Price and stock.
    Validate,
}

/// How a read went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Viewed {
    /// It was there.
    Found,
    /// Nothing is published under the SKU.
    Missing,
    /// It travels as a request; the answer comes under the tag.
    Sent,
}

/// What the engine says of its own books.
#[derive(Clone, Default, Debug)]
pub(crate) struct Books {
    /// One line per broken rule.
    pub(crate) violations: Vec<String>,
    /// Orders in the books that were ever accepted.
    pub(crate) orders: u64,
    pub(crate) units_received: i64,
    pub(crate) units_available: i64,
    pub(crate) units_held: i64,
    pub(crate) units_sold: i64,
    /// Orders over several shards that were open at the cut.
    pub(crate) open_cross_shard: u64,
}

/// How long a stage took, over all turns since the engine was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StageTimes {
    pub(crate) stage: String,
    pub(crate) turns: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) total_ns: u64,
}

/// How a target is set up, for reports.
#[derive(Clone, Default, Debug)]
pub(crate) struct Setup {
    /// How a write is made durable.
    pub(crate) durability: String,
    pub(crate) shards: u16,
    pub(crate) host: String,
    pub(crate) store: String,
    /// Durable writes so far.
    pub(crate) durable_writes: u64,
    /// Records so far.
    pub(crate) records: u64,
    /// Log bytes so far.
    pub(crate) log_bytes: u64,
    /// The largest share of the latest orders that wants one SKU.
    pub(crate) hot_key_share: f64,
    /// Where the data stays after the run, if it does.
    pub(crate) kept: Option<PathBuf>,
    /// How long the stages of a turn took, in their order.
    pub(crate) stages: Vec<StageTimes>,
}
