//! Follows one shard's log for a subscription.

use std::sync::Arc;
use std::time::Duration;

use onrush_engine::{Batch as Committed, SubscribeError};
use onrush_grpc::log::v1::{Batch, SubscribeResponse, subscribe_response};
use onrush_proto::{FactError, Lsn, ShardId, Topic};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::message;
use super::positions::unread;
use crate::access::{Standing, now_s};
use crate::backend::Feed;
use crate::status::Rejection;

/// From here on a message is full.
const FULL_BYTES: usize = 256 << 10;
/// Bytes of the log that are looked through before others have their turn.
const LOOK_BYTES: usize = 1 << 20;
/// How long what is open of the log's files is kept for a consumer that takes nothing: while it is, they cannot be released.
const OPEN_WHILE: Duration = Duration::from_secs(1);
/// After so many records without one of the topic the consumer hears how far the log was looked through.
const QUIET_RECORDS: u64 = 4_096;
/// More credit counts as this much.
const CREDIT_MAX: i64 = u32::MAX as i64;

/// Messages on their way to a consumer.
pub(super) type Out = mpsc::Sender<Result<SubscribeResponse, Status>>;

/// Bytes of events that may still come, over all shards of a subscription; below zero, what is owed.
#[derive(Clone)]
pub(super) struct Credit(Arc<watch::Sender<i64>>);

impl Credit {
    pub(super) fn new(bytes: u32) -> Self {
        Self(Arc::new(watch::Sender::new(bytes.into())))
    }

    pub(super) fn grant(&self, bytes: u32) {
        self.0.send_modify(|credit| *credit = credit.saturating_add(bytes.into()).min(CREDIT_MAX));
    }

    fn spend(&self, bytes: usize) {
        self.0.send_modify(|credit| *credit -= bytes as i64);
    }

    fn left(&self) -> i64 {
        *self.0.borrow()
    }

    /// Once some is left.
    async fn some(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|credit| *credit > 0).await;
    }

    /// Once none is left.
    pub(super) async fn none(&self) {
        let _ = self.0.subscribe().wait_for(|credit| *credit <= 0).await;
    }
}

/// What follows a shard.
pub(super) struct Follower {
    pub(super) shard: ShardId,
    pub(super) topic: Topic,
    pub(super) feed: Feed,
    /// The last record that was looked at.
    pub(super) cursor: Lsn,
    pub(super) credit: Credit,
    pub(super) standing: Standing,
    pub(super) out: Out,
}

/// What a follower has read.
#[derive(Default)]
struct Looked {
    /// What was read and not looked through to its end.
    current: Option<Committed>,
    /// How far the consumer knows of.
    told: Lsn,
}

/// A record that cannot be told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Log(#[from] SubscribeError),
    #[error("record {lsn}: {source}")]
    Fact { lsn: u64, source: FactError },
}

impl Follower {
    /// Follows until nobody wants any more; says why if there is nothing to follow.
    pub(super) async fn run(mut self, wait: Duration) -> Result<(), Rejection> {
        tokio::time::sleep(wait).await;
        let mut looked = Looked { told: self.cursor, ..Looked::default() };
        loop {
            if looked.current.is_none() {
                self.feed.ready().await;
            }
            let out = self.out.clone();
            let Some(room) = self.room(&out, &mut looked).await else { return Ok(()) };
            // Other shards of the subscription may have spent it meanwhile.
            if self.credit.left() > 0 {
                self.standing.must_be_good(now_s())?;
                if let Some((batch, cost)) = self.fill(&mut looked).map_err(told)? {
                    self.credit.spend(cost);
                    room.send(Ok(batch));
                }
            }
            // A long log must not keep this thread from its other tasks.
            tokio::task::yield_now().await;
        }
    }

    /// Room for a message, once there is credit; `None` once nobody wants one. Who takes nothing for long holds no file
    /// of the log back.
    async fn room<'a>(
        &mut self,
        out: &'a Out,
        looked: &mut Looked,
    ) -> Option<mpsc::Permit<'a, Result<SubscribeResponse, Status>>> {
        let credit = self.credit.clone();
        let room = async {
            credit.some().await;
            out.reserve().await.ok()
        };
        let mut room = std::pin::pin!(room);
        if let Ok(room) = tokio::time::timeout(OPEN_WHILE, &mut room).await {
            return room;
        }
        looked.current = None;
        self.feed.seek(self.cursor);
        room.await
    }

    /// What there is, up to a message of it, and what it costs; `None` if that is nothing to speak of.
    fn fill(&mut self, looked: &mut Looked) -> Result<Option<(SubscribeResponse, usize)>, TellError> {
        let (mut events, mut cost, mut looked_through) = (Vec::new(), 0, 0);
        let credit = self.credit.left();
        let topic = self.topic;
        while looked_through < LOOK_BYTES {
            let next = match looked.current.take() {
                Some(batch) => Some(batch),
                None => self.feed.next_batch()?,
            };
            let Some(batch) = next else { break };
            looked_through += batch.bytes().len();
            let (mut cursor, mut done, mut full, mut failed) = (self.cursor, self.cursor, false, None);
            let read = batch.read(self.shard, &mut cursor, usize::MAX, |event| {
                full |= cost as i64 >= credit || cost >= FULL_BYTES;
                if full || failed.is_some() {
                    return;
                }
                if event.fact.kind.is_in(topic) {
                    match message::event(&event) {
                        Ok(event) => {
                            cost += event.encoded_len();
                            events.push(event);
                        }
                        Err(source) => {
                            failed = Some(TellError::Fact { lsn: event.lsn.0, source });
                            return;
                        }
                    }
                }
                done = event.lsn;
            });
            let failed = failed.or(read.err().map(TellError::Log));
            self.cursor = done;
            if done < batch.last() {
                looked.current = Some(batch);
            }
            match failed {
                // What came before it is told first.
                Some(_) if !events.is_empty() => break,
                Some(error) => return Err(error),
                None if full => break,
                None => {}
            }
        }
        let reached = self.cursor.0;
        if events.is_empty() && reached < looked.told.0 + QUIET_RECORDS {
            return Ok(None);
        }
        looked.told = self.cursor;
        let batch = Batch { shard: self.shard.0.into(), topic: topic.name().into(), events, reached };
        Ok(Some((SubscribeResponse { tell: Some(subscribe_response::Tell::Batch(batch)) }, cost)))
    }
}

fn told(error: TellError) -> Rejection {
    match error {
        TellError::Log(error) => unread(error),
        error => Rejection::Internal(error.to_string()),
    }
}
