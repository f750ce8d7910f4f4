//! Buyers: each orders, waits for its answer, cancels some of what it has, asks for some of it once more, and reads
//! some of it. Some items are sold out again and again; who finds them so has more come in now and then. They use the
//! shipped clients, which follow the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use onrush_net::client::CallError;
use onrush_proto::{
    BrandName, CancelOrder, CategoryName, Command, Currency, Money, OrderId, OrderState, Outcome, PutProduct,
    Receipt, Refusal, Reply, StockChange, Text, UpdateStock,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;

use super::ClusterError;
use super::basket::{Basket, ITEMS, PRICE, SCARCE, Wishes, holds, scarce, sku, total};
use super::books::{Books, Bought, Open};
use super::client::{Client, Doors};
use crate::cli::Protocols;
use crate::random::{Random, mix};

/// Units of each: more than are bought.
const UNITS: i64 = 100_000_000;
/// Units of a scarce item at first, and with each time that more come in.
const FEW: i64 = 16;
/// Who finds an item sold out has more come in, once in so many times.
const RESTOCKED: u64 = 8;
/// One order of so many is cancelled, asked for once more, and read: each by itself.
const CANCELLED: u64 = 4;
const REPEATED: u64 = 8;
const READ: u64 = 4;

/// What keys are for.
const BUYING: u64 = 1;
const CANCELLING: u64 = 2;
const RESTOCKING: u64 = 3;

/// Refusals that pass: nothing was done, or it is not known yet.
const PASSING: [&str; 5] =
    ["NOT_LEADER", "OVERLOADED", "SHARD_STOPPED", "IDEMPOTENCY_KEY_IN_PROGRESS", "DEADLINE_EXCEEDED"];

/// What buyers do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) buyers: u32,
    pub(super) protocols: Protocols,
    pub(super) wishes: Wishes,
    /// True if nothing is asked for once more, read, or ever sold out.
    pub(super) brief: bool,
}

/// Units of an item that come in.
fn delivery(item: u32, units: i64) -> Command {
    Command::UpdateStock(UpdateStock { sku: sku(item), change: StockChange::Add(units), reason: Text::EMPTY })
}

/// Puts the items on sale.
async fn stock(client: &Client, books: &Books, brief: bool) -> Result<(), ClusterError> {
    for item in 0..ITEMS {
        let product = PutProduct {
            sku: sku(item),
            name: format!("Item {item}"),
            description: String::new(),
            category: CategoryName::EMPTY,
            brand: BrandName::EMPTY,
            price: Money::new(PRICE, Currency::EUR),
            limit_per_customer: 0,
            limit_returns: false,
            backorder: 0,
            hold_us: 86_400_000_000,
            active: true,
        };
        let units = if !brief && item < SCARCE { FEW } else { UNITS };
        for command in [Command::PutProduct(Box::new(product)), delivery(item, units)] {
            let key =
                u128::from(mix(u64::from(item) << 1 | u64::from(matches!(command, Command::UpdateStock(_)))))
                    | 1 << 120;
            let answered = client.ask(command, key).await;
            answered.map_err(|error| ClusterError::Call { what: "putting items on sale", error })?;
        }
        books.entries().received.insert(item, units);
    }
    Ok(())
}

/// Buyers at work.
pub(super) struct Buyers {
    tasks: JoinSet<()>,
    halt: Arc<AtomicBool>,
    /// Each visit reads it: who writes has the shop to itself.
    shop: Arc<RwLock<()>>,
    /// What is asked again in the end goes through the first.
    clients: Vec<Client>,
    wishes: Wishes,
    books: Arc<Books>,
}

/// What is known once all have stopped.
pub(super) struct Asked {
    pub(super) clients: Vec<Client>,
    /// Buys and cancellations that a caller saw no answer of, and that were asked again: those that were done.
    pub(super) asked_again: usize,
}

