//! Buyers: each orders, waits for its answer, and cancels some of what it has. They use the shipped client, which
//! follows the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onrush_net::client::native::{Native, NativeOptions};
use onrush_net::client::{CallError, Retry};
use onrush_proto::{
    BrandName, CancelOrder, CategoryName, Command, CreateOrder, Currency, Money, OrderId, OrderLine,
    OrderState, Outcome, PutProduct, Receipt, Refusal, Reply, Sku, StockChange, Text, UpdateStock,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::ClusterError;
use super::books::{Books, Bought, Open};
use super::nodes::Nodes;
use crate::cli::ClusterArgs;
use crate::random::{Random, mix};

/// Items on sale.
const ITEMS: u32 = 16;
/// Units of each: more than are bought.
const UNITS: i64 = 100_000_000;
/// One order of so many is cancelled.
const CANCELLED: u64 = 4;
/// As long as an office may stand empty, and more.
const RETRY: Retry = Retry {
    retries: 40,
    pause: Duration::from_millis(5),
    pause_max: Duration::from_millis(50),
    timeout: Duration::from_secs(1),
};

/// Refusals that pass: nothing was done, or it is not known yet.
const PASSING: [&str; 5] =
    ["NOT_LEADER", "OVERLOADED", "SHARD_STOPPED", "IDEMPOTENCY_KEY_IN_PROGRESS", "DEADLINE_EXCEEDED"];

fn sku(item: u32) -> Sku {
    Text::new(&format!("item-{item}")).unwrap_or_default()
}

async fn connect(addresses: String) -> Result<Native, ClusterError> {
    let options = NativeOptions { retry: RETRY, ..NativeOptions::default() };
    let connected = Native::connect(&addresses, &options).await;
    connected.map_err(|error| ClusterError::Call { what: "connecting to the cluster", error })
}

/// Puts the items on sale.
async fn stock(client: &Native) -> Result<(), ClusterError> {
    for item in 0..ITEMS {
        let product = PutProduct {
            sku: sku(item),
            name: format!("Item {item}"),
            description: String::new(),
            category: CategoryName::EMPTY,
            brand: BrandName::EMPTY,
            price: Money::new(100, Currency::EUR),
            limit_per_customer: 0,
            limit_returns: false,
            backorder: 0,
            hold_us: 86_400_000_000,
            active: true,
        };
        let stock = UpdateStock { sku: sku(item), change: StockChange::Add(UNITS), reason: Text::EMPTY };
        for command in [Command::PutProduct(Box::new(product)), Command::UpdateStock(stock)] {
            let key =
                u128::from(mix(u64::from(item) << 1 | u64::from(matches!(command, Command::UpdateStock(_)))))
                    | 1 << 120;
            let answered = client.call(command, key, false).await;
            answered.map_err(|error| ClusterError::Call { what: "putting items on sale", error })?;
        }
    }
    Ok(())
}

/// What a buyer wants under a number: the same whenever it is asked.
fn wish(seed: u64, number: u64) -> (u32, u32) {
    let bits = mix(seed ^ mix(number));
    ((bits % u64::from(ITEMS)) as u32, 1 + (bits >> 32) as u32 % 2)
}

fn key(seed: u64, number: u64, purpose: u64) -> u128 {
    u128::from(mix(seed ^ purpose)) << 64 | u128::from(mix(number ^ mix(purpose))) | 1
}

fn buy(seed: u64, number: u64) -> Command {
    let (item, units) = wish(seed, number);
    let customer = Text::new(&format!("buyer-{}", number % 9_973)).unwrap_or_default();
    let lines = [OrderLine::new(sku(item), i64::from(units))].into_iter().collect();
    Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 })
}

/// Buyers at work.
pub(super) struct Buyers {
    tasks: JoinSet<()>,
    halt: Arc<AtomicBool>,
    client: Native,
    seed: u64,
    books: Arc<Books>,
}

