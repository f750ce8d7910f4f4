//! The engine from outside: calls, ports, views, subscriptions, lists.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use event_listener::{Event as Signal, Listener};
use onrush_proto::{
    CallerKey, CustomerId, DocKey, DocumentRow, IdempotencyKey, KeyHasher, Lsn, OrderId, OrderRow, Outcome,
    Refusal, Reply, Request, ShardId, Sku, Slot, SlotMap, StockChangeRow,
};

use crate::audit::{AuditError, AuditReport, ShardCut, audit, audit_apart};
use crate::cluster::GroupError;
use crate::flush::StoredError;
use crate::host::{Call, Cut, Desk, FlushControl, HostClock, InlineHost, Parcel, Ports, Station};
use crate::lane::{Lane, Pump};
use crate::port::Port;
use crate::replication::NodeId;
use crate::stats::EngineStats;
use crate::subscription::{SubscribeError, Subscription};
use crate::views::{ProductView, StockView, Views};

/// How often, and after which pause, a node that follows looks again at what seems broken.
const SECOND_LOOKS: u32 = 50;
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(100);

/// What every handle shares.
pub(crate) struct Core {
    pub(crate) map: SlotMap,
    pub(crate) hasher: KeyHasher,
    pub(crate) stations: Arc<[Arc<Station>]>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) desk_port: u32,
    pub(crate) views: Views,
    pub(crate) clock: HostClock,
    /// Which node of a cluster this is.
    pub(crate) node: Option<NodeId>,
    pub(crate) flush_controls: Vec<Arc<crossbeam_queue::SegQueue<FlushControl>>>,
    pub(crate) driver: Option<Arc<InlineHost>>,
    pub(crate) durability: String,
    /// Log bytes by which each store may lag before admission waits.
    pub(crate) lag_bytes_max: u64,
}

/// Speaks to an open engine. Cheap to clone, shared between threads. When the engine is closed,
/// calls are refused as [`Refusal::Stopped`].
#[derive(Clone)]
pub struct EngineHandle {
    core: Arc<Core>,
}

impl EngineHandle {
    pub(crate) fn new(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }

    /// Which shard owns which slot.
    pub fn slot_map(&self) -> SlotMap {
        self.core.map
    }

    /// The hash of a caller's idempotency key.
    pub fn key(&self, key: CallerKey<'_>) -> IdempotencyKey {
        self.core.hasher.key(key)
    }

    /// What hashes the keys of this data directory.
    pub fn hasher(&self) -> KeyHasher {
        self.core.hasher
    }

    /// A key for a caller that brought none, chosen on `slot` so that it costs no hop. `entropy` is
    /// fresh randomness.
    pub fn fresh_key(&self, slot: Slot, entropy: u128) -> IdempotencyKey {
        IdempotencyKey(((entropy << 8) | u128::from(slot.0)).max(1 << 8))
    }

    /// One request. The future works on any executor; dropping it gives up the answer, not the
    /// deed.
    pub async fn call(&self, request: Request) -> Reply {
        match self.dispatch(request) {
            Ok(call) => {
                self.drive();
                call.await
            }
            Err(reply) => reply,
        }
    }

    /// One request from a plain thread.
    pub fn call_blocking(&self, request: Request) -> Reply {
        let call = match self.dispatch(request) {
            Ok(call) => call,
            Err(reply) => return reply,
        };
        self.drive();
        block_on(call)
    }

    #[allow(clippy::result_large_err, reason = "a reply is what the caller wants")]
    fn dispatch(&self, request: Request) -> Result<Call, Reply> {
        let station = self.station(usize::from(self.shard_of(&request).0));
        let call = self.core.desk.open();
        let parcel = Parcel::One { port: self.core.desk_port, tag: call.tag(), request };
        let sent = station.send(parcel).is_ok();
        // The door may close behind the parcel: then nobody may ever look at it.
        match (station.is_closed(), sent) {
            (true, _) => Err(refused(Refusal::Stopped)),
            (false, true) => Ok(call),
            (false, false) => Err(refused(Refusal::Overloaded)),
        }
    }

    /// A way for the calls of one event loop, which leave together. The loop polls the [`Pump`].
    pub fn lane(&self) -> (Lane, Pump) {
        Lane::open(self.clone())
    }

    /// A batch interface of its own: one per client thread.
    pub fn port(&self) -> Port {
        Port::open(self.clone())
    }

    /// What is published of a SKU's stock. No hop, no lock, no allocation; may lag its owner by one
    /// batch.
    pub fn stock(&self, sku: &Sku) -> Option<StockView> {
        self.core.views.stock(sku)
    }

