//! What a handler sees of the engine, wherever it runs.

use std::sync::Arc;

use onrush_engine::audit::AuditError;
use onrush_engine::{AuditReport, EngineHandle, EngineStats, Lane, ListError, Pump, StockView, Subscription};
use onrush_proto::{
    CallerKey, Command, CustomerId, DocKey, DocumentRow, GetDocument, IdempotencyKey, Lsn, OrderId, OrderRow,
    Outcome, ProductRow, PutDocument, Receipt, Refusal, Reply, Request, ShardId, Sku, Slot, StockChangeRow,
};
use uuid::Uuid;

use crate::deadline::Deadline;
use crate::field::{self, FieldError};
use crate::status::Rejection;

/// The caller of every key that comes without an account.
const ANONYMOUS: &str = "anonymous";

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
}

impl Backend {
    /// An engine in this process.
    pub fn local(engine: EngineHandle) -> Self {
        Self::Local { engine, lane: None }
    }

    /// The same for the tasks of one event loop, which has to poll the pump.
    pub fn for_loop(&self) -> (Self, Pump) {
        match self {
            Self::Local { engine, .. } => {
                let (lane, pump) = engine.lane();
                (Self::Local { engine: engine.clone(), lane: Some(lane) }, pump)
            }
        }
    }

    /// Asks the engine.
    pub async fn call(&self, request: Request) -> Reply {
        match self {
            Self::Local { lane: Some(lane), .. } => lane.call(request).await,
            Self::Local { engine, lane: None } => engine.call(request).await,
        }
    }

    /// A command under the caller's key, or under a fresh one if it brought none.
    pub fn keyed(&self, request_id: &str, deadline: Deadline, command: Command) -> Result<Keyed, FieldError> {
        self.keyed_of(ANONYMOUS, request_id, deadline, command)
    }

    /// The same for a caller who is known: keys of different callers never meet.
    pub fn keyed_of(
        &self,
        caller: &str,
        request_id: &str,
        deadline: Deadline,
        command: Command,
    ) -> Result<Keyed, FieldError> {
        let (request_id, key) = match field::request_id(request_id)? {
            "" => self.fresh_key(command.slot()),
            given => (given.to_owned(), self.caller_key(caller, given)),
        };
        let mut request = Request::new(key, command);
        request.deadline_us = deadline.wall_us();
        Ok(Keyed { request_id, request })
    }

    /// Asks the engine for something that it accepts or refuses.
    pub async fn accept(&self, request: Request) -> Result<Accepted, Rejection> {
        let reply = self.call(request).await;
        match reply.outcome {
            Outcome::Accepted(receipt) => Ok(Accepted { receipt, replayed: reply.replayed }),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("an acceptance or a refusal", &other)),
        }
    }

    /// An order as its owner has it.
    pub async fn order(&self, order: OrderId) -> Result<OrderRow, Rejection> {
        match self.call(Request::unkeyed(Command::GetOrder(order))).await.outcome {
            Outcome::Order(row) => Ok(*row),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(unexpected("an order or a refusal", &other)),
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

    /// Documents whose key begins with `prefix`, ascending, after `after`. Reads the store: not for a
    /// front thread.
    pub fn documents(
        &self,
        prefix: &str,
        after: Option<&DocKey>,
        limit: usize,
    ) -> Result<Vec<DocumentRow>, ListError> {
        match self {
            Self::Local { engine, .. } => engine.documents(prefix, after, limit),
        }
    }

    /// A SKU's published stock.
    pub fn stock(&self, sku: &Sku) -> Option<StockView> {
        match self {
            Self::Local { engine, .. } => engine.stock(sku),
        }
    }

    /// A SKU's published description.
    pub fn product(&self, sku: &Sku) -> Option<Arc<ProductRow>> {
        match self {
            Self::Local { engine, .. } => engine.product(sku),
        }
    }

    /// Published products after a SKU for which `keep` holds. Walks the catalogue: not for a front thread.
    pub fn products(
        &self,
        after: Option<&Sku>,
        limit: usize,
        keep: &mut dyn FnMut(&ProductRow) -> bool,
    ) -> Vec<Arc<ProductRow>> {
        match self {
            Self::Local { engine, .. } => engine.views().products(after, limit, keep),
        }
    }

    /// A customer's orders, newest first. Reads the store: not for a front thread.
    pub fn orders_of(
        &self,
        customer: &CustomerId,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<OrderRow>, ListError> {
        match self {
            Self::Local { engine, .. } => engine.orders_of(customer, before, limit),
        }
    }

    /// Changes of a SKU's stock behind a version. Reads the store: not for a front thread.
    pub fn stock_changes(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StockChangeRow>, ListError> {
        match self {
            Self::Local { engine, .. } => engine.stock_changes(sku, after, limit),
        }
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        match self {
            Self::Local { engine, .. } => engine.slot_map().shards(),
        }
    }

    /// Committed records of a shard.
    pub fn subscribe(&self, shard: ShardId, from: Lsn) -> Subscription {
        match self {
            Self::Local { engine, .. } => engine.subscribe(shard, from),
        }
    }

    /// Where a shard's committed log ends.
    pub fn end(&self, shard: ShardId) -> Lsn {
        match self {
            Self::Local { engine, .. } => engine.end(shard),
        }
    }

    /// Checks all books. Takes as long as the books are big: not for a front thread.
    pub fn audit(&self) -> Result<AuditReport, AuditError> {
        match self {
            Self::Local { engine, .. } => engine.audit(),
        }
    }

    /// The engine's counters.
    pub fn stats(&self) -> EngineStats {
        match self {
            Self::Local { engine, .. } => engine.stats(),
        }
    }

    /// The hash of a caller's key, under the data directory's secret.
    pub fn caller_key(&self, caller: &str, key: &str) -> IdempotencyKey {
        match self {
            Self::Local { engine, .. } => engine.key(CallerKey { caller, key }),
        }
    }

    /// A key whose text hashes to the shard of `slot`, so that key and effect are one record. The
    /// text is what a caller may send again; a try costs one hash, and there are as many as shards.
    fn fresh_key(&self, slot: Slot) -> (String, IdempotencyKey) {
        let map = match self {
            Self::Local { engine, .. } => engine.slot_map(),
        };
        let base = Uuid::new_v4().simple().to_string();
        let mut step = 0u32;
        loop {
            let text = format!("{base}-{step}");
            let key = self.caller_key(ANONYMOUS, &text);
            if map.shard(Slot::of_hash(key.0)) == map.shard(slot) {
                return (text, key);
            }
            step += 1;
        }
    }
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