/// What is known once all have stopped.
pub(super) struct Asked {
    client: Native,
    /// Buys and cancellations that a caller saw no answer of, and that were asked again: those that were done.
    pub(super) asked_again: usize,
}

impl Buyers {
    /// Puts everything on sale and begins.
    pub(super) async fn begin(
        floor: &Handle,
        addresses: &str,
        args: &ClusterArgs,
        books: &Arc<Books>,
    ) -> Result<Self, ClusterError> {
        let addresses = addresses.to_owned();
        let opened = floor.spawn(async move {
            let client = connect(addresses).await?;
            stock(&client).await?;
            Ok::<_, ClusterError>(client)
        });
        let client = opened.await.map_err(|error| ClusterError::Runtime(error.into()))??;
        let (halt, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for buyer in 0..args.buyers {
            let (client, halt, numbers) = (client.clone(), halt.clone(), numbers.clone());
            let (books, seed) = (books.clone(), args.seed);
            let mut random = Random::new(seed, u64::from(buyer) + 1_000);
            let work = async move {
                while !halt.load(Ordering::Relaxed) {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let Some(order) = order(&client, (seed, number), &books).await else { continue };
                    if random.below(CANCELLED) == 0 {
                        cancel(&client, (seed, number), order, &books).await;
                    }
                }
            };
            tasks.spawn_on(work, floor);
        }
        Ok(Self { tasks, halt, client, seed: args.seed, books: books.clone() })
    }

    /// Lets everybody finish, and asks again, under its key, for what nobody heard of.
    pub(super) async fn end(mut self) -> Result<Asked, ClusterError> {
        self.halt.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| ClusterError::Runtime(error.into()))?;
        }
        let open = std::mem::take(&mut self.books.entries().open);
        for open in &open {
            match *open {
                Open::Buy { number } => drop(order(&self.client, (self.seed, number), &self.books).await),
                Open::Cancel { number, order } => {
                    cancel(&self.client, (self.seed, number), order, &self.books).await;
                }
            }
        }
        if let Some(left) = self.books.entries().open.first().copied() {
            self.books.violate(format!("expected an answer to {left:?} in the end, found none"));
        }
        Ok(Asked { client: self.client, asked_again: open.len() })
    }
}

/// Orders; the order, if it is known.
async fn order(client: &Native, (seed, number): (u64, u64), books: &Books) -> Option<OrderId> {
    let asked = Instant::now();
    let answer = client.call(buy(seed, number), key(seed, number, 1), false).await;
    let reply = heard(books, answer, asked, Open::Buy { number })?;
    let (item, units) = wish(seed, number);
    match reply.outcome {
        Outcome::Accepted(Receipt::Order { order, .. }) => {
            let bought = Bought { item, units, cancelled: false };
            let before = books.entries().bought.insert(order, bought);
            if before.is_some() {
                books.violate(format!("expected each order once, found {order} acknowledged for two buys"));
            }
            Some(order)
        }
        other => {
            books.violate(format!("buy {number}: expected an order, found {other:?}"));
            None
        }
    }
}

async fn cancel(client: &Native, (seed, number): (u64, u64), order: OrderId, books: &Books) {
    let asked = Instant::now();
    let command = Command::CancelOrder(CancelOrder { order });
    let answer = client.call(command, key(seed, number, 2), false).await;
    let Some(reply) = heard(books, answer, asked, Open::Cancel { number, order }) else { return };
    match reply.outcome {
        Outcome::Accepted(_) => {
            if let Some(bought) = books.entries().bought.get_mut(&order) {
                bought.cancelled = true;
            }
        }
        other => books.violate(format!("order {order}: expected it cancelled, found {other:?}")),
    }
}