impl Buyers {
    /// Puts everything on sale and begins: as many buyers over each protocol.
    pub(super) async fn begin(
        floor: &Handle,
        doors: &Doors,
        habits: Habits,
        books: &Arc<Books>,
    ) -> Result<Self, ClusterError> {
        let (doors, owner) = (doors.clone(), books.clone());
        let opened = floor.spawn(async move {
            let clients = Client::open(&doors, habits.protocols).await?;
            if let Some(client) = clients.first() {
                stock(client, &owner, habits.brief).await?;
            }
            Ok::<_, ClusterError>(clients)
        });
        let clients = opened.await.map_err(|error| ClusterError::Runtime(error.into()))??;
        let (halt, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let shop = Arc::<RwLock<()>>::default();
        let mut tasks = JoinSet::new();
        for (number, client) in (0..habits.buyers).zip(clients.iter().cycle()) {
            let random = Random::new(habits.wishes.seed, u64::from(number) + 1_000);
            let mut buyer =
                Buyer { client: client.clone(), books: books.clone(), wishes: habits.wishes, random };
            let (halt, numbers, shop) = (halt.clone(), numbers.clone(), shop.clone());
            let work = async move {
                while !halt.load(Ordering::Relaxed) {
                    let _in_the_shop = shop.read().await;
                    buyer.visit(numbers.fetch_add(1, Ordering::Relaxed), habits.brief).await;
                }
            };
            tasks.spawn_on(work, floor);
        }
        Ok(Self { tasks, halt, shop, clients, wishes: habits.wishes, books: books.clone() })
    }

    /// Lets everybody finish a visit; nobody comes again before what it returns is dropped.
    pub(super) async fn pause(&self) -> OwnedRwLockWriteGuard<()> {
        self.shop.clone().write_owned().await
    }

    /// Lets everybody finish, and asks again, under its key, for what nobody heard of.
    pub(super) async fn end(mut self) -> Result<Asked, ClusterError> {
        self.halt.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| ClusterError::Runtime(error.into()))?;
        }
        let open = std::mem::take(&mut self.books.entries().open);
        for (open, client) in open.iter().zip(self.clients.iter().cycle()) {
            let (books, random) = (self.books.clone(), Random::new(0, 0));
            let buyer = Buyer { client: client.clone(), books, wishes: self.wishes, random };
            match *open {
                Open::Buy { number } => {
                    buyer.order(number).await;
                }
                Open::Cancel { number, order } => {
                    buyer.cancel(number, order).await;
                }
                Open::Restock { number, item } => buyer.restock(number, item).await,
            }
        }
        if let Some(left) = self.books.entries().open.first().copied() {
            self.books.violate(format!("expected an answer to {left:?} in the end, found none"));
        }
        Ok(Asked { clients: self.clients, asked_again: open.len() })
    }
}

/// One of them.
struct Buyer {
    client: Client,
    books: Arc<Books>,
    wishes: Wishes,
    random: Random,
}

/// What came of a buy.
enum Bidding {
    /// An order, as it was answered.
    Placed(OrderId, Receipt),
    /// It was refused, as there was not enough of this item.
    SoldOut(u32),
    /// Nobody heard, or what was heard is a violation.
    Unknown,
}

/// True if an order was refused because there was not enough of something.
fn is_sold_out(answer: &Result<Reply, CallError>) -> bool {
    match answer {
        Ok(reply) => matches!(reply.outcome, Outcome::Refused(Refusal::OutOfStock { .. })),
        Err(CallError::Refused(refused)) => refused.reason == "OUT_OF_STOCK",
        Err(_) => false,
    }
}

impl Buyer {
    /// Orders under a number, and looks after the order.
    async fn visit(&mut self, number: u64, brief: bool) {
        let (order, receipt) = match self.order(number).await {
            Bidding::Placed(order, receipt) => (order, receipt),
            Bidding::SoldOut(item) if !brief => {
                self.books.entries().sold_out += 1;
                if self.random.below(RESTOCKED) == 0 {
                    self.restock(number, item).await;
                }
                return;
            }
            Bidding::SoldOut(item) => {
                return self
                    .books
                    .violate(format!("buy {number}: expected plenty of item {item}, found it sold out"));
            }
            Bidding::Unknown => return,
        };
        if !brief && self.random.below(READ) == 0 {
            self.read(number, order, OrderState::Pending).await;
        }
        if self.random.below(CANCELLED) == 0
            && self.cancel(number, order).await
            && !brief
            && self.random.below(READ) == 0
        {
            self.read(number, order, OrderState::Cancelled).await;
        }
        if !brief && self.random.below(REPEATED) == 0 {
            self.repeat(number, &receipt).await;
        }
    }

    /// Orders under a number, and enters what is acknowledged.
    async fn order(&self, number: u64) -> Bidding {
        let (asked, basket) = (Instant::now(), self.wishes.basket(number));
        let answer = self.client.ask(self.wishes.order(number), self.wishes.key(number, BUYING)).await;
        if let Some(item) = scarce(&basket).filter(|_| is_sold_out(&answer)) {
            self.books.answered(asked.elapsed());
            return Bidding::SoldOut(item);
        }
        let Some(reply) = self.heard(answer, asked, Some(Open::Buy { number })) else {
            return Bidding::Unknown;
        };
        let Outcome::Accepted(Receipt::Order { order, total: found, held_until_us }) = reply.outcome else {
            self.books.violate(format!("buy {number}: expected an order, found {:?}", reply.outcome));
            return Bidding::Unknown;
        };
        self.enter(order, found.minor, basket);
        Bidding::Placed(order, Receipt::Order { order, total: found, held_until_us })
    }

