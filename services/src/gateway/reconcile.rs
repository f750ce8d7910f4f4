//! Compares the gateway's books with the engine's ledger.
//!
//! The ledger is read from the log up to one cut, the gateway's listing is taken, and the log is
//! read on to a second cut. An order that is the same at both cuts, with nothing under way, must
//! agree with the listing between them. Orders whose records the log has released are read from
//! their owner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onrush_engine::{Event, SubscribeError, Subscription};
use onrush_proto::{AttemptState, Lsn, OrderId, OrderRow, RefundState, Refusal, Row, RowTag, ShardId};
use tokio::runtime::Handle;

use super::Gateway;
use super::simulated::Balance;
use crate::backend::Backend;
use crate::records;
use crate::status::Rejection;

/// Records read at once.
const BATCH_RECORDS: usize = 4_096;
/// How long a committed record may take to come.
const RECORD_WAIT: Duration = Duration::from_secs(5);

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One line per difference.
    pub differences: Vec<String>,
    /// Payments compared.
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

/// Compares the books. Reads the whole log: not for a front thread, but within a runtime.
pub fn compare(backend: &Backend, gateway: &Gateway) -> Result<Report, Rejection> {
    let mut shards: Vec<_> = (0..backend.shards()).map(|shard| Fold::new(backend, ShardId(shard))).collect();
    let mut ledger = BTreeMap::new();
    for shard in &mut shards {
        shard.advance(backend, &mut ledger, &mut BTreeSet::new())?;
    }
    let listing = match gateway {
        Gateway::Simulated(gateway) => gateway.balances(),
    };
    let mut moved = BTreeSet::new();
    for shard in &mut shards {
        shard.advance(backend, &mut ledger, &mut moved)?;
    }
    for order in listing.iter().map(|balance| balance.order) {
        if !ledger.contains_key(&order)
            && let Some(row) = present(backend, order)?
        {
            ledger.insert(order, entry(&row));
        }
    }
    Ok(difference(&ledger, &listing, &moved))
}

fn present(backend: &Backend, order: OrderId) -> Result<Option<OrderRow>, Rejection> {
    match Handle::current().block_on(backend.order(order)) {
        Ok(row) => Ok(Some(row)),
        Err(Rejection::Refused(Refusal::UnknownOrder { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Fold {
    shard: ShardId,
    subscription: Subscription,
    read: Lsn,
}

impl Fold {
    fn new(backend: &Backend, shard: ShardId) -> Self {
        Self { shard, subscription: backend.subscribe(shard, Lsn(1)), read: Lsn(0) }
    }

    /// Reads on to the present end of the shard's log.
    fn advance(
        &mut self,
        backend: &Backend,
        ledger: &mut BTreeMap<OrderId, Ledger>,
        moved: &mut BTreeSet<OrderId>,
    ) -> Result<(), Rejection> {
        let end = backend.end(self.shard);
        while self.read < end {
            let read = &mut self.read;
            let polled = records::read(&mut self.subscription, BATCH_RECORDS, |event| {
                *read = event.lsn;
                if let Some(row) = paid_order(&event) {
                    moved.insert(row.id);
                    ledger.insert(row.id, entry(&row));
                }
            });
            let count = match polled {
                Ok(count) => count,
                Err(SubscribeError::OutOfRange { first, .. }) => {
                    self.read = Lsn(first.saturating_sub(1));
                    self.subscription.seek(self.read);
                    continue;
                }
                Err(error) => return Err(Rejection::Internal(error.to_string())),
            };
            if count == 0 && !self.subscription.wait(RECORD_WAIT) {
                let message = format!("expected records up to {} of shard {}", end.0, self.shard.0);
                return Err(Rejection::Internal(format!("{message}, found none after {}", self.read.0)));
            }
        }
        Ok(())
    }
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
    let open_attempt = |state| matches!(state, AttemptState::Processing | AttemptState::Unknown);
    Ledger {
        captured: payment.captured,
        refunded: payment.refunded,
        open: payment.attempts.iter().any(|attempt| open_attempt(attempt.state))
            || payment.refunds.iter().any(|refund| refund.state == RefundState::Pending),
    }
}

fn difference(ledger: &BTreeMap<OrderId, Ledger>, listing: &[Balance], moved: &BTreeSet<OrderId>) -> Report {
    let mut report = Report::default();
    let listed: BTreeMap<OrderId, &Balance> =
        listing.iter().map(|balance| (balance.order, balance)).collect();
    let orders: BTreeSet<&OrderId> = ledger.keys().chain(listed.keys()).collect();
    for order in orders {
        let ours = ledger.get(order).copied();
        if moved.contains(order) || ours.is_some_and(|ours| ours.open) {
            report.open += 1;
            continue;
        }
        report.payments += 1;
        let ours = ours.map_or((0, 0), |ours| (ours.captured, ours.refunded));
        let theirs = listed.get(order).map_or((0, 0), |balance| (balance.captured, balance.refunded));
        if ours != theirs {
            report.differences.push(format!(
                "payment {order}: expected captured {} and refunded {} (ledger), found {} and {} (gateway)",
                ours.0, ours.1, theirs.0, theirs.1
            ));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use onrush_proto::Currency;

    use super::*;

    #[test]
    fn lists_what_differs_and_skips_what_is_under_way() {
        let order = |at| OrderId(at);
        let balance =
            |at, captured| Balance { order: order(at), currency: Currency::EUR, captured, refunded: 0 };
        let settled = |captured| Ledger { captured, refunded: 0, open: false };
        let ledger = BTreeMap::from([
            (order(1), settled(5)),
            (order(2), settled(5)),
            (order(3), Ledger { open: true, ..settled(0) }),
            (order(4), settled(7)),
        ]);
        let listing = [balance(1, 5), balance(2, 6), balance(3, 9), balance(5, 1)];
        let report = difference(&ledger, &listing, &BTreeSet::from([order(4)]));
        assert_eq!((report.payments, report.open, report.differences.len()), (3, 2, 2));
        assert!(
            report.differences[0]
                .ends_with("expected captured 5 and refunded 0 (ledger), found 6 and 0 (gateway)")
        );
    }
}
