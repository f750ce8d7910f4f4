//! Subscribers: they read what is committed, fall behind, start again, and remember where they were.

use std::sync::Arc;

use onrush_engine::{Event, SubscribeError, Subscription, Tail};
use onrush_proto::{CommitOffset, Fact, FactError, Lsn, ShardId, Slot, Text, Topic};

use super::shop::text;

/// The topic whose groups hold the log back.
pub(crate) const HOLDING: Topic = Topic::PaymentStarted;

/// A record as it was handed over.
pub(crate) struct Seen {
    pub(crate) lsn: u64,
    pub(crate) time_us: u64,
    pub(crate) key_hash: u64,
    pub(crate) fact: Result<Fact, FactError>,
}

/// One reader of one shard's log.
pub(crate) struct Reader {
    pub(crate) shard: usize,
    /// The last record it has seen.
    pub(crate) cursor: u64,
    /// True if it commits its position to a group that holds the log.
    pub(crate) holds: bool,
    subscription: Option<Subscription>,
}

impl Reader {
    pub(crate) fn new(shard: usize, holds: bool) -> Self {
        Self { shard, cursor: 0, holds, subscription: None }
    }

    /// Its group.
    pub(crate) fn group(&self) -> Text<47> {
        text(&format!("gateway-{}", self.shard))
    }

    /// Stands behind another record, as a process does that starts again.
    pub(crate) fn start_behind(&mut self, cursor: u64) {
        self.cursor = cursor;
        self.subscription = None;
    }

    /// Stands behind another record without starting again.
    pub(crate) fn seek(&mut self, cursor: u64) {
        self.cursor = cursor;
        if let Some(subscription) = &mut self.subscription {
            subscription.seek(Lsn(cursor));
        }
    }

    /// Reads up to `max` records behind the cursor, which stays: the caller moves it.
    pub(crate) fn poll(&mut self, tail: &Arc<Tail>, max: usize) -> Result<Vec<Seen>, SubscribeError> {
        let (shard, from) = (ShardId(self.shard as u16), Lsn(self.cursor + 1));
        let subscription =
            self.subscription.get_or_insert_with(|| Subscription::over(shard, Arc::clone(tail), from));
        let mut seen = Vec::new();
        let see = |event: Event<'_>| {
            let Event { lsn: Lsn(lsn), time_us, key_hash, fact, .. } = event;
            seen.push(Seen { lsn, time_us, key_hash, fact: fact.read(key_hash) });
        };
        subscription.poll(max, see)?;
        Ok(seen)
    }

    /// Tells the group's position.
    pub(crate) fn commit(&self, slot: Slot) -> CommitOffset {
        CommitOffset { slot, group: self.group(), topic: HOLDING, lsn: Some(Lsn(self.cursor)) }
    }
}