    /// Enters an acknowledged order into the books.
    fn enter(&self, order: OrderId, found: i64, basket: Basket) {
        let expected = total(&basket);
        if found != expected {
            self.books.violate(format!("order {order}: expected a total of {expected}, found {found}"));
        }
        let before = self.books.entries().bought.insert(order, Bought { basket, cancelled: false });
        if before.is_some() {
            self.books.violate(format!("expected each order once, found {order} acknowledged for two buys"));
        }
    }

    /// Has more of an item come in.
    async fn restock(&self, number: u64, item: u32) {
        let asked = Instant::now();
        let answer = self.client.ask(delivery(item, FEW), self.wishes.key(number, RESTOCKING)).await;
        let open = Open::Restock { number, item };
        let Some(reply) = self.heard(answer, asked, Some(open)) else { return };
        match reply.outcome {
            Outcome::Accepted(_) => {
                let mut entries = self.books.entries();
                *entries.received.entry(item).or_default() += FEW;
                entries.restocked += 1;
            }
            other => self.books.violate(format!("item {item}: expected more of it, found {other:?}")),
        }
    }

    /// True if it is acknowledged.
    async fn cancel(&self, number: u64, order: OrderId) -> bool {
        let asked = Instant::now();
        let command = Command::CancelOrder(CancelOrder { order });
        let answer = self.client.ask(command, self.wishes.key(number, CANCELLING)).await;
        let open = Open::Cancel { number, order };
        let Some(reply) = self.heard(answer, asked, Some(open)) else { return false };
        match reply.outcome {
            Outcome::Accepted(_) => {
                if let Some(bought) = self.books.entries().bought.get_mut(&order) {
                    bought.cancelled = true;
                }
                true
            }
            other => {
                self.books.violate(format!("order {order}: expected it cancelled, found {other:?}"));
                false
            }
        }
    }

    /// Asks for an acknowledged order once more, under its key: nothing is done, and the answer is the first one.
    async fn repeat(&self, number: u64, first: &Receipt) {
        let asked = Instant::now();
        let answer = self.client.ask(self.wishes.order(number), self.wishes.key(number, BUYING)).await;
        let Some(reply) = self.heard(answer, asked, None) else { return };
        match reply.outcome {
            Outcome::Accepted(ref receipt) if receipt == first && reply.replayed => {
                self.books.entries().repeated += 1;
            }
            _ => {
                self.books
                    .violate(format!("buy {number}, repeated: expected {first:?} again, found {reply:?}"));
            }
        }
    }

    /// Reads an order of which it was just told that it stands so: what is older is not to be seen any more.
    async fn read(&self, number: u64, order: OrderId, state: OrderState) {
        let asked = Instant::now();
        let answer = self.client.ask(Command::GetOrder(order), 0).await;
        let Some(reply) = self.heard(answer, asked, None) else { return };
        match reply.outcome {
            Outcome::Order(row) if row.state == state && holds(&row, &self.wishes.basket(number)) => {
                self.books.entries().read += 1;
            }
            found => {
                self.books.violate(format!("order {order}: expected it {state:?} as told, found {found:?}"));
            }
        }
    }

    /// An answer, or an error that its caller sees: then the outcome is open.
    fn heard(&self, answer: Result<Reply, CallError>, asked: Instant, open: Option<Open>) -> Option<Reply> {
        let error = match answer {
            Ok(Reply {
                outcome:
                    Outcome::Refused(
                        refusal @ (Refusal::Stopped | Refusal::NotLeader { .. } | Refusal::KeyInProgress),
                    ),
                ..
            }) => refusal.reason().0.to_owned(),
            Ok(reply) => {
                self.books.answered(asked.elapsed());
                return Some(reply);
            }
            Err(error) => {
                if let CallError::Refused(refused) = &error
                    && !PASSING.contains(&refused.reason.as_str())
                {
                    let line = "expected it done, found it refused as";
                    self.books.violate(format!("{open:?}: {line} {refused}"));
                }
                error.to_string()
            }
        };
        self.books.failed(&format!("{}: {error}", self.client.protocol()), open);
        None
    }
}
