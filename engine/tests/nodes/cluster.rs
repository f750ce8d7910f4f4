//! Engines that are nodes of one cluster, and what is asked of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use onrush_engine::format::{ClusterFormat, ClusterKey};
use onrush_engine::replication::{Members, NodeId, Timing};
use onrush_engine::{
    ClusterOptions, Engine, EngineHandle, EngineOptions, FlushOptions, GroupError, HearError, Post,
};
use onrush_proto::{
    CallerKey, Command, CreateOrder, Currency, Money, OrderId, OrderLine, Outcome, PutProduct, Receipt,
    Refusal, Reply, Request, ShardId, Sku, StockChange, Text, UpdateStock,
};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const SHARD: ShardId = ShardId(0);
pub(crate) const UNITS: i64 = 20_000;

/// Who can speak to whom.
#[derive(Default)]
struct Wires {
    handles: Mutex<Vec<(NodeId, EngineHandle)>>,
    cut: Mutex<BTreeSet<NodeId>>,
}

struct Wire {
    from: NodeId,
    wires: Arc<Wires>,
}

impl Post for Wire {
    fn send(&self, to: NodeId, message: Vec<u8>) {
        let cut = self.wires.cut.lock().unwrap();
        if cut.contains(&to) || cut.contains(&self.from) {
            return;
        }
        drop(cut);
        let handles = self.wires.handles.lock().unwrap();
        let heard =
            handles.iter().find(|(node, _)| *node == to).map(|(_, handle)| handle.hear(self.from, &message));
        // One that closes hears nobody any more.
        let good = |heard: Result<(), HearError>| heard.is_ok() || heard == Err(GroupError::Stopped.into());
        assert!(heard.is_none_or(good), "a message that a node sends is one");
    }
}

pub(crate) struct Cluster {
    pub(crate) dir: TempDir,
    pub(crate) key: ClusterKey,
    wires: Arc<Wires>,
    pub(crate) engines: Vec<(NodeId, Engine)>,
    shards: u16,
    flush: FlushOptions,
    segment_bytes: u64,
}

/// Stores that keep up, so that restarts begin somewhere.
pub(crate) fn flush() -> FlushOptions {
    FlushOptions { rows: 500, log_bytes: 256 << 10, ..FlushOptions::default() }
}

pub(crate) fn founders() -> Members {
    Members::of([1, 2, 3].map(NodeId)).unwrap()
}

impl Cluster {
    pub(crate) fn founded(shards: u16) -> Self {
        Self::founded_with(shards, flush(), 1 << 20)
    }

    pub(crate) fn unfounded(shards: u16, flush: FlushOptions, segment_bytes: u64) -> Self {
        let (dir, key) = (tempfile::tempdir().unwrap(), ClusterKey([7; 32]));
        Self { dir, key, wires: Arc::default(), engines: Vec::new(), shards, flush, segment_bytes }
    }

    pub(crate) fn founded_with(shards: u16, flush: FlushOptions, segment_bytes: u64) -> Self {
        let mut cluster = Self::unfounded(shards, flush, segment_bytes);
        for node in founders().voters() {
            cluster.format(node);
            cluster.open(node);
        }
        cluster
    }

