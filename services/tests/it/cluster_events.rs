//! Events of a cluster: groups are dealt their shards where the shop is decided, and go on where it is decided next; who reads
//! alone reads at any node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use onrush_engine::EngineHandle;
use onrush_grpc::log::v1::log_service_client::LogServiceClient;
use onrush_grpc::log::v1::{
    CommitOffsetRequest, Edge, Event, ListTopicsRequest, Place, Position, RejectEventRequest,
    SeekGroupRequest, Start, place, subscribe_request, subscribe_response,
};
use onrush_net::client::{Key, Shop as Buyer};
use onrush_proto::{CreateOrder, Lsn, OrderLine, ShardId, Text};
use onrush_services::config::Service;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::events::{CREATED, Consumer, all_of, edge, log, member, reason};
use crate::nodes::Nodes;
use crate::shop::Shop;
use crate::wait::{found, seen, until};

const SHARDS: u16 = 2;

/// What the members of a group did, and what came of it.
#[derive(Default)]
struct Ledger {
    /// Where each member is, with its generation and its shards.
    members: BTreeMap<&'static str, (String, u64, Vec<u32>)>,
    /// Generation, shard, and what was to be read next.
    assigned: Vec<(u64, u32, u64)>,
    /// Events by shard and position, with the generations under which they came.
    came: BTreeMap<(u32, u64), Vec<u64>>,
    /// The orders of those events.
    keys: BTreeSet<String>,
    /// What was accepted: generation, shard and position.
    committed: Vec<(u64, u32, u64)>,
    /// Why streams ended.
    ends: Vec<String>,
}

impl Ledger {
    /// The generation under which both members work at an address, each on a shard of its own, and have committed
    /// something.
    fn at_work(&self, address: &str) -> Option<u64> {
        let mut here = self.members.values().filter(|(at, _, shards)| at == address && shards.len() == 1);
        let (first, second) = (here.next()?, here.next()?);
        let committed =
            |shard: u32| self.committed.iter().any(|(under, of, _)| (*under, *of) == (first.1, shard));
        let whole = first.1 == second.1 && (0..SHARDS.into()).all(committed);
        whole.then_some(first.1)
    }

    /// The last position that a group was done with under a generation.
    fn done(&self, generation: u64, shard: u32) -> u64 {
        let of = |(under, at, _): &&(u64, u32, u64)| (*under, *at) == (generation, shard);
        self.committed.iter().filter(of).map(|(_, _, lsn)| *lsn).max().unwrap_or(0)
    }

    /// Nothing comes twice under a generation, nor what was committed before it.
    fn check(&self) {
        for ((shard, lsn), generations) in &self.came {
            // An owner who has not heard yet may be told later than the next one.
            let each: BTreeSet<_> = generations.iter().collect();
            assert_eq!(each.len(), generations.len(), "shard {shard}, {lsn}: {generations:?}");
        }
        let stale = self.committed.iter().flat_map(|(under, shard, lsn)| {
            let behind = move |(at, of, next): &&(u64, u32, u64)| at > under && of == shard && next <= lsn;
            self.assigned.iter().filter(behind).map(move |assigned| (assigned, (under, lsn)))
        });
        assert_eq!(stale.collect::<Vec<_>>(), [], "assigned what was committed under an earlier generation");
        for ((shard, lsn), generations) in &self.came {
            let begun = |under: &&u64| {
                self.assigned.iter().any(|(at, of, next)| at == *under && of == shard && next <= lsn)
            };
            assert!(generations.iter().all(|under| begun(&under)), "shard {shard}, {lsn}: {generations:?}");
        }
    }
}

