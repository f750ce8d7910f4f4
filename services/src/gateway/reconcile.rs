//! Compares the gateway's books with the engine's ledger, going on where the last comparison ended.
//!
//! What is compared is what moved on either side since then: orders with new payment records in the
//! log, orders with new entries at the gateway, and what did not agree before. The log is read up to
//! one cut, the gateway's balances are taken, and the log is read on to a second cut. An order that
//! is the same at both cuts, with nothing under way, must agree with the balance between them; once it
//! does it is forgotten. Orders without a record in what was read are read from their owner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onrush_engine::{Event, SubscribeError};
use onrush_proto::{Lsn, OrderId, OrderRow, RefundState, Refusal, Row, RowTag, ShardId};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::Gateway;
use crate::backend::Backend;
use crate::records;
use crate::status::Rejection;

/// Records read at once.
const BATCH_RECORDS: usize = 4_096;
/// Entries of the gateway, and with them orders, read at once.
const BATCH_ENTRIES: usize = 256;
/// How long a committed record may take to come.
const RECORD_WAIT: Duration = Duration::from_secs(5);
/// Payments kept between two batches. Those that agree are forgotten; if more do not, the comparison
/// ends there and the next one begins with the first record again.
const UNSETTLED_MAX: usize = 65_536;
/// Differences told one by one.
const DIFFERENCES_MAX: usize = 1_000;

/// What a comparison found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// One line per difference.
    pub differences: Vec<String>,
    /// Comparisons made: payments that moved or did not agree before. One that moved on both sides
    /// counts twice if there is more to compare than fits in memory.
    pub payments: u64,
    /// Payments with something under way.
    pub open: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Ledger {
    captured: i64,
    refunded: i64,
    open: bool,
}

/// How far the books were compared.
#[derive(Default)]
pub struct Reconciler {
    /// The last record read, per shard.
    read: Vec<Lsn>,
    /// Entries of the gateway that were looked at.
    heard: usize,
    /// Payments to compare: what moved, what has something under way, what differs.
    unsettled: BTreeMap<OrderId, Ledger>,
}

impl Reconciler {
    /// Compares what is new. Reads the log: not for a front thread, but within a runtime.
    pub fn compare(&mut self, backend: &Backend, gateway: &Gateway) -> Result<Report, Rejection> {
        self.read.resize(usize::from(backend.shards()), Lsn(0));
        let mut report = Report::default();
        for shard in 0..backend.shards() {
            self.advance(backend, ShardId(shard), &mut |this, _| this.make_room(gateway, &mut report))?;
        }
        self.hear(backend, gateway, &mut report)?;
        if self.unsettled.len() > UNSETTLED_MAX {
            *self = Self::default();
            let line =
                format!("expected at most {UNSETTLED_MAX} payments that differ or are under way, found more");
            report.differences.push(line);
            return Ok(report);
        }
        let balances: BTreeMap<OrderId, (i64, i64)> =
            self.unsettled.keys().map(|order| (*order, balance(gateway, *order))).collect();
        let mut moved = BTreeSet::new();
        for shard in 0..backend.shards() {
            self.advance(backend, ShardId(shard), &mut |_, entered| {
                moved.extend(entered);
                true
            })?;
        }
        self.settle(&balances, &moved, &mut report);
        Ok(report)
    }

