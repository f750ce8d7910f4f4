//! A shard's committed records, wherever the engine runs.

use std::time::Duration;

use onrush_engine::{Batch, Event, SubscribeError, Subscription};
use onrush_proto::Lsn;

use crate::remote::RemoteFeed;

/// Reads one shard's committed records in order.
pub enum Feed {
    /// Of an engine in this process.
    Local(Subscription),
    /// Of an engine in another one.
    Remote(RemoteFeed),
}

impl Feed {
    /// Calls `record` for up to `max` records behind the cursor; returns how many, 0 if there is nothing
    /// yet. Does not wait.
    pub fn poll(&mut self, max: usize, record: impl FnMut(Event<'_>)) -> Result<usize, SubscribeError> {
        match self {
            Self::Local(subscription) => subscription.poll(max, record),
            Self::Remote(feed) => feed.poll(max, record),
        }
    }

    /// The batch that holds the record behind the cursor, which moves past all of it.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, SubscribeError> {
        match self {
            Self::Local(subscription) => subscription.next_batch(),
            Self::Remote(feed) => feed.next_batch(),
        }
    }

    /// The last record handed over.
    pub fn cursor(&self) -> Lsn {
        match self {
            Self::Local(subscription) => subscription.cursor(),
            Self::Remote(feed) => feed.cursor(),
        }
    }

    /// Stands behind another record.
    pub fn seek(&mut self, cursor: Lsn) {
        match self {
            Self::Local(subscription) => subscription.seek(cursor),
            Self::Remote(feed) => feed.seek(cursor),
        }
    }

    /// Resolves when there is something behind the cursor.
    pub async fn ready(&mut self) {
        match self {
            Self::Local(subscription) => subscription.ready().await,
            Self::Remote(feed) => feed.ready().await,
        }
    }

    /// The same for at most this long; false if there is nothing by then.
    pub async fn ready_within(&mut self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.ready()).await.is_ok()
    }
}