/// A member of the group that goes on where the shop is decided.
struct Worker {
    name: &'static str,
    at: usize,
    addresses: Vec<String>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Worker {
    fn begin(name: &'static str, addresses: &[String], ledger: &Arc<Mutex<Ledger>>) -> JoinHandle<()> {
        let mut worker = Self { name, at: 0, addresses: addresses.to_vec(), ledger: Arc::clone(ledger) };
        spawn_local(async move {
            loop {
                worker.work().await;
            }
        })
    }

    async fn work(&mut self) {
        let mut consumer = found("a node that deals shards", async || self.join().await).await;
        let mut commits = LogServiceClient::connect(self.addresses[self.at].clone()).await.ok();
        self.assigned(&consumer);
        loop {
            match consumer.next().await {
                Ok(Some(subscribe_response::Tell::Batch(batch))) => {
                    let Some(last) = batch.events.last().map(|event| event.lsn) else { continue };
                    let generation = consumer.assigned.generation;
                    self.handle(generation, batch.shard, &batch.events);
                    let Some(commits) = &mut commits else { continue };
                    // Refused, the event comes again to whoever has the shard then.
                    if let Ok(done) = commits.commit_offset(consumer.commit(batch.shard, last)).await {
                        let done = (generation, batch.shard, done.into_inner().lsn);
                        self.ledger.lock().unwrap().committed.push(done);
                    }
                }
                Ok(Some(subscribe_response::Tell::Assigned(_))) => self.assigned(&consumer),
                Ok(Some(other)) => panic!("expected events or shards, found {other:?}"),
                Ok(None) => return self.ended("OK".into()),
                Err(status) => return self.ended(reason(&status)),
            }
        }
    }

    /// Its stream, once it has a place in the group there.
    async fn join(&mut self) -> Option<Consumer> {
        let said = vec![subscribe_request::Ask::Start(member(self.name))];
        let joined = async {
            let mut consumer = Consumer::begin_at(self.addresses[self.at].clone(), said, None).await?;
            let told = consumer.next().await?;
            Ok((consumer, told))
        };
        match joined.await {
            Ok((consumer, Some(subscribe_response::Tell::Assigned(_)))) => return Some(consumer),
            Ok((_, other)) => panic!("expected shards first, found {other:?}"),
            Err(status) => self.turn(&reason(&status)),
        }
        None
    }

    fn assigned(&self, consumer: &Consumer) {
        let assigned = &consumer.assigned;
        let mut ledger = self.ledger.lock().unwrap();
        for position in &assigned.shards {
            ledger.assigned.push((assigned.generation, position.shard, position.lsn));
        }
        let shards = assigned.shards.iter().map(|position| position.shard).collect();
        let here = (self.addresses[self.at].clone(), assigned.generation, shards);
        ledger.members.insert(self.name, here);
    }

    fn handle(&self, generation: u64, shard: u32, events: &[Event]) {
        let mut ledger = self.ledger.lock().unwrap();
        for event in events {
            ledger.came.entry((shard, event.lsn)).or_default().push(generation);
            ledger.keys.insert(event.key.clone());
        }
    }

    fn ended(&mut self, why: String) {
        self.turn(&why);
        let mut ledger = self.ledger.lock().unwrap();
        ledger.members.remove(self.name);
        ledger.ends.push(why);
    }

    /// Turns to the node that was named, or to the next one.
    fn turn(&mut self, why: &str) {
        let named = why.split_once("leader_address=").map(|(_, address)| format!("http://{address}"));
        let named = self.addresses.iter().position(|address| Some(address) == named.as_ref());
        self.at = named.unwrap_or((self.at + 1) % self.addresses.len());
    }
}

/// Reads the whole topic at one node: shard, position and order of each event, and where the shard's log ended there.
fn reads_alone(
    mut consumer: Consumer,
    engine: EngineHandle,
    told: &Arc<Mutex<Vec<(u32, u64, String, Lsn)>>>,
) -> JoinHandle<String> {
    let told = Arc::clone(told);
    tokio::spawn(async move {
        loop {
            match consumer.next().await {
                Ok(Some(subscribe_response::Tell::Batch(batch))) => {
                    let end = engine.end(ShardId(batch.shard as u16));
                    let events = batch.events.into_iter();
                    told.lock().unwrap().extend(events.map(|event| (batch.shard, event.lsn, event.key, end)));
                }
                Ok(Some(subscribe_response::Tell::Assigned(_))) => {}
                Ok(Some(other)) => return format!("{other:?}"),
                Ok(None) => return "OK".into(),
                Err(status) => return reason(&status),
            }
        }
    })
}

/// Orders until it is told to stop, and says which orders were accepted.
fn buys(shop: &Arc<Buyer>, sku: &str, stop: &Arc<AtomicBool>) -> JoinHandle<BTreeSet<String>> {
    let (shop, stop) = (Arc::clone(shop), Arc::clone(stop));
    let line = OrderLine::new(Text::new(sku).unwrap(), 1);
    let order =
        CreateOrder { customer: "ada".parse().unwrap(), lines: [line].into_iter().collect(), hold_us: 0 };
    tokio::spawn(async move {
        let mut accepted = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            // Of one whose outcome is unknown nothing is expected.
            if let Ok(placed) = shop.create_order(Key::fresh(), order.clone()).await {
                accepted.insert(placed.order.to_string());
            }
        }
        accepted
    })
}