    /// What is published of a SKU's catalogue row, in place. No hop, no lock, no copy, no allocation.
    pub fn product(&self, sku: &Sku) -> ProductView {
        self.core.views.product(sku)
    }

    /// All published views.
    pub fn views(&self) -> &Views {
        &self.core.views
    }

    /// Orders of a customer, newest first, strictly before `before` in that order, at most `limit`,
    /// over all shards. Reads the store, bucket by bucket: not for the hot path.
    pub fn orders_of(
        &self,
        customer: &CustomerId,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<OrderRow>, ListError> {
        let mut found = Vec::new();
        for cut in self.cut()? {
            crate::lists::orders_of(&cut.rows, customer, before, limit, &mut found)?;
        }
        crate::lists::newest_first(&mut found);
        found.truncate(limit);
        Ok(found)
    }

    /// Documents whose key begins with `prefix`, ascending, after `after`, at most `limit`.
    pub fn documents(
        &self,
        prefix: &str,
        after: Option<&DocKey>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, ListError> {
        let mut found = Vec::new();
        for cut in self.cut()? {
            found.extend(cut.rows.documents(prefix, after, limit)?);
        }
        found.sort_unstable_by_key(|row| row.key);
        found.truncate(limit);
        Ok(found)
    }

    /// Changes of a SKU's stock by `UpdateStock` behind a version of it, the eldest first, at most
    /// `limit`: what was changed, when and why. Reads the store: not for the hot path.
    pub fn stock_changes(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StockChangeRow>, ListError> {
        let shard = self.core.map.shard(Slot::of(sku.as_bytes()));
        let cut = self.cut()?;
        Ok(cut[usize::from(shard.0)].rows.stock_changes(sku, after, limit)?)
    }

    /// One shard's committed records, from a position on.
    pub fn subscribe(&self, shard: ShardId, from: Lsn) -> Subscription {
        let tail = Arc::clone(&self.station(usize::from(shard.0)).tail);
        Subscription::driven(shard, tail, from, self.core.driver.clone())
    }

    /// Where a shard's committed log ends.
    pub fn end(&self, shard: ShardId) -> Lsn {
        Lsn(self.station(usize::from(shard.0)).tail.committed())
    }

    /// The first record of a shard's log that can be read; one past the end if there is none.
    pub fn first(&self, shard: ShardId) -> Result<Lsn, SubscribeError> {
        crate::subscription::first(&self.station(usize::from(shard.0)).tail)
    }

    /// The first committed record of a shard that was decided at `time_us` (since 1970) or later; one past the end if
    /// there is none. Reads the log's files: not for a front thread.
    pub fn first_at(&self, shard: ShardId, time_us: u64) -> Result<Lsn, SubscribeError> {
        crate::subscription::first_at(&self.station(usize::from(shard.0)).tail, time_us)
    }

    /// Checks all books on a cut: every row as of one committed record per shard. Where a node follows, its shards are not
    /// equally far: it looks again, for a while, at what seems broken, and reports what stays so.
    pub fn audit(&self) -> Result<AuditReport, AuditError> {
        let mut report = self.audit_of(audit)?;
        for _ in 0..SECOND_LOOKS {
            if report.ok || !self.follows_several() {
                break;
            }
            #[allow(clippy::disallowed_methods, reason = "nobody announces that shards are equally far")]
            std::thread::sleep(SECOND_LOOK_AFTER);
            report = self.audit_of(audit)?.broken_as_in(&report);
        }
        Ok(report)
    }

    /// The same where nothing brings the shards to the same moment.
    pub(crate) fn audit_apart(&self) -> Result<AuditReport, AuditError> {
        self.audit_of(audit_apart)
    }

    fn audit_of(
        &self,
        books: fn(&[ShardCut], SlotMap, KeyHasher) -> Result<AuditReport, AuditError>,
    ) -> Result<AuditReport, AuditError> {
        let cut = self.cut().map_err(AuditError::Cut)?;
        let lsns = cut.iter().map(|cut| Lsn(cut.lsn)).collect();
        let shards = cut.into_iter().map(|cut| ShardCut { rows: cut.rows, ceiling: Some(cut.ceiling) });
        let report = books(&shards.collect::<Vec<_>>(), self.core.map, self.core.hasher)?;
        Ok(AuditReport { cut: lsns, ..report })
    }

    /// True for a node at which not all of several shards are decided.
    fn follows_several(&self) -> bool {
        let shards = self.core.map.shards();
        self.core.node.is_some() && shards > 1 && !(0..shards).all(|shard| self.decides(ShardId(shard)))
    }

    /// Counters of all shards.
    pub fn stats(&self) -> EngineStats {
        self.stats_of(0..self.core.stations.len())
    }

    /// True once a shard of a node has ended because it lacks what the others have released, and a snapshot of theirs has
    /// arrived: it begins from that when the engine is opened again. Cheap: it reads a flag of each.
    pub fn begins_anew(&self) -> bool {
        self.core.stations.iter().any(|station| station.begins_anew.load(Ordering::Relaxed))
    }

    /// Shards that stopped after a failed durable write. Cheap: it reads a flag of each.
    pub fn stopped_shards(&self) -> u16 {
        let stopped = |station: &&Arc<Station>| station.stopped.load(Ordering::Relaxed);
        self.core.stations.iter().filter(stopped).count() as u16
    }

    /// Counters of each shard.
    pub fn shard_stats(&self) -> Vec<EngineStats> {
        (0..self.core.stations.len()).map(|shard| self.stats_of(shard..shard + 1)).collect()
    }

    fn stats_of(&self, shards: Range<usize>) -> EngineStats {
        let (stations, views) = (&self.core.stations[shards.clone()], &self.core.views.shards()[shards]);
        EngineStats::of(stations, views, &self.core.durability, self.core.lag_bytes_max)
    }

    /// How stale what is published here may be: everything that was acknowledged longer ago, at whichever node, is in it.
    /// Nothing for an engine of its own; `None` for a node that nobody has told yet. Cheap: it reads a number of each shard.
    pub fn staleness(&self) -> Option<Duration> {
        if self.core.node.is_none() {
            return Some(Duration::ZERO);
        }
        let fresh_us = |station: &Arc<Station>| station.fresh_us.load(Ordering::Relaxed);
        let fresh_us = self.core.stations.iter().map(fresh_us).min().filter(|fresh_us| *fresh_us > 0)?;
        Some(Duration::from_micros(self.core.clock.now_us().saturating_sub(fresh_us)))
    }

    /// All rows of every shard as of its committed end.
    fn cut(&self) -> Result<Vec<Cut>, ListError> {
        self.drive();
        let mut waiting = Vec::new();
        for (station, controls) in self.core.stations.iter().zip(&self.core.flush_controls) {
            let (reply, answer) = sync_channel(1);
            controls.push(FlushControl::Show(reply));
            station.tail.notify();
            waiting.push((station, answer));
        }
        waiting.into_iter().map(|(station, answer)| await_cut(station, &answer)).collect()
    }

    /// The shard that a request goes to first: its key's, or that of what it is about.
    pub fn shard_of(&self, request: &Request) -> ShardId {
        let slot = match request.key.is_none() {
            true => request.command.slot(),
            false => Slot::of_hash(request.key.0),
        };
        self.core.map.shard(slot)
    }

    pub(crate) fn cluster_node(&self) -> Option<NodeId> {
        self.core.node
    }

    /// The door of a shard that a group has.
    pub(crate) fn group_station(&self, shard: ShardId) -> Result<&Arc<Station>, GroupError> {
        if self.core.node.is_none() {
            return Err(GroupError::Alone);
        }
        let (shards, found) = (self.core.map.shards(), shard.0);
        self.core.stations.get(usize::from(found)).ok_or(GroupError::NoShard { shards, found })
    }

    pub(crate) fn station(&self, shard: usize) -> &Arc<Station> {
        &self.core.stations[shard]
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.core.ports
    }

    pub(crate) fn drive(&self) {
        if let Some(driver) = &self.core.driver {
            driver.drive();
        }
    }
}

/// Why a list could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The engine is closed, or a shard has stopped.
    #[error("expected an open engine, found a closed one")]
    Closed,
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(String),
    /// A row could not be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

/// Waits for a flusher, unless its thread has ended.
fn await_cut(station: &Station, answer: &Receiver<Result<Cut, String>>) -> Result<Cut, ListError> {
    loop {
        match answer.recv_timeout(Duration::from_millis(100)) {
            Ok(cut) => return cut.map_err(ListError::Store),
            Err(RecvTimeoutError::Timeout) if !station.flusher_ended.load(Ordering::Acquire) => {}
            Err(_) => return Err(ListError::Closed),
        }
    }
}

pub(crate) fn refused(refusal: Refusal) -> Reply {
    Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: Lsn(0) }
}

/// Drives a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Woken(Signal);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.notify(usize::MAX);
        }
    }
    let woken = Arc::new(Woken(Signal::new()));
    let waker = std::task::Waker::from(Arc::clone(&woken));
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        let listener = woken.0.listen();
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        listener.wait();
    }
}
