//! What a handler sees of the engine, wherever it runs.

mod catalogue;
mod feed;

use std::sync::Arc;

use onrush_engine::audit::AuditError;
use onrush_engine::{AuditReport, EngineHandle, EngineStats, Lane, ListError, Port, Pump};
use onrush_proto::{
    CallerKey, Command, CustomerId, DocKey, DocumentRow, GetDocument, IdempotencyKey, KeyHasher, Lsn,
    OrderId, OrderRow, Outcome, ProductRow, PutDocument, Receipt, Refusal, Reply, Request, ShardId, Sku,
    Slot, SlotMap, StockChangeRow,
};
use uuid::Uuid;

pub use catalogue::{ProductFilter, Shelf};
pub use feed::Feed;

use crate::access::Admitted;
use crate::breaker::BreakerState;
use crate::deadline::Deadline;
use crate::field::{self, FieldError};
use crate::remote::{Answer, Question, Remote};
use crate::retry::Retry;
use crate::status::Rejection;
use crate::traces;

/// Where the engine is.
#[derive(Clone)]
pub enum Backend {
    /// In this process.
    Local {
        /// The engine.
        engine: EngineHandle,
        /// What the calls of one front leave by; without it each goes alone.
        lane: Option<Lane>,
    },
    /// In another process.
    Remote(Remote),
}

/// A command under its idempotency key.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The key as the caller gave it, or as the edge made it.
    pub request_id: String,
    /// What the engine is asked.
    pub request: Request,
}

/// A first acceptance, or the same again.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// What was accepted.
    pub receipt: Receipt,
    /// True if this is the first acceptance again.
    pub replayed: bool,
    /// The position in the log that made it durable.
    pub lsn: Lsn,
}

impl Accepted {
    /// What a reply says that accepts or refuses.
    pub fn of(reply: Reply) -> Result<Self, Rejection> {
        match reply.outcome {
            Outcome::Accepted(receipt) => Ok(Self { receipt, replayed: reply.replayed, lsn: reply.lsn }),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("an acceptance or a refusal", &other)),
        }
    }
}

impl Backend {
    /// An engine in this process.
    pub fn local(engine: EngineHandle) -> Self {
        Self::Local { engine, lane: None }
    }

    /// The same for the tasks of one event loop, which has to poll what moves their calls, if anything
    /// has to.
    pub fn for_loop(&self) -> (Self, Option<Pump>) {
        match self {
            Self::Local { engine, .. } => {
                let (lane, pump) = engine.lane();
                (Self::Local { engine: engine.clone(), lane: Some(lane) }, Some(pump))
            }
            // All loops of a process share one stream.
            Self::Remote(_) => (self.clone(), None),
        }
    }

    /// Another node that decides for this slot, as far as it is known (0 = nobody); `None` if it is decided here, or the
    /// engine is elsewhere and says so itself.
    pub fn led_elsewhere(&self, slot: Slot) -> Option<u64> {
        let Self::Local { engine, .. } = self else { return None };
        let shard = engine.slot_map().shard(slot);
        // All shards belong where the first one is led.
        (!engine.decides(shard)).then(|| engine.leader(ShardId(0)).map_or(0, |leader| leader.0))
    }

    /// Refused where the shop is not decided. An engine that is elsewhere says so itself.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`].
    pub fn must_decide(&self) -> Result<(), Refusal> {
        let Self::Local { engine, .. } = self else { return Ok(()) };
        let decides = (0..self.shards()).map(ShardId).all(|shard| engine.decides(shard));
        if decides { Ok(()) } else { Err(self.led_by()) }
    }

    /// Another node leads, as far as it is known which.
    pub(crate) fn led_by(&self) -> Refusal {
        let leader = match self {
            // Who leads and does not decide yet, or no longer, is nobody to go to.
            Self::Local { engine, .. } => {
                engine.leader(ShardId(0)).filter(|leader| engine.node() != Some(*leader))
            }
            Self::Remote(_) => None,
        };
        Refusal::NotLeader { leader: leader.map_or(0, |leader| leader.0) }
    }

    /// True if the engine is in this process.
    pub fn has_ports(&self) -> bool {
        matches!(self, Self::Local { .. })
    }