/// Three nodes that know where each other's ports are, their leader first, and two products, one on each shard.
async fn nodes() -> (Nodes, [u64; 3], [String; 2]) {
    let nodes = Nodes::founded_with(SHARDS);
    let leader = nodes.leader().await;
    for shop in nodes.shops.values() {
        let known = || shop.nodes().at(onrush_services::nodes::Door::Service(Service::Order)).len() == 3;
        seen("nodes that know each other's ports", known).await;
    }
    let shop = &nodes.shops[&leader];
    let on = |shard| (0..).map(|at| format!("tea-{at}")).find(|sku| shop.shard_of(sku) == shard).unwrap();
    let skus = [on(0), on(1)];
    for sku in &skus {
        shop.stock(sku, 1, 1_000_000).await;
    }
    let mut others = nodes.shops.keys().copied().filter(|node| *node != leader);
    let numbers = [leader, others.next().unwrap(), others.next().unwrap()];
    (nodes, numbers, skus)
}

/// What a call about a group is refused by where the shop is not decided.
async fn refusals(shop: &Shop, commit: &CommitOffsetRequest) -> Vec<String> {
    let CommitOffsetRequest { group, topic, shard, lsn, generation } = commit.clone();
    let mut client = log(shop).await;
    let reject = RejectEventRequest {
        group: group.clone(),
        topic: topic.clone(),
        shard,
        // Beyond what is here.
        lsn: lsn + 1_000_000,
        generation,
        reason: "no such shelf".into(),
    };
    let seek = SeekGroupRequest { group, topic, shard: None, to: edge(Edge::End) };
    vec![
        Consumer::begin(shop, member("c")).await.end().await,
        reason(&client.commit_offset(commit.clone()).await.unwrap_err()),
        reason(&client.reject_event(reject).await.unwrap_err()),
        reason(&client.seek_group(seek).await.unwrap_err()),
        reason(&client.list_topics(ListTopicsRequest::default()).await.unwrap_err()),
    ]
}

#[tokio::test]
async fn a_group_goes_on_where_the_shop_is_decided_next() {
    LocalSet::new().run_until(a_group_goes_on()).await;
}

