//! How far consumer groups are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use onrush_proto::{Lsn, ShardId};

/// The readers of a process.
#[derive(Clone, Default)]
pub(crate) struct Positions(Arc<Mutex<Vec<Arc<Position>>>>);

/// The readers that a port needs.
#[derive(Clone, Default)]
pub(crate) struct Readers {
    /// All of the process.
    pub(crate) positions: Positions,
    /// Of which group; `None`: the port needs none.
    pub(crate) group: Option<&'static str>,
}

impl Readers {
    /// How many are gone: who reads holds its position, whatever ends it.
    pub(crate) fn gone(&self) -> usize {
        let of_group = |position: &&Arc<Position>| Some(position.group) == self.group;
        let positions = self.positions.lock();
        positions.iter().filter(of_group).filter(|position| Arc::strong_count(position) == 1).count()
    }
}

/// How far one group is in one shard's log.
pub(crate) struct Position {
    /// The group.
    pub(crate) group: &'static str,
    /// The shard.
    pub(crate) shard: ShardId,
    lsn: AtomicU64,
}

impl Positions {
    /// The position of a reader that begins.
    pub(crate) fn of(&self, group: &'static str, shard: ShardId) -> Arc<Position> {
        let position = Arc::new(Position { group, shard, lsn: AtomicU64::new(0) });
        self.lock().push(Arc::clone(&position));
        position
    }

    /// The readers of these groups have ended as they should: others read them elsewhere, or will here.
    pub(crate) fn forget(&self, groups: &[&str]) {
        self.lock().retain(|position| !groups.contains(&position.group) || Arc::strong_count(position) > 1);
    }

    /// Records that each group has before it, given where the logs end.
    pub(crate) fn lags(&self, ends: &[Lsn]) -> Vec<(&'static str, ShardId, u64)> {
        let lag = |each: &Arc<Position>| {
            let end = ends.get(usize::from(each.shard.0))?;
            Some((each.group, each.shard, end.0.saturating_sub(each.lsn.load(Ordering::Relaxed))))
        };
        self.lock().iter().filter_map(lag).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Position>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Position {
    /// Everything up to here is done with.
    pub(crate) fn reached(&self, lsn: Lsn) {
        self.lsn.store(lsn.0, Ordering::Relaxed);
    }
}
