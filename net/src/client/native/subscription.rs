//! Records of a shard as they are committed: in order, none left out, none twice, across connections.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use onrush_proto::Lsn;
use onrush_proto::frame::{Record, Subscribe};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

use super::follow::Follow;
use super::link::Server;
use crate::client::CallError;

/// What the driver of a subscription hands over.
#[derive(Debug)]
pub(super) enum Item {
    /// The next record.
    Record(Record),
    /// The log was looked through up to here, and what came before has cost so much.
    Reached(Lsn, u64),
    /// Nothing more comes.
    Failed(CallError),
}

/// Where the driver hands over. What waits is bounded by the credit that the server is given.
pub(super) struct Outlet {
    items: UnboundedSender<Item>,
    waiting: Arc<Waiting>,
}

/// What came and was not taken yet.
#[derive(Default)]
struct Waiting {
    bytes: AtomicU64,
    /// Some was taken.
    taken: Notify,
}

impl Outlet {
    pub(super) fn record(&self, record: Record) {
        // Who wants no more ends the driver by itself.
        let _ = self.items.send(Item::Record(record));
    }

    pub(super) fn reached(&self, lsn: Lsn, bytes: u64) {
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        let _ = self.items.send(Item::Reached(lsn, bytes));
    }

    pub(super) fn fail(&self, error: CallError) {
        let _ = self.items.send(Item::Failed(error));
    }

    /// Bytes that wait to be taken.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting.bytes.load(Ordering::Relaxed)
    }

    /// Once some was taken since this was last asked.
    pub(super) async fn taken(&self) {
        self.waiting.taken.notified().await;
    }

    /// Once nobody takes any more.
    pub(super) async fn closed(&self) {
        self.items.closed().await;
    }
}

/// Records of a shard from a position on, for as long as it lives. A connection that breaks is made anew, and the
/// records go on where they broke off; what waits to be taken is bounded.
#[derive(Debug)]
pub struct Subscription {
    items: UnboundedReceiver<Item>,
    waiting: Arc<Waiting>,
    position: Lsn,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Subscription {
    /// Subscribes; fails if the server refuses, or cannot be reached within the tries of a call.
    pub(super) async fn open(server: Server, wanted: Subscribe) -> Result<Self, CallError> {
        let (sender, items) = mpsc::unbounded_channel();
        let waiting = Arc::<Waiting>::default();
        let (opened, begun) = oneshot::channel();
        let outlet = Outlet { items: sender, waiting: Arc::clone(&waiting) };
        tokio::spawn(Follow::new(server, wanted, outlet, opened).run());
        let gone = |_| CallError::Unknown {
            code: tonic::Code::Unavailable,
            message: "what drove the subscription is gone".into(),
        };
        let position = begun.await.map_err(gone)??;
        Ok(Self { items, waiting, position })
    }

    /// The next record, as soon as it is committed. After an error there is nothing more: the server refused to go
    /// on, for example since the records were released.
    pub async fn next(&mut self) -> Option<Result<Record, CallError>> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Nothing at or before this position comes any more: what is to be committed for a group once all that came
    /// is done with.
    pub fn position(&self) -> Lsn {
        self.position
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Record, CallError>>> {
        loop {
            match self.items.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Item::Record(record))) => {
                    self.position = record.lsn;
                    return Poll::Ready(Some(Ok(record)));
                }
                Poll::Ready(Some(Item::Reached(lsn, bytes))) => {
                    self.position = lsn;
                    self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
                    self.waiting.taken.notify_one();
                }
                Poll::Ready(Some(Item::Failed(error))) => {
                    self.items.close();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl tokio_stream::Stream for Subscription {
    type Item = Result<Record, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}
