//! Events that wait to come again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_proto::{Lsn, ShardId, Text, Topic};
use tokio::time::Instant;

/// Pauses at a time. Each is over within a minute; beyond so many an event comes again at once.
const PAUSES_MAX: usize = 65_536;

type Place = (Text<47>, Topic, ShardId);

/// Until when an event waits, by group and shard: of each there is one that was rejected last. They outlive members, so
/// that one which dies of an event does not get it back at once.
#[derive(Default)]
pub(super) struct Pauses(Mutex<BTreeMap<Place, (Lsn, Instant)>>);

impl Pauses {
    /// An event is to come again after this long.
    pub(super) fn begin(&self, (group, topic): (Text<47>, Topic), shard: ShardId, lsn: Lsn, wait: Duration) {
        let (mut known, now) = (self.known(), Instant::now());
        known.retain(|_, (_, until)| *until > now);
        if known.len() < PAUSES_MAX {
            known.insert((group, topic, shard), (lsn, now + wait));
        }
    }

    /// For how much longer an event waits.
    pub(super) fn left(&self, (group, topic): (Text<47>, Topic), shard: ShardId, lsn: Lsn) -> Duration {
        let known = self.known().get(&(group, topic, shard)).copied();
        let own = known.filter(|(of, _)| *of == lsn);
        own.map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(Instant::now()))
    }

    /// Nothing of this shard waits any more.
    pub(super) fn forget(&self, (group, topic): (Text<47>, Topic), shard: ShardId) {
        self.known().remove(&(group, topic, shard));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Place, (Lsn, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_whoever_asks_until_its_time_is_over() {
        let pauses = Pauses::default();
        let (books, mail) =
            (("books".parse().unwrap(), Topic::OrderCreated), ("mail".parse().unwrap(), Topic::OrderCreated));
        let (shard, lsn, wait) = (ShardId(0), Lsn(7), Duration::from_secs(4));
        pauses.begin(books, shard, lsn, wait);
        assert_eq!(pauses.left(books, shard, lsn), wait);
        for (key, shard, lsn) in [(mail, shard, lsn), (books, ShardId(1), lsn), (books, shard, Lsn(8))] {
            assert_eq!(pauses.left(key, shard, lsn), Duration::ZERO);
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(pauses.left(books, shard, lsn), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pauses.left(books, shard, lsn), Duration::ZERO);
        pauses.begin(mail, shard, lsn, wait);
        assert_eq!(pauses.known().len(), 1, "what is over is forgotten");
        pauses.forget(mail, shard);
        assert_eq!(pauses.left(mail, shard, lsn), Duration::ZERO);
    }
}
