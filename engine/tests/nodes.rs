//! Whole engines as nodes of a cluster: their own threads, clocks, disks and stores, joined by calls.
//!
//! What the simulator does to consensus it does in virtual time; here the host is what is looked at.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test may be impatient")]
#![allow(clippy::disallowed_types, reason = "the wires of a test are behind a lock")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use onrush_engine::format::{ClusterFormat, ClusterKey, FormatError};
use onrush_engine::replication::{Declined, Members, NodeId, Timing};
use onrush_engine::{
    ClusterOptions, Engine, EngineHandle, EngineOptions, FlushOptions, GroupError, HearError, HostError,
    HostKind, OpenError, Post, verify,
};
use onrush_proto::{
    CallerKey, Command, CreateOrder, Currency, Money, OrderId, OrderLine, Outcome, PutProduct, Receipt,
    Refusal, Reply, Request, ShardId, Sku, StockChange, Text, UpdateStock,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const SHARD: ShardId = ShardId(0);
const UNITS: i64 = 10_000;

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

struct Cluster {
    dir: TempDir,
    key: ClusterKey,
    wires: Arc<Wires>,
    engines: Vec<(NodeId, Engine)>,
    shards: u16,
    flush: FlushOptions,
    segment_bytes: u64,
}

/// Stores that keep up, so that restarts begin somewhere.
fn flush() -> FlushOptions {
    FlushOptions { rows: 500, log_bytes: 256 << 10, ..FlushOptions::default() }
}

fn founders() -> Members {
    Members::of([1, 2, 3].map(NodeId)).unwrap()
}

impl Cluster {
    fn founded(shards: u16) -> Self {
        Self::founded_with(shards, flush(), 1 << 20)
    }

    fn unfounded(shards: u16, flush: FlushOptions, segment_bytes: u64) -> Self {
        let (dir, key) = (tempfile::tempdir().unwrap(), ClusterKey([7; 32]));
        Self { dir, key, wires: Arc::default(), engines: Vec::new(), shards, flush, segment_bytes }
    }

    fn founded_with(shards: u16, flush: FlushOptions, segment_bytes: u64) -> Self {
        let mut cluster = Self::unfounded(shards, flush, segment_bytes);
        for node in founders().voters() {
            cluster.format(node);
            cluster.open(node);
        }
        cluster
    }

    fn path(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("node-{}", node.0))
    }

    fn format(&self, node: NodeId) {
        let format = ClusterFormat { node, founders: founders(), key: self.key };
        Engine::format_node(&self.path(node), self.shards, format).unwrap();
    }

    fn options(&self, node: NodeId) -> EngineOptions {
        let post = Arc::new(Wire { from: node, wires: Arc::clone(&self.wires) });
        EngineOptions {
            data_dir: Some(self.path(node)),
            segment_bytes: self.segment_bytes,
            flush: self.flush,
            cluster: Some(ClusterOptions { post, timing: Timing::default() }),
            ..EngineOptions::default()
        }
    }

    fn open(&mut self, node: NodeId) {
        let engine = Engine::open(self.options(node)).unwrap();
        self.wires.handles.lock().unwrap().push((node, engine.handle()));
        self.engines.push((node, engine));
    }

    fn close(&mut self, node: NodeId) {
        let at = self.engines.iter().position(|(number, _)| *number == node).unwrap();
        let (_, engine) = self.engines.remove(at);
        engine.close().unwrap();
        self.wires.handles.lock().unwrap().retain(|(number, _)| *number != node);
    }

    fn cut(&self, node: NodeId) {
        self.wires.cut.lock().unwrap().insert(node);
    }

    fn heal(&self) {
        self.wires.cut.lock().unwrap().clear();
    }

    fn handle(&self, node: NodeId) -> EngineHandle {
        self.engines.iter().find(|(number, _)| *number == node).unwrap().1.handle()
    }

    fn handles(&self) -> Vec<EngineHandle> {
        self.engines.iter().map(|(_, engine)| engine.handle()).collect()
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// The node that decides, among those that can be reached.
    fn leader(&self) -> NodeId {
        let cut = || self.wires.cut.lock().unwrap().clone();
        let decides = |node: NodeId| self.shards().all(|shard| self.handle(node).decides(shard));
        let leads = |node: &NodeId| !cut().contains(node) && decides(*node);
        wait("a leader", || self.engines.iter().map(|(node, _)| *node).find(leads))
    }

    /// Asks whoever decides, under the same key until somebody answers.
    fn ask(&self, request: &Request) -> Reply {
        wait("an answer", || {
            let reply = self.handle(self.leader()).call_blocking(request.clone());
            match reply.outcome {
                Outcome::Refused(Refusal::NotLeader { .. } | Refusal::Stopped) => None,
                _ => Some(reply),
            }
        })
    }

    /// Changes the groups of all shards, and waits until it has.
    fn change(&self, voters: &[NodeId], learners: &[NodeId]) {
        self.shards().for_each(|shard| self.change_one(shard, voters, learners));
    }

    fn change_one(&self, shard: ShardId, voters: &[NodeId], learners: &[NodeId]) {
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

    /// True if a node's log does not reach back to its beginning any more.
    fn has_released(&self, node: NodeId) -> bool {
        let log = self.path(node).join("shard-000").join("log");
        !log.join("000000000001.segment").exists()
    }

    /// Waits until all nodes hold the same records, and compares what they hold. A leader may record something of its own
    /// between two looks: then it is looked again.
    fn agree(&self, sku: Sku) {
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

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "expected {what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn put_on_sale(cluster: &Cluster, sku: Sku) {
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

fn order(cluster: &Cluster, sku: Sku, number: u64) -> Request {
    let handle = cluster.handles().remove(0);
    let key = handle.key(CallerKey { caller: "buyer", key: &number.to_string() });
    let (customer, lines) = ("buyer".parse().unwrap(), [OrderLine::new(sku, 1)].into_iter().collect());
    Request::new(key, Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 }))
}

fn bought(reply: &Reply) -> OrderId {
    match reply.outcome {
        Outcome::Accepted(Receipt::Order { order, .. }) => order,
        ref other => panic!("expected an order, found {other:?}"),
    }
}

fn sku() -> Sku {
    "console".parse().unwrap()
}

/// One decides, the others turn requests away by its name and show what it has published; it gives its office
/// away as it closes, and comes back to a log that went on without it.
#[test]
fn an_office_is_handed_on_and_nothing_is_lost() {
    let mut cluster = Cluster::founded(1);
    put_on_sale(&cluster, sku());
    let first = cluster.leader();
    for node in founders().voters().filter(|node| *node != first) {
        let reply = cluster.handle(node).call_blocking(order(&cluster, sku(), 0));
        assert_eq!(reply.outcome, Outcome::Refused(Refusal::NotLeader { leader: first.0 }));
    }
    let bought_first = bought(&cluster.ask(&order(&cluster, sku(), 1)));
    cluster.close(first);
    let second = cluster.leader();
    assert_ne!(first, second);
    let again = cluster.ask(&order(&cluster, sku(), 1));
    assert!(again.replayed && bought(&again) == bought_first, "{again:?}");
    for number in 2..500 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    cluster.open(first);
    cluster.agree(sku());
    assert_eq!(cluster.handle(first).stock(&sku()).unwrap().available, UNITS - 499);
    cluster.handle(second).hand_over(SHARD, first).unwrap();
    wait("the office back", || cluster.handle(first).decides(SHARD).then_some(()));
    assert!(cluster.ask(&order(&cluster, sku(), 499)).replayed);
    for node in founders().voters() {
        cluster.close(node);
    }
}

/// A leader that nobody hears decides on, and says nothing of it. What it has decided is taken back when it hears of
/// another one: whoever waited learns that nobody knows, and asks again under the same key.
#[test]
fn what_a_leader_decides_alone_is_taken_back() {
    let cluster = Cluster::founded(1);
    put_on_sale(&cluster, sku());
    let first = cluster.leader();
    bought(&cluster.ask(&order(&cluster, sku(), 1)));
    cluster.cut(first);
    let alone = cluster.handle(first);
    let port = thread::spawn({
        let requests: Vec<_> = (2..40).map(|number| order(&cluster, sku(), number)).collect();
        move || {
            let mut port = alone.port();
            for (tag, request) in (0u64..).zip(requests) {
                port.submit(tag, request).unwrap();
            }
            port.flush();
            let mut replies = Vec::new();
            while port.in_flight() > 0 {
                assert!(port.wait(PATIENCE), "an answer to everybody");
                port.drain(|_, reply| replies.push(reply.outcome));
            }
            replies
        }
    });
    for number in 20..60 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    for outcome in port.join().unwrap() {
        let unknown = matches!(outcome, Outcome::Refused(Refusal::Stopped | Refusal::NotLeader { .. }));
        assert!(unknown, "expected nothing to be said of what no quorum has, found {outcome:?}");
    }
    cluster.heal();
    for number in 1..60 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    cluster.agree(sku());
    assert_eq!(cluster.handle(first).stock(&sku()).unwrap().available, UNITS - 59);
}

/// A basket of two, one key; its lines may live on two shards, and its key on a third.
fn basket(cluster: &Cluster, skus: [Sku; 2], number: u64) -> Request {
    let mut request = order(cluster, skus[0], number);
    if let Command::CreateOrder(create) = &mut request.command {
        create.lines.push(OrderLine::new(skus[1], 1));
    }
    Request::new(request.key, request.command)
}

/// All shards are decided at one node. Whoever is there when it is gone decides all of them next, knows each key though
/// another shard has it, and gives up what had not come to be; and what was under way between shards holds nothing back.
#[test]
fn shards_are_decided_at_one_node_and_go_to_the_next_together() {
    let mut cluster = Cluster::founded(3);
    let skus: Vec<Sku> = (0..6).map(|number| format!("console-{number}").parse().unwrap()).collect();
    skus.iter().for_each(|sku| put_on_sale(&cluster, *sku));
    let pair =
        |number: u64| [skus[number as usize % 6], skus[(number as usize + 1 + number as usize / 6 % 5) % 6]];
    let mut bought_as = Vec::new();
    let mut buy = |cluster: &Cluster, numbers: std::ops::Range<u64>| {
        bought_as.extend(numbers.map(|number| bought(&cluster.ask(&basket(cluster, pair(number), number)))));
    };
    buy(&cluster, 0..60);
    let first = cluster.leader();
    cluster.cut(first);
    // Whoever asks the one that nobody hears any more is answered in the end.
    let alone = cluster.handle(first);
    let waiting = thread::spawn({
        let requests: Vec<_> = (60..120).map(|number| basket(&cluster, pair(number), number)).collect();
        move || requests.into_iter().map(|request| alone.call_blocking(request).outcome).collect::<Vec<_>>()
    });
    buy(&cluster, 60..120);
    for outcome in waiting.join().unwrap() {
        let unknown = matches!(outcome, Outcome::Refused(Refusal::Stopped | Refusal::NotLeader { .. }));
        assert!(unknown, "expected nothing to be said of what no quorum has, found {outcome:?}");
    }
    cluster.heal();
    let second = cluster.leader();
    cluster.close(second);
    let report = verify(&cluster.path(second)).unwrap();
    assert!(report.ok && report.orders > 0, "{report:?}");
    buy(&cluster, 120..180);
    cluster.open(second);
    let third = cluster.leader();
    cluster.handle(third).hand_over(SHARD, second).unwrap();
    wait("all shards at the second node", || (cluster.leader() == second).then_some(()));
    for (number, order) in (0..).zip(&bought_as) {
        let again = cluster.ask(&basket(&cluster, pair(number), number));
        assert!(again.replayed && bought(&again) == *order, "order {number}: {again:?}");
    }
    skus.iter().for_each(|sku| cluster.agree(*sku));
    let left: i64 = skus.iter().map(|sku| cluster.handle(second).stock(sku).unwrap().available).sum();
    assert_eq!(left, 6 * UNITS - 2 * 180);
}

/// The shards of a node that follows are not equally far: of an order it may know that it was paid for and not yet what
/// another shard holds for it. Its books are in order all the same.
#[test]
fn the_books_of_followers_are_in_order_under_load() {
    let cluster = Cluster::founded(3);
    let skus: Vec<Sku> = (0..6).map(|number| format!("console-{number}").parse().unwrap()).collect();
    skus.iter().for_each(|sku| put_on_sale(&cluster, *sku));
    let leader = cluster.leader();
    let followers: Vec<_> = cluster.engines.iter().filter(|(node, _)| *node != leader).collect();
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        for buyer in 0..16 {
            let (cluster, skus) = (&cluster, &skus);
            scope.spawn(move || {
                for number in (buyer..).step_by(16).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                    let pair = [skus[number as usize % 6], skus[(number as usize + 1) % 6]];
                    bought(&cluster.ask(&basket(cluster, pair, number)));
                }
            });
        }
        let mut audits = 0;
        wait("followers whose books were looked at under load", || {
            let reports: Vec<_> =
                followers.iter().map(|(_, engine)| engine.handle().audit().unwrap()).collect();
            let broken = reports.iter().find(|report| !report.ok);
            assert!(broken.is_none(), "{broken:?}");
            audits += 1;
            (audits >= 10 && reports.iter().all(|report| report.orders > 100)).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Whoever reads at a node that follows is told how stale that may be: what was acknowledged longer ago is there, also at a
/// node that nobody speaks with any more.
#[test]
fn what_was_acknowledged_longer_ago_than_a_node_is_stale_is_there() {
    let cluster = Cluster::founded(2);
    put_on_sale(&cluster, sku());
    let leader = cluster.leader();
    let followers: Vec<NodeId> = founders().voters().filter(|node| *node != leader).collect();
    let available = |node: NodeId| cluster.handle(node).stock(&sku()).map_or(UNITS, |stock| stock.available);
    for number in 0..20 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
        let acknowledged = Instant::now();
        for node in &followers {
            let left = wait("a follower that is fresh enough", || {
                let since = acknowledged.elapsed();
                (cluster.handle(*node).staleness()? < since).then(|| available(*node))
            });
            assert!(left < UNITS - number as i64, "order {number}: {left} at {node}");
        }
    }
    cluster.cut(followers[0]);
    let before = cluster.handle(followers[0]).staleness().unwrap();
    bought(&cluster.ask(&order(&cluster, sku(), 20)));
    let acknowledged = Instant::now();
    wait("a node that is staler the longer nobody speaks with it", || {
        let since = acknowledged.elapsed();
        let stale = cluster.handle(followers[0]).staleness().unwrap();
        assert!(stale >= since, "{stale:?} of one that lacks what was acknowledged {since:?} ago");
        (stale > before + Duration::from_millis(50)).then_some(())
    });
    cluster.heal();
    wait("a node that is back", || {
        let is_told = cluster.handle(followers[0]).staleness()? < acknowledged.elapsed();
        (is_told && available(followers[0]) < UNITS - 20).then_some(())
    });
}

/// A node follows as a learner first, gets a vote when it has caught up, and leads; the one that was removed is not
/// missed.
#[test]
fn a_node_comes_and_another_one_goes() {
    let mut cluster = Cluster::founded(2);
    put_on_sale(&cluster, sku());
    for number in 0..300 {
        bought(&cluster.ask(&order(&cluster, sku(), number)));
    }
    let (new, gone) = (NodeId(4), founders().voters().find(|node| *node != cluster.leader()).unwrap());
    cluster.format(new);
    cluster.open(new);
    let three: Vec<NodeId> = founders().voters().collect();
    cluster.change(&three, &[new]);
    let other: Vec<NodeId> = [1, 2, 3, 4].map(NodeId).into_iter().filter(|node| *node != gone).collect();
    cluster.change(&other, &[]);
    cluster.close(gone);
    wait("an office of the new node", || {
        let leader = cluster.leader();
        if leader != new {
            let _ = cluster.handle(leader).hand_over(SHARD, new);
        }
        (leader == new).then_some(())
    });
    assert!(cluster.ask(&order(&cluster, sku(), 7)).replayed);
    cluster.agree(sku());
    assert_eq!(cluster.handle(new).stock(&sku()).unwrap().available, UNITS - 300);
}

/// Logs are let go of behind snapshots. A node that comes later begins from one of them, and from the log behind it: it
/// follows, gets a vote, leads, and remembers what was acknowledged before it came.
#[test]
fn a_node_that_lacks_what_was_released_begins_from_a_snapshot() {
    let often =
        FlushOptions { log_bytes: 64 << 10, checkpoint_bytes: 1, snapshot_bytes: 256 << 10, ..flush() };
    let mut cluster = Cluster::founded_with(1, often, 256 << 10);
    put_on_sale(&cluster, sku());
    let mut orders = 0;
    let released = |cluster: &Cluster| founders().voters().all(|node| cluster.has_released(node));
    while !released(&cluster) {
        assert!(orders < 8_000, "expected logs that are released");
        for _ in 0..100 {
            bought(&cluster.ask(&order(&cluster, sku(), orders)));
            orders += 1;
        }
    }
    let (new, three) = (NodeId(4), founders().voters().collect::<Vec<_>>());
    cluster.format(new);
    cluster.open(new);
    cluster.change(&three, &[new]);
    wait("a snapshot", || cluster.handle(new).begins_anew().then_some(()));
    cluster.close(new);
    cluster.open(new);
    assert!(cluster.handle(new).end(SHARD).0 > 0);
    cluster.agree(sku());
    // It goes on from its own disk, from now on.
    cluster.close(new);
    bought(&cluster.ask(&order(&cluster, sku(), orders)));
    cluster.open(new);
    cluster.agree(sku());
    assert!(!cluster.handle(new).begins_anew());
    cluster.change(&[2, 3, 4].map(NodeId), &[]);
    wait("an office of the new node", || {
        let leader = cluster.leader();
        if leader != new {
            let _ = cluster.handle(leader).hand_over(SHARD, new);
        }
        (leader == new).then_some(())
    });
    for number in [0, 1, orders] {
        assert!(cluster.ask(&order(&cluster, sku(), number)).replayed, "order {number}");
    }
    let left = UNITS - orders as i64 - 1;
    assert_eq!(cluster.handle(new).stock(&sku()).unwrap().available, left);
    cluster.close(NodeId(1));
    cluster.agree(sku());
}

/// What is no node, or none any more, does not start as one.
#[test]
fn what_is_no_node_is_refused_by_name() {
    let mut cluster = Cluster::unfounded(1, flush(), 1 << 20);
    let node = NodeId(1);
    cluster.format(node);
    let format = |path: &Path, shards| {
        Engine::format_node(path, shards, ClusterFormat { node, founders: founders(), key: cluster.key })
    };
    let again = format(&cluster.path(node), 1);
    assert!(matches!(again, Err(OpenError::Format(FormatError::NotEmpty { .. }))), "{again:?}");
    let many = format(&cluster.path(NodeId(9)), 257);
    assert!(matches!(many, Err(OpenError::Format(FormatError::ShardCount(257)))), "{many:?}");

    let refused = |options: EngineOptions| Engine::open(options).err().unwrap();
    let alone = refused(EngineOptions { cluster: None, ..cluster.options(node) });
    assert!(
        alone.to_string().contains("expected") && alone.to_string().contains("an engine of its own"),
        "{alone}"
    );
    let inline = refused(EngineOptions { host: HostKind::Inline, ..cluster.options(node) });
    assert!(matches!(inline, OpenError::Host(HostError::InlineNode)), "{inline}");
    let own = cluster.dir.path().join("own");
    Engine::open(EngineOptions { data_dir: Some(own.clone()), ..EngineOptions::default() })
        .unwrap()
        .close()
        .unwrap();
    let own = refused(EngineOptions { data_dir: Some(own), ..cluster.options(node) });
    assert!(matches!(own, OpenError::Format(FormatError::Cluster { .. })), "{own}");

    cluster.open(node);
    let handle = cluster.handle(node);
    assert!(matches!(handle.hear(NodeId(2), b"garbage"), Err(HearError::Message(_))));
    let error = handle.hand_over(SHARD, NodeId(2)).unwrap_err();
    assert!(matches!(error, GroupError::Declined(Declined::NotLeader { leader: None })), "{error}");
    assert!(matches!(handle.group(ShardId(1)), Err(GroupError::NoShard { shards: 1, found: 1 })));
    let nobody = handle.call_blocking(order(&cluster, sku(), 0));
    assert_eq!(nobody.outcome, Outcome::Refused(Refusal::NotLeader { leader: 0 }));
    cluster.close(node);

    let log = cluster.path(node).join("shard-000").join("log");
    for file in std::fs::read_dir(&log).unwrap().map(|file| file.unwrap().path()) {
        if !file.ends_with("vote") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let lost = refused(cluster.options(node));
    assert!(matches!(lost, OpenError::LostLog { shard: 0, .. }), "{lost}");
    std::fs::remove_file(log.join("vote")).unwrap();
    let vote = refused(cluster.options(node));
    assert!(matches!(vote, OpenError::LostVote { shard: 0 }), "{vote}");
}
