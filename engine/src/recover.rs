//! A shard from its store and its log.
//!
//! Memory is rebuilt from the store (stock, balances, what was open at the last checkpoint, a
//! fingerprint of every remembered key) and the log behind it. Facts are blind writes, so the log may
//! start before what the store already has.

use std::sync::Arc;

use onrush_proto::{FactError, FactView};
use onrush_storage::log::{LogReader, ReadError};
use onrush_storage::store::{Frozen, Store};

use crate::flush::{Absorber, Checkpoint, Stored, StoredError};
use crate::shard::{Found, Shard, ShardOptions};
use crate::views::{ShardViews, ViewRows};

/// Why a shard could not be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store holds records that the log does not: it must be rebuilt.
    #[error("expected a store behind the log's end {end}, found it at {applied}")]
    StoreAhead {
        /// The log's last record.
        end: u64,
        /// The store's.
        applied: u64,
    },
    /// The log no longer holds what the store lacks: a snapshot must be installed first.
    #[error("expected the log to reach back to record {needed}, found its first at {first}")]
    Gap {
        /// The first record the store lacks.
        needed: u64,
        /// The log's first record.
        first: u64,
    },
    /// The store could not be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A record is not a fact.
    #[error("record {lsn}: {source}")]
    Fact {
        /// Its position.
        lsn: u64,
        /// What is wrong with it.
        source: FactError,
    },
}

impl RecoverError {
    /// True if the store cannot be continued by this log, and one begun anew from a snapshot may.
    pub fn wants_rebuild(&self) -> bool {
        matches!(self, Self::StoreAhead { .. } | Self::Gap { .. })
    }
}

/// Where a recovered log stands.
#[derive(Clone, Copy, Debug)]
pub struct LogPosition {
    /// Its first record.
    pub first_lsn: u64,
    /// Its last record that counts: of a replica's log the last one that is known to be committed.
    pub end_lsn: u64,
    /// Time of its last frame in us.
    pub time_us: u64,
}

/// A shard ready to take office, and what continues its store.
pub struct Recovered {
    /// The shard.
    pub shard: Shard,
    /// Collects rows from the record after [`replayed_from`](Self::replayed_from) on.
    pub absorber: Absorber,
    /// The last record that was not replayed.
    pub replayed_from: u64,
    /// Records replayed.
    pub replayed: u64,
    /// Bytes of log replayed.
    pub replayed_bytes: u64,
}

/// Rebuilds a shard. `product` gets the catalogue rows of the store.
pub fn recover(
    options: ShardOptions,
    store: &dyn Store,
    reader: LogReader,
    log: LogPosition,
    product: impl FnMut(onrush_proto::ProductRow),
) -> Result<Recovered, RecoverError> {
    let frozen = store.reader().freeze().map_err(StoredError::from)?;
    recover_frozen(options, frozen, reader, log, product)
}

/// As [`recover`], while a flusher goes on with the store.
pub(crate) fn recover_frozen(
    options: ShardOptions,
    store: Frozen,
    mut reader: LogReader,
    log: LogPosition,
    product: impl FnMut(onrush_proto::ProductRow),
) -> Result<Recovered, RecoverError> {
    let (history, current) = (store.history_applied, store.current_applied);
    let applied = history.max(current);
    if applied > log.end_lsn {
        return Err(RecoverError::StoreAhead { end: log.end_lsn, applied });
    }
    let stored = Stored::new(store.reader);
    let checkpoint = stored.checkpoint()?;
    let from = checkpoint.lsn.min(history).min(current);
    if log.first_lsn > from + 1 {
        return Err(RecoverError::Gap { needed: from + 1, first: log.first_lsn });
    }
    let mut shard = Shard::new(options);
    shard.set_stored(history.min(current));
    load(&mut shard, &stored, &checkpoint)?;
    stored.each_product(product)?;
    let (replayed, replayed_bytes) = replay(&mut shard, &mut reader, (from, log.end_lsn))?;
    shard.resume(log.end_lsn, log.time_us);
    // Timers are moved to where they belong here, rather than in the shard's first turn.
    shard.settle_replay();
    let mut absorber = Absorber::new(history, current, checkpoint.orders, checkpoint.holds);
    stored.each_offset(|row| absorber.note_offset(&row))?;
    Ok(Recovered { shard, absorber, replayed_from: from, replayed, replayed_bytes })
}

/// Rebuilds a shard, and what it has published.
///
/// # Errors
/// As [`recover`].
pub fn recover_with_views(
    options: ShardOptions,
    store: &dyn Store,
    reader: LogReader,
    log: LogPosition,
) -> Result<(Recovered, Arc<ShardViews>), RecoverError> {
    let views = Arc::new(ShardViews::default());
    let mut products = Vec::new();
    let mut recovered = recover(options, store, reader, log, |row| products.push(row))?;
    let state = recovered.shard.state_mut();
    // What the log has is newer than what the store had, and comes behind it.
    let mut rows = ViewRows::of_store(products);
    rows.stage(state);
    views.publish(&mut rows);
    Ok((recovered, views))
}

fn load(shard: &mut Shard, stored: &Stored, checkpoint: &Checkpoint) -> Result<(), StoredError> {
    let state = shard.state_mut();
    stored.each_stock(|row| state.stock.put(row))?;
    stored.each_ledger(|row| state.ledger.push(row))?;
    stored.each_offset(|row| {
        state.offsets.insert((row.group, row.topic), row.lsn);
    })?;
    stored.each_group(|row| {
        state.groups.insert((row.group, row.topic), row);
    })?;
    let mut next = stored.next_bucket(0)?;
    while let Some(bucket) = next {
        stored.each_key_hash(bucket, |hash| state.keys.note_stored(hash, bucket))?;
        stored.each_count_hash(bucket, |hash| state.limits.note_stored(hash, bucket))?;
        next = stored.next_bucket(bucket + 1)?;
        if next.is_none() {
            shard.begin_bucket(bucket + 1);
            break;
        }
    }
    for id in &checkpoint.orders {
        if let Some(order) = stored.order(*id)?.filter(|order| order.state.is_open()) {
            shard.warm(Found::Order(*id, Some(Box::new(order))));
        }
    }
    for id in &checkpoint.holds {
        if let Some(hold) = stored.hold(*id)? {
            shard.warm(Found::Hold(*id, Some(Box::new(hold))));
        }
    }
    Ok(())
}

fn replay(
    shard: &mut Shard,
    reader: &mut LogReader,
    (from, to): (u64, u64),
) -> Result<(u64, u64), RecoverError> {
    let (mut records, mut bytes) = (0, 0);
    // What is behind is not looked at: in a group it may be taken back meanwhile.
    let mut next = from + 1;
    if next <= to {
        reader.seek(next)?;
    }
    while next <= to
        && let Some(frame) = reader.next_frame()?
    {
        if frame.info().first_lsn > to {
            break;
        }
        next = frame.info().next_lsn();
        let time_us = frame.info().time_us;
        bytes += frame.bytes().len() as u64;
        for record in frame.records().filter(|record| record.lsn > from) {
            let fact = FactView::new(record.kind, record.payload).and_then(|view| view.read(record.key_hash));
            let fact = fact.map_err(|source| RecoverError::Fact { lsn: record.lsn, source })?;
            shard.replay(fact, record.lsn, time_us);
            records += 1;
        }
        shard.settle_replay();
    }
    Ok((records, bytes))
}