    /// Reads on to the present end of a shard's log, while `more` says so; it hears of the orders
    /// that each batch entered.
    fn advance(
        &mut self,
        backend: &Backend,
        shard: ShardId,
        more: &mut dyn FnMut(&mut Self, Vec<OrderId>) -> bool,
    ) -> Result<(), Rejection> {
        let (at, end) = (usize::from(shard.0), backend.end(shard));
        let mut subscription = backend.subscribe(shard, Lsn(self.read[at].0 + 1));
        while self.read[at] < end {
            let mut entered = Vec::new();
            let polled = records::read(&mut subscription, BATCH_RECORDS, |event| {
                self.read[at] = event.lsn;
                if let Some(row) = paid_order(&event) {
                    entered.push(row.id);
                    self.unsettled.insert(row.id, entry(&row));
                }
            });
            let count = match polled {
                Ok(count) => count,
                Err(SubscribeError::OutOfRange { first, .. }) => {
                    self.read[at] = Lsn(first.saturating_sub(1));
                    subscription.seek(self.read[at]);
                    continue;
                }
                Err(error) => return Err(Rejection::Internal(error.to_string())),
            };
            if count == 0 && !subscription.wait(RECORD_WAIT) {
                let message = format!("expected records up to {} of shard {}", end.0, shard.0);
                return Err(Rejection::Internal(format!("{message}, found none after {}", self.read[at].0)));
            }
            if !more(self, entered) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Enters the orders of the gateway's new entries.
    fn hear(&mut self, backend: &Backend, gateway: &Gateway, report: &mut Report) -> Result<(), Rejection> {
        loop {
            let news = match gateway {
                Gateway::Simulated(gateway) => gateway.news(self.heard, BATCH_ENTRIES),
            };
            if news.is_empty() {
                return Ok(());
            }
            let orders: BTreeSet<OrderId> = news.iter().copied().collect();
            let missing = orders.into_iter().filter(|order| !self.unsettled.contains_key(order));
            let found = Handle::current().block_on(present(backend, missing.collect()))?;
            self.unsettled.extend(found);
            self.heard += news.len();
            if !self.make_room(gateway, report) {
                return Ok(());
            }
        }
    }

    /// Forgets what agrees already if there is too much to keep; what does not may be on its way.
    /// False if too much is left.
    fn make_room(&mut self, gateway: &Gateway, report: &mut Report) -> bool {
        if self.unsettled.len() > UNSETTLED_MAX {
            self.unsettled.retain(|order, ours| {
                let agrees = !ours.open && balance(gateway, *order) == (ours.captured, ours.refunded);
                report.payments += u64::from(agrees);
                !agrees
            });
        }
        self.unsettled.len() <= UNSETTLED_MAX
    }

    /// Compares what stood still between the cuts, and forgets what agrees.
    fn settle(
        &mut self,
        balances: &BTreeMap<OrderId, (i64, i64)>,
        moved: &BTreeSet<OrderId>,
        report: &mut Report,
    ) {
        let mut untold = 0u64;
        self.unsettled.retain(|order, ours| {
            if moved.contains(order) || ours.open {
                report.open += 1;
                return true;
            }
            report.payments += 1;
            let theirs = balances.get(order).copied().unwrap_or_default();
            let agrees = (ours.captured, ours.refunded) == theirs;
            if !agrees && report.differences.len() < DIFFERENCES_MAX {
                report.differences.push(format!(
                    "payment {order}: expected captured {} and refunded {} (ledger), found {} and {} (gateway)",
                    ours.captured, ours.refunded, theirs.0, theirs.1
                ));
            } else if !agrees {
                untold += 1;
            }
            !agrees
        });
        if untold > 0 {
            report.differences.push(format!("{untold} more payments differ"));
        }
    }
}

fn balance(gateway: &Gateway, order: OrderId) -> (i64, i64) {
    let balance = match gateway {
        Gateway::Simulated(gateway) => gateway.balance(order),
    };
    balance.map_or((0, 0), |balance| (balance.captured, balance.refunded))
}

/// Orders as their owners have them; one that nobody knows owes nothing.
async fn present(backend: &Backend, orders: Vec<OrderId>) -> Result<Vec<(OrderId, Ledger)>, Rejection> {
    let mut reads = JoinSet::new();
    for order in orders {
        let backend = backend.clone();
        reads.spawn(async move { (order, backend.order(order).await) });
    }
    let mut found = Vec::with_capacity(reads.len());
    while let Some(read) = reads.join_next().await {
        let (order, row) = read.map_err(|error| Rejection::Internal(error.to_string()))?;
        match row {
            Ok(row) => found.push((order, entry(&row))),
            Err(Rejection::Refused(Refusal::UnknownOrder { .. })) => found.push((order, Ledger::default())),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn paid_order(event: &Event<'_>) -> Option<OrderRow> {
    let (_, bytes) = event.fact.rows().flatten().find(|(tag, _)| *tag == RowTag::Order)?;
    match Row::decode(RowTag::Order, bytes) {
        Ok(Row::Order(row)) if row.payment.is_some() => Some(row),
        _ => None,
    }
}

fn entry(row: &OrderRow) -> Ledger {
    let Some(payment) = &row.payment else { return Ledger::default() };
    Ledger {
        captured: payment.captured,
        refunded: payment.refunded,
        open: payment.attempts.iter().any(|attempt| attempt.state.is_under_way())
            || payment.refunds.iter().any(|refund| refund.state == RefundState::Pending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_differs_and_keeps_it_with_what_is_under_way() {
        let settled = |captured| Ledger { captured, refunded: 0, open: false };
        let unsettled = BTreeMap::from([
            (OrderId(1), settled(5)),
            (OrderId(2), settled(5)),
            (OrderId(3), Ledger { open: true, ..settled(0) }),
            (OrderId(4), settled(7)),
            (OrderId(5), settled(0)),
        ]);
        let mut books = Reconciler { unsettled, ..Reconciler::default() };
        let balances =
            [(1, 5), (2, 6), (3, 9), (5, 1)].map(|(order, captured)| (OrderId(order), (captured, 0)));
        let mut report = Report::default();
        books.settle(&BTreeMap::from(balances), &BTreeSet::from([OrderId(4)]), &mut report);
        assert_eq!((report.payments, report.open, report.differences.len()), (3, 2, 2));
        assert!(
            report.differences[0]
                .ends_with("expected captured 5 and refunded 0 (ledger), found 6 and 0 (gateway)")
        );
        assert_eq!(books.unsettled.keys().map(|order| order.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }
}
