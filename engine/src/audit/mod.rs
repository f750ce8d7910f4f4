//! The audit: what must hold of the books, checked over every row of a cut.
//!
//! One file per rule; each rule is fed rows in order and says what is broken in plain words. The
//! same code checks live (see [`EngineHandle::audit`](crate::EngineHandle::audit)) and offline (see
//! [`verify`](crate::verify)).

mod baskets;
mod digest;
mod history;
mod keys;
mod ledger;
mod limits;
mod payments;
mod report;
mod stock;

use onrush_proto::{KeyHasher, SlotMap};

use crate::flush::{Stored, StoredError};
use crate::handle::ListError;
pub use report::AuditReport;

/// Why the books could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No cut could be taken.
    #[error(transparent)]
    Cut(ListError),
    /// A row could not be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

/// The rows of one shard as of one record.
pub struct ShardCut {
    /// The rows.
    pub rows: Stored,
    /// In a running engine: keys accepted behind this record may not be claimed yet on the shard
    /// they live on. `None` if nothing is under way.
    pub ceiling: Option<u64>,
}

/// Checks the rows of all shards, in the order of their numbers.
pub fn audit(shards: &[ShardCut], map: SlotMap, hasher: KeyHasher) -> Result<AuditReport, AuditError> {
    books(shards, (map, hasher), Between::Judged)
}

/// The same for shards that nobody brought to the same moment, as the store of a node that stands still has them: what
/// several of them would have to agree on is counted as open, and not judged.
pub(crate) fn audit_apart(
    shards: &[ShardCut],
    map: SlotMap,
    hasher: KeyHasher,
) -> Result<AuditReport, AuditError> {
    books(shards, (map, hasher), Between::Open)
}

/// What becomes of something on which two shards differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// It is broken, unless it may be under way.
    Judged,
    /// One of them may be further.
    Open,
}

fn books(
    shards: &[ShardCut],
    (map, hasher): (SlotMap, KeyHasher),
    between: Between,
) -> Result<AuditReport, AuditError> {
    let mut report = AuditReport::default();
    let mut baskets = baskets::Baskets::new(map);
    let mut keys = keys::Keys::new(map);
    let mut digest = digest::Digest::default();
    for (number, ShardCut { rows, .. }) in shards.iter().enumerate() {
        let shard = onrush_proto::ShardId(number as u16);
        let mut stock = stock::Stock::new(shard, map);
        let mut ledger = ledger::Ledger::default();
        let mut limits = limits::Limits::new(shard, map, hasher);
        digest.rows(rows)?;
        rows.each_stock(|row| {
            stock.row(&row);
            limits.stock(&row);
        })?;
        rows.each_hold(|row| {
            stock.hold(&row);
            limits.hold(&row);
            baskets.hold(shard, &row);
        })?;
        let mut next = rows.next_bucket(0)?;
        while let Some(bucket) = next {
            rows.each_order(bucket, |order| {
                stock.order(&order);
                limits.order(&order);
                ledger.order(&order);
                keys.order(shard, &order);
                baskets.order(&order);
                payments::check(&order, &mut report);
                history::check(&order, &mut report);
                report.count(order.state);
                digest.order(order);
            })?;
            rows.each_key(bucket, |key, names| keys.key(shard, key, names))?;
            rows.each_count(bucket, |row| limits.row(&row))?;
            next = rows.next_bucket(bucket + 1)?;
        }
        rows.each_ledger(|row| ledger.row(&row))?;
        stock.finish(&mut report);
        ledger.finish(&mut report);
        limits.finish(&mut report);
    }
    if !keys.finish(&mut report) {
        keys::compare_claims(shards, (map, between), &mut report)?;
    }
    baskets.finish(between, &mut report);
    report.state_hash = digest.sum();
    report.ok = report.violations.is_empty();
    Ok(report)
}
