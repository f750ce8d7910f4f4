//! Wakes callers that wait for a gateway: one subscriber reads payment records and hands the order
//! to whoever watches it. Nobody polls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onrush_engine::{Event, SubscribeError};
use onrush_proto::row::{self, RowTag};
use onrush_proto::{FactView, Lsn, OrderId, OrderRow, RecordKind, Row, ShardId};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::backend::{Backend, Feed};
use crate::deadline::Deadline;
use crate::gateway::asked;
use crate::records;
use crate::status::Rejection;

/// Records read at once.
const BATCH_RECORDS: usize = 1_024;

type Latest = watch::Sender<News>;

/// What was heard of an order last.
#[derive(Clone, Default)]
struct News {
    row: Option<Arc<OrderRow>>,
    /// The attempt that the buyer is to approve.
    asked: Option<u16>,
}

/// The orders that somebody watches.
#[derive(Clone, Default)]
pub struct Settlements {
    watched: Arc<Mutex<HashMap<OrderId, Latest>>>,
}

/// Somebody who waits for an order's payment. Made before the command that starts it, so that no
/// result can pass unseen.
pub struct Watch {
    settlements: Settlements,
    order: OrderId,
    latest: watch::Receiver<News>,
}

impl Settlements {
    /// Starts watching an order.
    pub fn watch(&self, order: OrderId) -> Watch {
        let latest =
            self.lock().entry(order).or_insert_with(|| watch::channel(News::default()).0).subscribe();
        Watch { settlements: self.clone(), order, latest }
    }

    /// Reads a shard's payment records for as long as the process lives.
    pub async fn follow(self, backend: Backend, shard: ShardId) {
        let mut from = Lsn(backend.end_at_last(shard).await.0 + 1);
        loop {
            let mut feed = backend.subscribe(shard, from);
            let error = self.read(&mut feed).await;
            // Older results are of no use to anybody who waits now: go on at the end.
            tracing::warn!(shard = shard.0, %error, "settlement reader fell behind; going on at the end");
            from = Lsn(backend.end_at_last(shard).await.0 + 1);
        }
    }

    async fn read(&self, feed: &mut Feed) -> SubscribeError {
        loop {
            feed.ready().await;
            let read = records::read(feed, BATCH_RECORDS, |event| self.hand_over(&event));
            if let Err(error) = read {
                return error;
            }
            tokio::task::yield_now().await;
        }
    }

    fn hand_over(&self, event: &Event<'_>) {
        if let Some((order, attempt)) = asked(event.fact)
            && let Some(latest) = self.lock().get(&order)
        {
            latest.send_modify(|news| news.asked = Some(attempt));
        }
        if !settles(event.fact.kind) {
            return;
        }
        let Some((order, bytes)) = order_of(event.fact) else { return };
        let watched = self.lock();
        let Some(latest) = watched.get(&order) else { return };
        if let Ok(Row::Order(row)) = Row::decode(RowTag::Order, bytes) {
            latest.send_modify(|news| news.row = Some(Arc::new(row)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OrderId, Latest>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The order.
    pub fn order(&self) -> OrderId {
        self.order
    }

    /// The order as soon as `done` holds, or as it is when the caller's deadline comes.
    pub async fn until(
        &mut self,
        backend: &Backend,
        deadline: Deadline,
        done: impl Fn(&OrderRow) -> bool,
    ) -> Result<OrderRow, Rejection> {
        self.until_asked(backend, deadline, u16::MAX, done).await
    }

    /// The same, or as it is as soon as the buyer is to approve this attempt or a later one.
    pub async fn until_asked(
        &mut self,
        backend: &Backend,
        deadline: Deadline,
        attempt: u16,
        done: impl Fn(&OrderRow) -> bool,
    ) -> Result<OrderRow, Rejection> {
        while let Ok(Ok(())) = timeout_at(deadline.answer_at(), self.latest.changed()).await {
            let News { row, asked } = self.latest.borrow_and_update().clone();
            if let Some(row) = row.filter(|row| done(row)) {
                return Ok(Arc::unwrap_or_clone(row));
            }
            if asked.is_some_and(|asked| asked >= attempt) {
                break;
            }
        }
        backend.order(self.order).await.map_err(Rejection::behind_acceptance)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.settlements.lock();
        // This watch still counts as a receiver here.
        if watched.get(&self.order).is_some_and(|latest| latest.receiver_count() <= 1) {
            watched.remove(&self.order);
        }
    }
}

/// True if a record of this kind can end a wait.
fn settles(kind: RecordKind) -> bool {
    matches!(
        kind,
        RecordKind::PaymentAuthorised
            | RecordKind::PaymentCaptured
            | RecordKind::PaymentDeclined
            | RecordKind::PaymentVoided
            | RecordKind::RefundStarted
            | RecordKind::RefundSucceeded
            | RecordKind::RefundFailed
            | RecordKind::OrderCancelled
    )
}

/// The order in a record and its encoded row.
fn order_of(fact: FactView<'_>) -> Option<(OrderId, &[u8])> {
    let (_, bytes) = fact.rows().flatten().find(|(tag, _)| *tag == RowTag::Order)?;
    let row = row::view::<OrderRow>(RowTag::Order, bytes).ok()?;
    Some((OrderId(row.id.0.to_native()), bytes))
}