async fn a_group_goes_on() {
    let (mut nodes, [first, second, third], skus) = nodes().await;
    let at = |node: u64| nodes.shops[&node].address(Service::Order);
    let addresses = [first, second, third].map(at);
    let native = [first, second, third].map(|node| nodes.shops[&node].native().to_string()).join(",");
    let buyer = Arc::new(Buyer::connect(&format!("onrush://{native}")).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let buyers = skus.each_ref().map(|sku| buys(&buyer, sku, &stop));
    let (ledger, told) = (Arc::<Mutex<Ledger>>::default(), Arc::default());
    let workers = ["a", "b"].map(|name| Worker::begin(name, &addresses, &ledger));
    let alone = Consumer::begin(&nodes.shops[&third], all_of(CREATED)).await;
    let alone = reads_alone(alone, nodes.shops[&third].engine(), &told);
    let at_work = async |address: &str| {
        until("two members at work", async || {
            let ledger = ledger.lock().unwrap();
            ledger.at_work(address).ok_or_else(|| (ledger.members.clone(), ledger.ends.clone()))
        })
        .await
    };

    let before = at_work(&addresses[0]).await;
    nodes.hand_over(second).await;
    let after = at_work(&addresses[1]).await;
    assert!(after > before, "{after} behind {before}");
    {
        let ledger = ledger.lock().unwrap();
        let led = ledger.ends.iter().all(|end| end.starts_with("NOT_LEADER"));
        assert!(led && ledger.ends.len() >= 2, "{:?}", ledger.ends);
    }
    // Who was left behind is refused by name, wherever it asks.
    let late = CommitOffsetRequest {
        group: "books".into(),
        topic: CREATED.into(),
        shard: 0,
        lsn: ledger.lock().unwrap().done(before, 0),
        generation: before,
    };
    let hint = format!("NOT_LEADER leader={second} leader_address={}", addresses[1].replace("http://", ""));
    assert_eq!(refusals(&nodes.shops[&first], &late).await, vec![hint; 5]);
    let stale = log(&nodes.shops[&second]).await.commit_offset(late).await.unwrap_err();
    let stale = reason(&stale);
    assert!(
        stale.starts_with("STALE_GENERATION ") && stale.ends_with(&format!(" found={before}")),
        "{stale}"
    );

    // A node that ends gives its office away first.
    let _dir = nodes.shops.remove(&second).unwrap().stop().await;
    let next = nodes.leader().await;
    let last = at_work(&addresses[if next == first { 0 } else { 2 }]).await;
    assert!(last > after, "{last} behind {after}");

    stop.store(true, Ordering::Relaxed);
    let mut accepted = BTreeSet::new();
    for buyer in buyers {
        accepted.extend(buyer.await.unwrap());
    }
    seen("every order to be told", || {
        let told: BTreeSet<String> = told.lock().unwrap().iter().map(|(_, _, key, _)| key.clone()).collect();
        accepted.is_subset(&told) && told.is_subset(&ledger.lock().unwrap().keys)
    })
    .await;
    assert!(!alone.is_finished(), "{:?}", alone.await);
    workers.iter().for_each(JoinHandle::abort);
    ledger.lock().unwrap().check();
    let told = told.lock().unwrap();
    for shard in 0..u32::from(SHARDS) {
        let lsns: Vec<u64> = told.iter().filter(|(of, ..)| *of == shard).map(|(_, lsn, ..)| *lsn).collect();
        assert!(lsns.is_sorted_by(|one, next| one < next), "in order, and none twice");
    }
    let beyond: Vec<_> = told.iter().filter(|(_, lsn, _, end)| *lsn > end.0).collect();
    assert_eq!(beyond, Vec::<&_>::new(), "told before it was committed");
}

/// The next events that somebody reads alone, by their orders.
async fn orders_of(consumer: &mut Consumer, count: usize) -> Vec<(u64, i64, String)> {
    let events = consumer.events(count).await.into_iter();
    events.map(|(_, event)| (event.lsn, event.time_us, event.key)).collect()
}

#[tokio::test]
async fn who_reads_alone_reads_at_a_follower_and_goes_on_over_a_change_of_office() {
    let (nodes, [leader, follower, _], [sku, _]) = nodes().await;
    let (leading, following) = (&nodes.shops[&leader], &nodes.shops[&follower]);
    let mut placed = Vec::new();
    for _ in 0..6 {
        placed.push(leading.order("", &sku, 1).await.unwrap().order_id);
    }
    let mut all = Consumer::open(following, all_of(CREATED)).await;
    let told = orders_of(&mut all, 6).await;
    assert_eq!(told.iter().map(|(_, _, key)| key.clone()).collect::<Vec<_>>(), placed);
    // From a time on: all that were decided then or later.
    let time_us = told[3].1;
    let from = Some(Place { place: Some(place::Place::TimeUs(time_us)) });
    let later: Vec<_> = told.iter().filter(|(_, at, _)| *at >= time_us).cloned().collect();
    let mut timed = Consumer::open(following, Start { from, ..all_of(CREATED) }).await;
    assert_eq!(orders_of(&mut timed, later.len()).await, later);
    // Where the log ends only the leader knows.
    let beyond =
        Start { positions: vec![Position { shard: 0, lsn: 1_000_000 }], from: None, ..all_of(CREATED) };
    let (here, there) = (Consumer::begin(following, beyond.clone()), Consumer::begin(leading, beyond));
    let (here, there) = (here.await.end().await, there.await.end().await);
    assert!(here.starts_with(&format!("NOT_LEADER leader={leader} leader_address=")), "{here}");
    assert_eq!(there, "INVALID_FIELD", "{here}");

    let mut old = Consumer::open(leading, all_of(CREATED)).await;
    assert_eq!(orders_of(&mut old, 6).await, told);
    nodes.hand_over(follower).await;
    let next = following.order("", &sku, 1).await.unwrap().order_id;
    for reader in [&mut all, &mut timed, &mut old] {
        assert_eq!(orders_of(reader, 1).await[0].2, next);
    }
}
