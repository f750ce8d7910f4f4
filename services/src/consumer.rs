//! A consumer group: reads a shard's records in order, has them handled batch by batch, and records
//! how far it came. At least once: what is handled must bear to come again.

use std::sync::Arc;
use std::time::Duration;

use onrush_engine::{Event, SubscribeError};
use onrush_proto::{Command, CommitOffset, Lsn, Outcome, Refusal, Request, Slot, Text, Topic};
use tokio::time::{Instant, sleep_until};

use crate::backend::{Backend, Feed};
use crate::metrics::Position;
use crate::records;
use crate::retry::Retry;

/// Records read at once.
const BATCH_RECORDS: usize = 256;
/// How often a changed position is recorded.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// A group that found nothing for this many records says so, or it would hold the log back for
/// good. Its own word is one record, so it never becomes a reason to speak again.
const QUIET_RECORDS: u64 = 4_096;

/// What a group does with the records.
pub(crate) trait Handler {
    /// What is kept of a record until it is handled.
    type Picked;

    /// Picks what is to be handled.
    fn pick(&self, event: &Event<'_>) -> Option<Self::Picked>;

    /// Has it done. The position moves past the batch when this ends.
    fn handle(&mut self, batch: Vec<Self::Picked>) -> impl Future<Output = ()> + Send;
}

/// A group's reader of one shard.
pub(crate) struct Consumer {
    /// The engine.
    pub(crate) backend: Backend,
    /// Under which topic its position is kept.
    pub(crate) topic: Topic,
    /// Which group and shard, and how far it is, for who measures.
    pub(crate) position: Arc<Position>,
}

impl Consumer {
    /// Follows the shard for as long as the process lives.
    pub(crate) async fn follow<H: Handler>(self, mut handler: H) {
        let mut from = self.committed().await;
        self.position.reached(from);
        loop {
            match self.read(from, &mut handler).await {
                // The bound of what a group may hold back was passed; what is left is read on.
                SubscribeError::OutOfRange { first, found } => {
                    let (group, shard) = (self.position.group, self.position.shard.0);
                    tracing::error!(group, shard, first, found, "records were released unread");
                    from = Lsn(first.saturating_sub(1));
                }
                error => {
                    tracing::error!(group = self.position.group, shard = self.position.shard.0, %error, "the log cannot be read");
                    return;
                }
            }
        }
    }

    async fn read<H: Handler>(&self, from: Lsn, handler: &mut H) -> SubscribeError {
        let mut feed = self.backend.subscribe(self.position.shard, Lsn(from.0 + 1));
        let (mut done, mut committed) = (from, from);
        let mut next_commit = Instant::now() + COMMIT_EVERY;
        loop {
            tokio::select! {
                () = feed.ready() => {
                    let any = match batch(&mut feed, handler).await {
                        Ok(any) => any,
                        Err(error) => return error,
                    };
                    self.position.reached(feed.cursor());
                    if any || feed.cursor().0 >= done.0 + QUIET_RECORDS {
                        done = feed.cursor();
                    }
                }
                () = sleep_until(next_commit), if done > committed => {
                    if self.commit(done).await {
                        committed = done;
                    }
                    next_commit = Instant::now() + COMMIT_EVERY;
                }
            }
        }
    }

    async fn committed(&self) -> Lsn {
        let mut retry = Retry::default();
        loop {
            match self.backend.call(Request::unkeyed(self.offset(None))).await.outcome {
                Outcome::Offset(lsn) => return lsn,
                Outcome::Refused(Refusal::NotFound) => return Lsn(0),
                outcome => {
                    tracing::warn!(group = self.position.group, ?outcome, "expected the group's position")
                }
            }
            tokio::time::sleep(retry.pause()).await;
        }
    }

    async fn commit(&self, lsn: Lsn) -> bool {
        match self.backend.call(Request::unkeyed(self.offset(Some(lsn)))).await.outcome {
            Outcome::Accepted(_) => true,
            outcome => {
                tracing::debug!(group = self.position.group, ?outcome, "the group's position waits");
                false
            }
        }
    }

    fn offset(&self, lsn: Option<Lsn>) -> Command {
        // Slots are dealt round-robin, so a shard's number is one of its slots.
        let slot = Slot(self.position.shard.0 as u8);
        let group = Text::new(self.position.group).unwrap_or_default();
        Command::CommitOffset(Box::new(CommitOffset { slot, group, topic: self.topic, lsn }))
    }
}

/// One batch; true if there was anything to handle.
async fn batch<H: Handler>(feed: &mut Feed, handler: &mut H) -> Result<bool, SubscribeError> {
    let mut picked = Vec::new();
    records::read(feed, BATCH_RECORDS, |event| picked.extend(handler.pick(&event)))?;
    let any = !picked.is_empty();
    if any {
        handler.handle(picked).await;
    }
    // A long log must not keep this thread from its other tasks.
    tokio::task::yield_now().await;
    Ok(any)
}