    pub(crate) fn path(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("node-{}", node.0))
    }

    pub(crate) fn format(&self, node: NodeId) {
        let format = ClusterFormat { node, founders: founders(), key: self.key };
        Engine::format_node(&self.path(node), self.shards, format).unwrap();
    }

    pub(crate) fn options(&self, node: NodeId) -> EngineOptions {
        let post = Arc::new(Wire { from: node, wires: Arc::clone(&self.wires) });
        EngineOptions {
            data_dir: Some(self.path(node)),
            segment_bytes: self.segment_bytes,
            flush: self.flush,
            cluster: Some(ClusterOptions { post, timing: Timing::default() }),
            ..EngineOptions::default()
        }
    }

    pub(crate) fn open(&mut self, node: NodeId) {
        let engine = Engine::open(self.options(node)).unwrap();
        self.wires.handles.lock().unwrap().push((node, engine.handle()));
        self.engines.push((node, engine));
    }

    pub(crate) fn close(&mut self, node: NodeId) {
        let at = self.engines.iter().position(|(number, _)| *number == node).unwrap();
        let (_, engine) = self.engines.remove(at);
        engine.close().unwrap();
        self.wires.handles.lock().unwrap().retain(|(number, _)| *number != node);
    }

    pub(crate) fn cut(&self, node: NodeId) {
        self.wires.cut.lock().unwrap().insert(node);
    }

    pub(crate) fn heal(&self) {
        self.wires.cut.lock().unwrap().clear();
    }

    pub(crate) fn handle(&self, node: NodeId) -> EngineHandle {
        self.engines.iter().find(|(number, _)| *number == node).unwrap().1.handle()
    }

    pub(crate) fn handles(&self) -> Vec<EngineHandle> {
        self.engines.iter().map(|(_, engine)| engine.handle()).collect()
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// The node that decides, among those that can be reached.
    pub(crate) fn leader(&self) -> NodeId {
        let cut = || self.wires.cut.lock().unwrap().clone();
        let decides = |node: NodeId| self.shards().all(|shard| self.handle(node).decides(shard));
        let leads = |node: &NodeId| !cut().contains(node) && decides(*node);
        wait("a leader", || self.engines.iter().map(|(node, _)| *node).find(leads))
    }

    /// Asks whoever decides, under the same key until somebody answers.
    pub(crate) fn ask(&self, request: &Request) -> Reply {
        wait("an answer", || {
            let reply = self.handle(self.leader()).call_blocking(request.clone());
            match reply.outcome {
                Outcome::Refused(Refusal::NotLeader { .. } | Refusal::Stopped) => None,
                _ => Some(reply),
            }
        })
    }

    /// Changes the groups of all shards, and waits until it has.
    pub(crate) fn change(&self, voters: &[NodeId], learners: &[NodeId]) {
        self.shards().for_each(|shard| self.change_one(shard, voters, learners));
    }

    pub(crate) fn change_one(&self, shard: ShardId, voters: &[NodeId], learners: &[NodeId]) {
        wait("a change of the group", || {
            let handle = self.handle(self.leader());
            let members = handle.group(shard).ok()?.members;
            let next = members.changing_to(voters.iter().copied(), learners.iter().copied()).unwrap();
            let there = |now: &Members| !now.is_changing() && now.voters().eq(voters.iter().copied());
            if there(&members) && members.learners().eq(learners.iter().copied()) {
                return Some(());
            }
            match handle.change_group(shard, next) {
                Ok(()) | Err(GroupError::Declined(_) | GroupError::Stopped) => None,
                Err(error) => panic!("{error}"),
            }
        });
    }

    /// Has a node given the office, whoever has it.
    pub(crate) fn lead(&self, node: NodeId) {
        wait("an office of the node", || {
            let leader = self.leader();
            if leader != node {
                let _ = self.handle(leader).hand_over(SHARD, node);
            }
            (leader == node).then_some(())
        });
    }

    /// Lsns of the snapshots that a node has.
    pub(crate) fn snapshots(&self, node: NodeId) -> Vec<u64> {
        let shelf = self.path(node).join("shard-000").join("snapshots");
        let names = std::fs::read_dir(shelf).unwrap().map(|file| file.unwrap().file_name());
        let lsn = |name: &str| name.strip_prefix("snapshot-")?.strip_suffix(".snap")?.parse().ok();
        names.filter_map(|name| lsn(name.to_str()?)).collect()
    }

    /// True if a node's log does not reach back to its beginning any more.
    pub(crate) fn has_released(&self, node: NodeId) -> bool {
        let log = self.path(node).join("shard-000").join("log");
        !log.join("000000000001.segment").exists()
    }

    /// Waits until all nodes hold the same records, and compares what they hold. A leader may record something of its own
    /// between two looks: then it is looked again.
    pub(crate) fn agree(&self, sku: Sku) {
        let held = |handle: &EngineHandle| {
            let report = handle.audit().unwrap();
            assert!(report.violations.is_empty(), "{report:?}");
            (report.cut, handle.stock(&sku).unwrap(), report.state_hash)
        };
        let held = wait("nodes that are equally far", || {
            let equal = |shard| {
                let group = |handle: &EngineHandle| handle.group(shard).unwrap();
                let groups: Vec<_> = self.handles().iter().map(group).collect();
                let first = (groups[0].last, groups[0].last);
                groups.iter().all(|group| (group.applied, group.last) == first)
            };
            let held: Vec<_> = self.handles().iter().filter(|_| self.shards().all(equal)).map(held).collect();
            let same = held.len() == self.engines.len() && held.iter().all(|one| one.0 == held[0].0);
            same.then_some(held)
        });
        assert!(held.iter().all(|one| *one == held[0]), "{held:?}");
    }
}

pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "expected {what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn put_on_sale(cluster: &Cluster, sku: Sku) {
    let product = PutProduct {
        sku,
        name: "Game console".into(),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(100, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    };
    cluster.ask(&Request::unkeyed(Command::PutProduct(Box::new(product))));
    let stock = UpdateStock { sku, change: StockChange::Add(UNITS), reason: Text::EMPTY };
    cluster.ask(&Request::unkeyed(Command::UpdateStock(stock)));
    wait("its stock everywhere", || {
        let shown = |handle: &EngineHandle| handle.stock(&sku).is_some_and(|stock| stock.available == UNITS);
        cluster.handles().iter().all(shown).then_some(())
    });
}

pub(crate) fn order(cluster: &Cluster, sku: Sku, number: u64) -> Request {
    let handle = cluster.handles().remove(0);
    let key = handle.key(CallerKey { caller: "buyer", key: &number.to_string() });
    let (customer, lines) = ("buyer".parse().unwrap(), [OrderLine::new(sku, 1)].into_iter().collect());
    Request::new(key, Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 }))
}

pub(crate) fn bought(reply: &Reply) -> OrderId {
    match reply.outcome {
        Outcome::Accepted(Receipt::Order { order, .. }) => order,
        ref other => panic!("expected an order, found {other:?}"),
    }
}

pub(crate) fn sku() -> Sku {
    "console".parse().unwrap()
}
