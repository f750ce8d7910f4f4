//! A cluster that is changed in each way while a client orders.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use onrush_grpc::admin::v1::AuditRequest;
use onrush_grpc::admin::v1::admin_service_client::AdminServiceClient;
use onrush_net::client::{Key, Retry, Shop as Buyer, ShopOptions};
use onrush_proto::{OrderId, Sku, StockChange, Text, UpdateStock};
use tokio::task::JoinHandle;

use super::{Nodes, Running, free_address, leads, members, said};
use crate::clients::{order, product};
use crate::wait::until;

/// What is sold: each of the two shards has some of it.
const SKUS: [&str; 4] = ["tea", "cup", "can", "mug"];
/// Orders that are never reached: a client that does not stop fails.
const ORDERS_MAX: usize = 200_000;
/// As many more say that the shop goes on.
const MORE: usize = 20;

/// A client that orders one unit after the other, each under a key of its own.
struct Orders {
    taken: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    task: JoinHandle<Vec<OrderId>>,
}

fn sku(number: usize) -> Sku {
    SKUS[number % SKUS.len()].parse().unwrap()
}

fn key(number: usize) -> Key {
    Key(number as u128 + 1)
}

impl Orders {
    fn begin(shop: Buyer) -> Self {
        let (taken, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (taken.clone(), ends.clone());
        let task = tokio::spawn(async move {
            let mut orders = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let number = orders.len();
                assert!(number < ORDERS_MAX, "expected an end before {ORDERS_MAX} orders");
                let placed = shop.create_order(key(number), order(sku(number), 1)).await;
                let placed = placed.unwrap_or_else(|error| panic!("order {number}: {error}"));
                orders.push(placed.order);
                counted.store(orders.len(), Ordering::Relaxed);
            }
            orders
        });
        Self { taken, ends, task }
    }

    /// Waits until more orders were taken.
    async fn go_on(&self) {
        let enough = self.taken.load(Ordering::Relaxed) + MORE;
        until("more orders", async || {
            let taken = self.taken.load(Ordering::Relaxed);
            if taken >= enough { Ok(()) } else { Err((taken, enough, self.task.is_finished())) }
        })
        .await;
    }

