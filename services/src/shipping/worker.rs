//! Reads paid orders from the log as a consumer group, opens their shipments, and has what is due done:
//! off the fronts, a bounded number of steps at a time.

use std::sync::Arc;

use onrush_engine::Event;
use onrush_proto::{Cause, OrderId, OrderRow, RecordKind, Row, RowTag, ShardId, Topic};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::desk::{Desk, Next, Trouble, is_gone, is_to_ship};
use super::schedule::{Ended, Schedule};
use crate::consumer::{Consumer, Handler};
use crate::metrics::Positions;
use crate::retry::Retry;

/// The consumer group. Its topic carries goods, so the log waits for it.
pub const GROUP: &str = "shipping";

/// Steps under way at once.
const STEPS_MAX: usize = 64;
/// Open shipments in memory; beyond it paid orders wait in the log.
const SHIPMENTS_MAX: usize = 1_000_000;

/// What a record says about a shipment.
struct News {
    position: (u16, u64),
    order: OrderRow,
    cause: Option<Cause>,
}

struct Reader {
    desk: Arc<Desk>,
    open: mpsc::Sender<OrderId>,
}

/// Does Shipping's work for as long as it is let. `woken` are shipments that handlers changed.
pub(crate) async fn run(desk: Arc<Desk>, woken: Arc<Mutex<mpsc::Receiver<OrderId>>>, positions: Positions) {
    let mut woken = woken.lock().await;
    // Readers wait here while there is no room for more.
    let (open, mut opened) = mpsc::channel(STEPS_MAX);
    for shard in (0..desk.shelf.backend.shards()).map(ShardId) {
        let backend = desk.shelf.backend.clone();
        let position = positions.of(GROUP, shard);
        let consumer = Consumer { backend, topic: Topic::PaymentProcessed, position };
        tokio::spawn(consumer.follow(Reader { desk: desk.clone(), open: open.clone() }));
    }
    tokio::spawn(find_open(desk.clone(), open));
    let mut schedule = Schedule::default();
    let mut steps = JoinSet::new();
    loop {
        let now = Instant::now();
        while steps.len() < STEPS_MAX
            && let Some((order, call)) = schedule.take_due(now)
        {
            let desk = desk.clone();
            steps.spawn(async move { (order, desk.step(order, call).await) });
        }
        let next_at = schedule.next_at().filter(|_| steps.len() < STEPS_MAX);
        tokio::select! {
            Some(order) = opened.recv(), if schedule.len() < SHIPMENTS_MAX => schedule.wake(order, Instant::now()),
            Some(order) = woken.recv() => schedule.wake(order, Instant::now()),
            Some(ended) = steps.join_next() => match ended {
                Ok((order, how)) => schedule.ended(order, ending(order, how), Instant::now()),
                Err(error) => tracing::error!(%error, "a step of a shipment broke off; it is found again at the next start"),
            },
            () = sleep_until(next_at.unwrap_or(now)), if next_at.is_some() => {}
        }
    }
}

fn ending(order: OrderId, how: Result<Next, Trouble>) -> Ended {
    match how {
        Ok(Next::Nothing) => Ended::Closed,
        Ok(Next::After(pause)) => Ended::Well(pause),
        Err(trouble) => {
            match &trouble {
                Trouble::Conflict => {}
                Trouble::Rejected(rejection) => tracing::warn!(%order, %rejection, "a shipment waits"),
                Trouble::Carrier(error) => tracing::info!(%order, %error, "a shipment waits"),
            }
            Ended::Badly(trouble.pause())
        }
    }
}

/// Finds what an earlier process left open.
async fn find_open(desk: Arc<Desk>, open: mpsc::Sender<OrderId>) {
    let mut after = None;
    let mut retry = Retry::default();
    loop {
        match desk.shelf.open_after(&mut after).await {
            Ok(Some(orders)) => {
                for order in orders {
                    // The loop is gone only when the process ends.
                    let _ = open.send(order).await;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "expected the open shipments");
                tokio::time::sleep(retry.pause()).await;
            }
        }
    }
}

/// Opens a shipment, however long it takes.
async fn open(desk: &Desk, order: &OrderRow, asked_by: (u16, u64)) {
    let mut retry = Retry::default();
    while let Err(rejection) = desk.open(order, asked_by).await {
        tracing::warn!(order = %order.id, %rejection, "a shipment waits to be opened");
        tokio::time::sleep(retry.pause()).await;
    }
}

impl Handler for Reader {
    type Picked = News;

    fn pick(&self, event: &Event<'_>) -> Option<News> {
        use RecordKind::{OrderCancelled, PaymentCaptured, RefundSucceeded};
        let kind = event.fact.kind;
        if !matches!(kind, PaymentCaptured | OrderCancelled | RefundSucceeded) {
            return None;
        }
        let (_, bytes) = event.fact.rows().flatten().find(|(tag, _)| *tag == RowTag::Order)?;
        let Ok(Row::Order(order)) = Row::decode(RowTag::Order, bytes) else { return None };
        let paid = order.payment.as_ref().is_some_and(|payment| payment.captured > 0);
        let asks = match kind {
            PaymentCaptured => is_to_ship(&order),
            // An order that was never paid has no shipment to call off.
            _ => paid && is_gone(&order),
        };
        asks.then(|| News { position: (event.shard.0, event.lsn.0), order, cause: event.fact.cause() })
    }

    async fn handle(&mut self, batch: Vec<News>) {
        let mut opening = JoinSet::new();
        for News { position, order, cause } in batch {
            let desk = self.desk.clone();
            opening.spawn(async move {
                if !is_gone(&order) {
                    let work = open(&desk, &order, position);
                    desk.traces.follow(cause, ("open shipment", order.id), work).await;
                }
                order.id
            });
        }
        while let Some(opened) = opening.join_next().await {
            match opened {
                Ok(order) => {
                    let _ = self.open.send(order).await;
                }
                Err(error) => tracing::error!(%error, "a shipment was not opened"),
            }
        }
    }
}