    /// A way of its own for somebody who asks much at once; `None` if the engine is in another process.
    pub fn port(&self) -> Option<Port> {
        match self {
            Self::Local { engine, .. } => Some(engine.port()),
            Self::Remote(_) => None,
        }
    }

    /// Asks the engine, for what the caller works for.
    pub async fn call(&self, mut request: Request) -> Reply {
        if request.cause.is_none() {
            request.cause = traces::current().map(Box::new);
        }
        match self {
            Self::Local { lane: Some(lane), .. } => lane.call(request).await,
            Self::Local { engine, lane: None } => engine.call(request).await,
            Self::Remote(remote) => match remote.ask(&Question::Call(request)).await {
                Ok(Answer::Reply(reply)) => reply,
                Ok(_) => refused(Refusal::Unreachable),
                Err(refusal) => refused(refusal),
            },
        }
    }

    /// A command under the caller's key, or under a fresh one if it brought none. Keys of different
    /// callers never meet.
    pub fn keyed(
        &self,
        caller: &str,
        request_id: &str,
        deadline: Deadline,
        command: Command,
    ) -> Result<Keyed, FieldError> {
        let (request_id, key) = match field::request_id(request_id)? {
            "" => self.fresh_key(caller, command.slot()),
            given => (given.to_owned(), self.caller_key(caller, given)),
        };
        let mut request = Request::new(key, command);
        request.deadline_us = deadline.wall_us();
        Ok(Keyed { request_id, request })
    }

    /// Asks the engine for something that it accepts or refuses.
    pub async fn accept(&self, request: Request) -> Result<Accepted, Rejection> {
        Accepted::of(self.call(request).await)
    }