    /// All that were taken, by number.
    async fn end(self) -> Vec<OrderId> {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// A client that knows the nodes that run.
async fn client(nodes: &Nodes) -> Buyer {
    let places: Vec<String> = nodes.processes.values().map(|node| node.address("native")).collect();
    // An election may take its time where many tests run at once.
    let options = ShopOptions { retry: Retry { retries: 20, ..Retry::default() }, ..ShopOptions::default() };
    Buyer::connect_with(&format!("onrush://{}", places.join(",")), &options).await.unwrap()
}

#[tokio::test]
async fn a_cluster_is_changed_by_its_commands_while_orders_are_taken() {
    let mut nodes = Nodes::founded(&[1, 2, 3], "2").await;
    let first = nodes.leader(1).await;
    let all = |status: &str| status.matches("connected ").count() == 2 && !status.contains("not connected");
    let status = nodes.shows(1, "three nodes that hear each other", all).await;
    assert!(status.starts_with("node 1    answers        127.0.0.1:"), "{status}");
    assert_eq!(members(&status, "voters").as_deref(), Some("1, 2, 3"), "{status}");

    let shop = client(&nodes).await;
    for number in 0..SKUS.len() {
        shop.put_product(Key::fresh(), product(sku(number))).await.unwrap();
        let change = StockChange::Set(ORDERS_MAX as i64);
        let update = UpdateStock { sku: sku(number), change, reason: Text::EMPTY };
        shop.update_stock(Key::fresh(), update).await.unwrap();
    }
    let orders = Orders::begin(shop);
    orders.go_on().await;

    let second = transferred(&nodes, first).await;
    orders.go_on().await;
    added(&mut nodes, &orders).await;
    orders.go_on().await;
    removed(&mut nodes, second).await;
    orders.go_on().await;
    replaced(&mut nodes, &orders).await;
    orders.go_on().await;

    let orders = orders.end().await;
    each_is_there_once(&nodes, &orders).await;
}

/// Another node leads, by its number. Who asks may ask any node.
async fn transferred(nodes: &Nodes, first: u64) -> u64 {
    let to = if first == 3 { 1 } else { first + 1 };
    let third = 6 - first - to;
    for again in [false, true] {
        let told = said(nodes.asked(third, &["transfer", &to.to_string()])).await;
        assert!(told.starts_with(&format!("node {to} leads in term ")), "again: {again}: {told}");
    }
    nodes.shows(first, "the named node to lead", |status| leads(status) == Some(to)).await;
    to
}

/// Node 4 has a vote. The first time the command is broken off: the node does not run yet.
async fn added(nodes: &mut Nodes, orders: &Orders) {
    let address = free_address();
    let node = format!("4={address}");
    let broken_off = Running::start(nodes.asked(1, &["add", &node]));
    // Where it listens each node takes from the log in its own time.
    let listens = format!("node 4    not connected  {address}");
    let follows = |status: &str| status.contains("learners 4\n") && status.contains(&listens);
    nodes.shows(1, "node 4 as a learner", follows).await;
    drop(broken_off);
    orders.go_on().await;

    nodes.peers.insert(4, address);
    said(nodes.format(4)).await;
    nodes.start(4, &[]).await;
    let votes = "voters of shard 0: 1, 2, 3, 4\nvoters of shard 1: 1, 2, 3, 4\n";
    let told = said(nodes.asked(2, &["add", &node])).await;
    assert_eq!(voters(&told), votes, "{told}");
    let has_vote = |status: &str| members(status, "voters").as_deref() == Some("1, 2, 3, 4");
    for node in [1, 4] {
        nodes.shows(node, "a vote of node 4", has_vote).await;
    }
    assert_eq!(said(nodes.asked(4, &["add", &node])).await, votes, "all was done before");
}

/// The groups that a command tells of when they are as they shall be, without what it tells on the way.
fn voters(told: &str) -> String {
    told.lines().filter(|line| line.starts_with("voters ")).map(|line| format!("{line}\n")).collect()
}

/// The node that leads goes, and is itself asked for that.
async fn removed(nodes: &mut Nodes, node: u64) {
    let left: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|left| *left != node).collect();
    let [left_1, left_2, left_3] = left[..] else { panic!("three nodes are left: {left:?}") };
    let left = format!("{left_1}, {left_2}, {left_3}");
    let votes = format!("voters of shard 0: {left}\nvoters of shard 1: {left}\n");
    for again in [false, true] {
        let told = said(nodes.asked(node, &["remove", &node.to_string()])).await;
        assert_eq!(told, votes, "again: {again}");
    }
    let is_gone = |status: &str| members(status, "voters").as_deref() == Some(&left);
    let status = nodes.shows(left_1, "a group without it", is_gone).await;
    assert_ne!(leads(&status), Some(node), "{status}");
    let mut process = nodes.processes.remove(&node).unwrap();
    process.signal("-TERM");
    assert_eq!(tokio::task::spawn_blocking(move || process.wait()).await.unwrap(), 0);
}

/// The node that leads is killed, and node 5 comes for it.
async fn replaced(nodes: &mut Nodes, orders: &Orders) {
    let gone = nodes.leader(4).await;
    let mut process = nodes.processes.remove(&gone).unwrap();
    process.signal("-KILL");
    tokio::task::spawn_blocking(move || process.wait()).await.unwrap();
    orders.go_on().await;

    let address = free_address();
    nodes.peers.insert(5, address.clone());
    said(nodes.format(5)).await;
    nodes.start(5, &[]).await;
    let left: Vec<String> = nodes.processes.keys().map(u64::to_string).collect();
    let left = left.join(", ");
    let votes = format!("voters of shard 0: {left}\nvoters of shard 1: {left}\n");
    let (by, any) = (format!("5={address}"), *nodes.processes.keys().next().unwrap());
    let told = said(nodes.asked(any, &["replace", &gone.to_string(), &by])).await;
    assert_eq!(voters(&told), votes, "{told}");
    let told = said(nodes.asked(5, &["replace", &gone.to_string(), &by])).await;
    assert_eq!(told, votes, "all was done before");
    let is_so = |status: &str| members(status, "voters").as_deref() == Some(&left);
    nodes.shows(5, "a group with node 5", is_so).await;
}

/// None was lost, and none made twice: by the books, and by what is answered under the keys.
async fn each_is_there_once(nodes: &Nodes, orders: &[OrderId]) {
    assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), orders.len());
    let shop = client(nodes).await;
    for (number, placed) in orders.iter().enumerate().step_by(1 + orders.len() / 100) {
        let again = shop.create_order(key(number), order(sku(number), 1)).await.unwrap();
        assert_eq!((again.order, again.replayed), (*placed, true), "order {number}");
    }
    let leader = nodes.leader(5).await;
    let mut books = AdminServiceClient::connect(nodes.url(leader)).await.unwrap();
    let books = books.audit(AuditRequest::default()).await.unwrap().into_inner();
    assert_eq!((books.violations.as_slice(), books.ok), ([].as_slice(), true));
    assert_eq!((books.orders, books.units_held), (orders.len() as u64, orders.len() as i64));
}