/// An answer, or an error that its caller sees: then the outcome is open.
fn heard(books: &Books, answer: Result<Reply, CallError>, asked: Instant, open: Open) -> Option<Reply> {
    match answer {
        Ok(Reply {
            outcome:
                Outcome::Refused(
                    refusal @ (Refusal::Stopped | Refusal::NotLeader { .. } | Refusal::KeyInProgress),
                ),
            ..
        }) => {
            books.failed(refusal.reason().0, open);
            None
        }
        Ok(reply) => {
            books.answered(asked.elapsed());
            Some(reply)
        }
        Err(error) => {
            if let CallError::Refused(refused) = &error
                && !PASSING.contains(&refused.reason.as_str())
            {
                books.violate(format!("{open:?}: expected it done, found it refused as {refused}"));
            }
            books.failed(&error.to_string(), open);
            None
        }
    }
}

impl Asked {
    /// Holds the books against every order, the stock and all nodes: what is not as it was acknowledged.
    pub(super) async fn compare(&self, nodes: &Nodes, books: &Books) -> Result<Vec<String>, ClusterError> {
        let bought: Vec<(OrderId, Bought)> =
            books.entries().bought.iter().map(|(order, bought)| (*order, *bought)).collect();
        let mut tasks = JoinSet::new();
        for chunk in bought.chunks(bought.len().div_ceil(64).max(1)) {
            let (client, chunk) = (self.client.clone(), chunk.to_vec());
            tasks.spawn(async move {
                let mut faults = Vec::new();
                for (order, bought) in chunk {
                    faults.extend(fault(&client, order, bought).await);
                }
                faults
            });
        }
        let mut faults = std::mem::take(&mut books.entries().violations);
        while let Some(found) = tasks.join_next().await {
            faults.extend(found.unwrap_or_else(|error| vec![error.to_string()]));
        }
        let mut held = [0i64; ITEMS as usize];
        for (_, bought) in bought.iter().filter(|(_, bought)| !bought.cancelled) {
            held[bought.item as usize] += i64::from(bought.units);
        }
        for (item, held) in (0..ITEMS).zip(held) {
            let found = self.client.call(Command::GetStock(sku(item)), 0, false).await;
            let found = found.map_err(|error| ClusterError::Call { what: "reading stock", error })?;
            match found.outcome {
                Outcome::Stock(row) if (row.held, row.on_hand + row.sold) == (held, UNITS) => {}
                other => faults
                    .push(format!("item {item}: expected {held} of {UNITS} units held, found {other:?}")),
            }
        }
        let audits = nodes.audits().await?;
        for (node, audit) in nodes.all.iter().zip(&audits) {
            faults.extend(audit.violations.iter().map(|line| format!("node {}: {line}", node.number)));
            if audit.state_hash != audits[0].state_hash {
                let (hash, first) = (&audit.state_hash, &audits[0].state_hash);
                faults.push(format!(
                    "node {}: expected the rows of node 1, {first}, found {hash}",
                    node.number
                ));
            }
            if audit.orders != bought.len() as u64 {
                let (expected, found) = (bought.len(), audit.orders);
                faults.push(format!("node {}: expected {expected} orders, found {found}", node.number));
            }
        }
        Ok(faults)
    }
}

async fn fault(client: &Native, order: OrderId, bought: Bought) -> Option<String> {
    let found = match client.call(Command::GetOrder(order), 0, false).await {
        Ok(reply) => reply.outcome,
        Err(error) => return Some(format!("order {order}: expected it, found {error}")),
    };
    let row = match found {
        Outcome::Order(row) => row,
        other => return Some(format!("order {order}: expected it as acknowledged, found {other:?}")),
    };
    let state = if bought.cancelled { OrderState::Cancelled } else { OrderState::Pending };
    let lines: Vec<_> = row.lines.iter().map(|line| (line.sku, line.quantity)).collect();
    let as_acknowledged = row.state == state && lines == [(sku(bought.item), bought.units)];
    (!as_acknowledged)
        .then(|| format!("order {order}: expected {bought:?}, found {:?} of {lines:?}", row.state))
}