    /// An order as its owner has it.
    pub async fn order(&self, order: OrderId) -> Result<OrderRow, Rejection> {
        match self.call(Request::unkeyed(Command::GetOrder(order))).await.outcome {
            Outcome::Order(row) => Ok(*row),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("an order or a refusal", &other)),
        }
    }

    /// The same for a caller: what is not theirs to touch looks as if it were not there.
    pub async fn order_for(&self, caller: &Admitted, order: OrderId) -> Result<OrderRow, Rejection> {
        let row = self.order(order).await?;
        match caller.reaches(&row.customer) {
            true => Ok(row),
            false => Err(Refusal::UnknownOrder { order }.into()),
        }
    }

    /// Refused if an order is not there for a caller. Who reaches all is not looked at: the command
    /// that follows will say whether it is there.
    pub async fn must_reach(&self, caller: &Admitted, order: OrderId) -> Result<(), Rejection> {
        match caller.reaches_all() {
            true => Ok(()),
            false => self.order_for(caller, order).await.map(drop),
        }
    }

    /// A document as its owner has it; `None` if there is none.
    pub async fn document_at(
        &self,
        key: DocKey,
        placement: Option<Slot>,
    ) -> Result<Option<DocumentRow>, Rejection> {
        let command = Command::GetDocument(Box::new(GetDocument { key, placement }));
        match self.call(Request::unkeyed(command)).await.outcome {
            Outcome::Document(row) => Ok(Some(*row)),
            Outcome::Refused(Refusal::NotFound) => Ok(None),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("a document or a refusal", &other)),
        }
    }

    /// Puts a document; its version.
    pub async fn put_document_at(&self, put: PutDocument) -> Result<u64, Rejection> {
        let accepted = self.accept(Request::unkeyed(Command::PutDocument(Box::new(put)))).await?;
        match accepted.receipt {
            Receipt::Document { version } => Ok(version),
            other => Err(Rejection::Internal(format!("expected a document's receipt, found {other:?}"))),
        }
    }

    /// Documents whose key begins with `prefix`, ascending, after `after`.
    pub async fn documents(
        &self,
        prefix: &str,
        after: Option<DocKey>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, Rejection> {
        let prefix = prefix.to_owned();
        match self {
            Self::Local { engine, .. } => {
                let engine = engine.clone();
                list(move || engine.documents(&prefix, after.as_ref(), limit)).await
            }
            Self::Remote(remote) => {
                match remote.ask(&Question::Documents { prefix, after, limit: limit as u32 }).await? {
                    Answer::Documents(rows) => Ok(rows),
                    other => Err(strange(other)),
                }
            }
        }
    }

    /// What is published of these SKUs' stock. Here it is read in place, when it is asked for.
    pub async fn shelf(&self, skus: impl Iterator<Item = Sku>) -> Result<Shelf<'_>, Rejection> {
        match self {
            Self::Local { engine, .. } => Ok(Shelf::Views(engine.views())),
            Self::Remote(remote) => {
                let skus: Vec<Sku> = skus.collect();
                match remote.ask(&Question::Stocks(skus.clone())).await? {
                    Answer::Stocks(stocks) => Ok(Shelf::fetched(skus, stocks)),
                    other => Err(strange(other)),
                }
            }
        }
    }

    /// A SKU's published description.
    pub async fn product(&self, sku: &Sku) -> Result<Option<Arc<ProductRow>>, Rejection> {
        match self {
            Self::Local { engine, .. } => Ok(engine.product(sku).kept()),
            Self::Remote(remote) => match remote.ask(&Question::Product(*sku)).await? {
                Answer::Product(row) => Ok(row.map(Arc::new)),
                other => Err(strange(other)),
            },
        }
    }

    /// Published products after a SKU that pass the filter.
    pub async fn products(
        &self,
        after: Option<Sku>,
        limit: usize,
        filter: ProductFilter,
    ) -> Result<Vec<Arc<ProductRow>>, Rejection> {
        match self {
            Self::Local { engine, .. } => {
                // It walks the catalogue.
                let views = engine.views().clone();
                off_front(move || views.products(after.as_ref(), limit, &mut |row| filter.keeps(row))).await
            }
            Self::Remote(remote) => {
                let ProductFilter { query, category } = filter;
                match remote.ask(&Question::Products { after, limit: limit as u32, query, category }).await? {
                    Answer::Products(rows) => Ok(rows.into_iter().map(Arc::new).collect()),
                    other => Err(strange(other)),
                }
            }
        }
    }

    /// A customer's orders, newest first.
    pub async fn orders_of(
        &self,
        customer: CustomerId,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<OrderRow>, Rejection> {
        match self {
            Self::Local { engine, .. } => {
                let engine = engine.clone();
                list(move || engine.orders_of(&customer, before, limit)).await
            }
            Self::Remote(remote) => {
                match remote.ask(&Question::OrdersOf { customer, before, limit: limit as u32 }).await? {
                    Answer::Orders(rows) => Ok(rows),
                    other => Err(strange(other)),
                }
            }
        }
    }

    /// Changes of a SKU's stock behind a version.
    pub async fn stock_changes(
        &self,
        sku: Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StockChangeRow>, Rejection> {
        match self {
            Self::Local { engine, .. } => {
                let engine = engine.clone();
                list(move || engine.stock_changes(&sku, after, limit)).await
            }
            Self::Remote(remote) => {
                match remote.ask(&Question::StockChanges { sku, after, limit: limit as u32 }).await? {
                    Answer::StockChanges(rows) => Ok(rows),
                    other => Err(strange(other)),
                }
            }
        }
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.slot_map().shards()
    }

    fn slot_map(&self) -> SlotMap {
        match self {
            Self::Local { engine, .. } => engine.slot_map(),
            Self::Remote(remote) => remote.slot_map(),
        }
    }

    /// What hashes the keys of the data directory.
    pub fn hasher(&self) -> KeyHasher {
        match self {
            Self::Local { engine, .. } => engine.hasher(),
            Self::Remote(remote) => remote.hasher(),
        }
    }

    /// Committed records of a shard.
    pub fn subscribe(&self, shard: ShardId, from: Lsn) -> Feed {
        match self {
            Self::Local { engine, .. } => Feed::Local(engine.subscribe(shard, from)),
            Self::Remote(remote) => Feed::Remote(remote.subscribe(shard, from)),
        }
    }

    /// Where each shard's committed log ends.
    pub async fn ends(&self) -> Result<Vec<Lsn>, Rejection> {
        match self {
            Self::Local { engine, .. } => {
                Ok((0..engine.slot_map().shards()).map(|shard| engine.end(ShardId(shard))).collect())
            }
            Self::Remote(remote) => match remote.ask(&Question::Ends).await? {
                Answer::Ends(ends) if ends.len() == usize::from(self.shards()) => Ok(ends),
                other => Err(strange(other)),
            },
        }
    }

    /// Where a shard's committed log ends.
    pub async fn end(&self, shard: ShardId) -> Result<Lsn, Rejection> {
        let ends = self.ends().await?;
        let end = ends.get(usize::from(shard.0)).copied();
        end.ok_or_else(|| {
            Rejection::Internal(format!("expected a shard below {}, found {}", ends.len(), shard.0))
        })
    }

    /// The same, however long it takes until the engine can be asked.
    pub async fn end_at_last(&self, shard: ShardId) -> Lsn {
        let mut retry = Retry::default();
        loop {
            match self.end(shard).await {
                Ok(end) => return end,
                Err(error) => tracing::warn!(shard = shard.0, %error, "expected the end of the log"),
            }
            tokio::time::sleep(retry.jittered_pause()).await;
        }
    }

    /// Shards that write no more.
    pub async fn stopped_shards(&self) -> Result<u16, Rejection> {
        match self {
            Self::Local { engine, .. } => Ok(engine.stopped_shards()),
            Self::Remote(remote) => match remote.ask(&Question::Condition).await? {
                Answer::Condition { stopped_shards } => Ok(stopped_shards),
                other => Err(strange(other)),
            },
        }
    }

    /// Checks all books; `None` if the engine is in another process, which does that itself. Takes as long
    /// as the books are big: not for a front thread.
    pub fn audit(&self) -> Option<Result<AuditReport, AuditError>> {
        match self {
            Self::Local { engine, .. } => Some(engine.audit()),
            Self::Remote(_) => None,
        }
    }

    /// The engine's counters; `None` if it is in another process.
    pub fn stats(&self) -> Option<EngineStats> {
        match self {
            Self::Local { engine, .. } => Some(engine.stats()),
            Self::Remote(_) => None,
        }
    }

    /// The counters of each shard; `None` if the engine is in another process.
    pub fn shard_stats(&self) -> Option<Vec<EngineStats>> {
        match self {
            Self::Local { engine, .. } => Some(engine.shard_stats()),
            Self::Remote(_) => None,
        }
    }

    /// Where the breaker in front of an engine in another process stands.
    pub(crate) fn breaker(&self) -> Option<BreakerState> {
        match self {
            Self::Local { .. } => None,
            Self::Remote(remote) => Some(remote.breaker()),
        }
    }

    /// The hash of a caller's key, under the data directory's secret.
    pub fn caller_key(&self, caller: &str, key: &str) -> IdempotencyKey {
        self.hasher().key(CallerKey { caller, key })
    }

    /// A key whose text hashes to the shard of `slot`, so that key and effect are one record. The
    /// text is what a caller may send again; a try costs one hash, and there are as many as shards.
    fn fresh_key(&self, caller: &str, slot: Slot) -> (String, IdempotencyKey) {
        let map = self.slot_map();
        let base = Uuid::new_v4().simple().to_string();
        let mut step = 0u32;
        loop {
            let text = format!("{base}-{step}");
            let key = self.caller_key(caller, &text);
            if map.shard(Slot::of_hash(key.0)) == map.shard(slot) {
                return (text, key);
            }
            step += 1;
        }
    }
}

fn refused(refusal: Refusal) -> Reply {
    Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: Lsn(0) }
}

/// An answer that does not belong to its question, or that the read failed.
fn strange(answer: Answer) -> Rejection {
    match answer {
        Answer::Failed(message) => Rejection::Internal(message),
        other => Rejection::Internal(format!("expected the answer to what was asked, found {other:?}")),
    }
}

/// Reads the store off the front's thread.
async fn list<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ListError> + Send + 'static,
) -> Result<T, Rejection> {
    off_front(read).await?.map_err(|error| Rejection::Internal(error.to_string()))
}

/// An outcome that the engine never gives to this command.
pub fn unexpected(expected: &str, found: &Outcome) -> Rejection {
    Rejection::Internal(format!("expected {expected} of the engine, found {found:?}"))
}

/// Runs a read that may wait for the disk off the front's thread.
pub async fn off_front<T, F>(work: F) -> Result<T, Rejection>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Rejection::Internal(format!("expected the read to end, found: {error}")))
}
