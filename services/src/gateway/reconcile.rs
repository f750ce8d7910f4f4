//! Compares the gateway's books with the engine's ledger, going on where the last comparison ended.
//!
//! What is compared is what moved on either side since then: orders with new payment records in the
//! log, orders with new entries at the gateway, and what did not agree before. The log is read up to
//! one cut, the gateway's balances are taken, and the log is read on to a second cut. An order that
//! is the same at both cuts, with nothing under way, must agree with the balance between them; once it
//! does it is forgotten. Orders without a record in what was read are read from their owner.

mod balances;
mod paypal;
mod report;
mod stripe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onrush_engine::{Event, SubscribeError};
use onrush_proto::{Currency, Lsn, OrderId, OrderRow, RefundState, Refusal, Row, RowTag, ShardId, Text};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{Booked, Gateway, GatewayKind, Gateways, Trouble};
use crate::backend::Backend;
use crate::records;
use crate::status::Rejection;
use balances::Balances;
pub use report::{Compared, Report};

/// Records read at once.
const BATCH_RECORDS: usize = 4_096;
/// Entries of the gateway, and with them orders, read at once.
const BATCH_ENTRIES: usize = 256;
/// How long a committed record may take to come.
const RECORD_WAIT: Duration = Duration::from_secs(5);
/// Payments kept between two batches. Those that agree are forgotten; if more do not, the comparison
/// ends there and the next one begins with the first record again.
const UNSETTLED_MAX: usize = 65_536;
/// Calls of a real gateway under way at once.
const CALLS_MAX: usize = 16;
/// How far back the first comparison asks a real gateway for what it has.
const LOOK_BACK: Duration = Duration::from_secs(7 * 86_400);

#[derive(Clone, PartialEq, Eq, Default)]
struct Ledger {
    captured: i64,
    refunded: i64,
    open: bool,
    currency: Option<Currency>,
    /// The gateway's names of its charges, from our rows and from the gateway.
    charges: BTreeSet<Text<63>>,
}

/// Hears of the orders that a batch of the log entered; false = enough.
type More<'a> = dyn FnMut(&mut Reconciler, Vec<OrderId>) -> Result<bool, Rejection> + 'a;

/// Why a gateway was not heard to the end.
enum Broken {
    /// Our side could not go on.
    Ours(Rejection),
    /// It gave no answer: what the others say stands.
    Theirs(Trouble),
}

impl From<Rejection> for Broken {
    fn from(rejection: Rejection) -> Self {
        Self::Ours(rejection)
    }
}

/// How far the books were compared.
#[derive(Default)]
pub struct Reconciler {
    /// The last record read, per shard.
    read: Vec<Lsn>,
    /// Entries of the simulated gateway that were looked at.
    heard: usize,
    /// How far Stripe's list was read.
    stripe: stripe::Position,
    /// How far PayPal's list was read.
    paypal: paypal::Position,
    /// Payments to compare: what moved, what has something under way, what differs.
    unsettled: BTreeMap<OrderId, Ledger>,
}

impl Reconciler {
    /// Compares what is new. Reads the log: not for a front thread, but within a runtime.
    pub fn compare(&mut self, backend: &Backend, gateways: &Arc<Gateways>) -> Result<Report, Rejection> {
        self.read.resize(usize::from(backend.shards()), Lsn(0));
        let mut report = Report::default();
        for shard in 0..backend.shards() {
            self.advance(backend, ShardId(shard), &mut |this, _| this.make_room(gateways, &mut report))?;
        }
        self.hear(backend, gateways, &mut report)?;
        if self.unsettled.len() > UNSETTLED_MAX {
            *self = Self::default();
            let line =
                format!("expected at most {UNSETTLED_MAX} payments that differ or are under way, found more");
            report.differences.push(line);
            return Ok(report);
        }
        let balances = self.balances(gateways, &mut report)?;
        let mut moved = BTreeSet::new();
        for shard in 0..backend.shards() {
            self.advance(backend, ShardId(shard), &mut |_, entered| {
                moved.extend(entered);
                Ok(true)
            })?;
        }
        self.settle(&balances, &moved, &mut report);
        self.paypal.tell_untraced(&mut report);
        report.end();
        Ok(report)
    }

    /// Reads on to the present end of a shard's log, while `more` says so; it hears of the orders
    /// that each batch entered.
    fn advance(&mut self, backend: &Backend, shard: ShardId, more: &mut More<'_>) -> Result<(), Rejection> {
        let runtime = Handle::current();
        let (at, end) = (usize::from(shard.0), runtime.block_on(backend.end(shard))?);
        let mut feed = backend.subscribe(shard, Lsn(self.read[at].0 + 1));
        while self.read[at] < end {
            let mut entered = Vec::new();
            let polled = records::read(&mut feed, BATCH_RECORDS, |event| {
                self.read[at] = event.lsn;
                if let Some(row) = paid_order(&event) {
                    entered.push(row.id);
                    self.enter(row.id, entry(&row));
                }
            });
            let count = match polled {
                Ok(count) => count,
                Err(SubscribeError::OutOfRange { first, .. }) => {
                    self.read[at] = Lsn(first.saturating_sub(1));
                    feed.seek(self.read[at]);
                    continue;
                }
                Err(error) => return Err(Rejection::Internal(error.to_string())),
            };
            if count == 0 && !runtime.block_on(feed.ready_within(RECORD_WAIT)) {
                let message = format!("expected records up to {} of shard {}", end.0, shard.0);
                return Err(Rejection::Internal(format!("{message}, found none after {}", self.read[at].0)));
            }
            if !more(self, entered)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Enters an order as it is now; charges that the gateway named stay.
    fn enter(&mut self, order: OrderId, mut now: Ledger) {
        if let Some(before) = self.unsettled.get_mut(&order) {
            now.charges.append(&mut before.charges);
        }
        self.unsettled.insert(order, now);
    }

    /// Enters the orders of the gateways' new entries. One that gives no answer is no reason not to hear the others.
    fn hear(
        &mut self,
        backend: &Backend,
        gateways: &Arc<Gateways>,
        report: &mut Report,
    ) -> Result<(), Rejection> {
        for gateway in gateways.each() {
            let kind = gateway.kind();
            report.of(kind);
            let heard = match gateway {
                Gateway::Simulated(_) => self.hear_simulated(backend, gateways, report),
                Gateway::Stripe(_) => self.hear_stripe(backend, gateways, report),
                Gateway::PayPal(_) => self.hear_paypal(backend, gateways, report),
            };
            match heard {
                Ok(()) => {}
                Err(Broken::Theirs(trouble)) => report.of(kind).is_away(trouble),
                Err(Broken::Ours(rejection)) => return Err(rejection),
            }
        }
        Ok(())
    }

    fn hear_simulated(
        &mut self,
        backend: &Backend,
        gateways: &Arc<Gateways>,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let Some(gateway) = gateways.the_simulated() else { return Ok(()) };
        loop {
            let news = gateway.news(self.heard, BATCH_ENTRIES);
            self.enter_orders(backend, news.iter().map(|order| (*order, Text::EMPTY)).collect())?;
            self.heard += news.len();
            if news.is_empty() || !self.make_room(gateways, report)? {
                return Ok(());
            }
        }
    }

    /// Enters orders that a gateway names, each with the charge, if it has a name.
    fn enter_orders(&mut self, backend: &Backend, named: Vec<(OrderId, Text<63>)>) -> Result<(), Rejection> {
        let missing: BTreeSet<OrderId> = named
            .iter()
            .map(|(order, _)| *order)
            .filter(|order| !self.unsettled.contains_key(order))
            .collect();
        let found = Handle::current().block_on(present(backend, missing.into_iter().collect()))?;
        self.unsettled.extend(found);
        for (order, charge) in named.into_iter().filter(|(_, charge)| !charge.is_empty()) {
            self.unsettled.entry(order).or_default().charges.insert(charge);
        }
        Ok(())
    }

    /// What the gateways' books say of each order that is not settled.
    fn balances(&self, gateways: &Arc<Gateways>, report: &mut Report) -> Result<Balances, Rejection> {
        if let Some(gateway) = gateways.the_simulated() {
            let booked = |order| {
                let found = gateway.balance(order)?;
                Some((order, Booked { captured: found.captured, refunded: found.refunded }))
            };
            let booked = self.unsettled.keys().filter_map(|order| booked(*order)).collect();
            return Ok(Balances { booked, ..Balances::default() });
        }
        let charges = self.unsettled.iter().flat_map(|(order, ledger)| {
            let currency = ledger.currency.unwrap_or(Currency::EUR);
            ledger.charges.iter().map(move |charge| (*order, *charge, currency))
        });
        Handle::current().block_on(Balances::of(gateways, charges.collect(), report))
    }

    /// Forgets what agrees already if there is too much to keep; what does not may be on its way.
    /// False if too much is left.
    fn make_room(&mut self, gateways: &Arc<Gateways>, report: &mut Report) -> Result<bool, Rejection> {
        if self.unsettled.len() > UNSETTLED_MAX {
            let balances = self.balances(gateways, report)?;
            self.unsettled.retain(|order, ours| {
                let theirs = balances.booked.get(order).copied().unwrap_or_default();
                let known = !ours.open && !balances.unanswered.contains(order);
                let agrees = known && theirs == ours.booked();
                if agrees {
                    ours.count(report, true);
                }
                !agrees
            });
        }
        Ok(self.unsettled.len() <= UNSETTLED_MAX)
    }

    /// Compares what stood still between the cuts, and forgets what agrees.
    fn settle(&mut self, balances: &Balances, moved: &BTreeSet<OrderId>, report: &mut Report) {
        self.unsettled.retain(|order, ours| {
            if moved.contains(order) || ours.open {
                report.open += 1;
                return true;
            }
            if balances.unanswered.contains(order) {
                return true;
            }
            let theirs = balances.booked.get(order).copied().unwrap_or_default();
            let agrees = ours.booked() == theirs;
            ours.count(report, agrees);
            if !agrees {
                report.differs(format!(
                    "payment {order}: expected captured {} and refunded {} (ledger), found {} and {} (gateway)",
                    ours.captured, ours.refunded, theirs.captured, theirs.refunded
                ));
            }
            !agrees
        });
    }
}

impl Ledger {
    fn booked(&self) -> Booked {
        Booked { captured: self.captured, refunded: self.refunded }
    }

    /// Counts a comparison, and at each gateway that had a part in it.
    fn count(&self, report: &mut Report, agrees: bool) {
        report.payments += 1;
        let kinds = self.charges.iter().filter_map(|charge| GatewayKind::of_reference(charge.as_str()));
        let mut kinds: BTreeSet<GatewayKind> = kinds.collect();
        if let ([only], true) = (&report.gateways[..], kinds.is_empty()) {
            kinds.insert(only.gateway);
        }
        for kind in kinds {
            let compared = report.of(kind);
            compared.payments += 1;
            compared.differences += u64::from(!agrees);
        }
    }
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
        currency: Some(row.total.currency),
        charges: payment
            .attempts
            .iter()
            .map(|attempt| attempt.reference)
            .filter(|reference| !reference.is_empty())
            .collect(),
        open: payment.attempts.iter().any(|attempt| attempt.state.is_under_way())
            || payment.refunds.iter().any(|refund| refund.state == RefundState::Pending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_differs_and_keeps_it_with_what_is_under_way() {
        let settled = |captured| Ledger { captured, ..Ledger::default() };
        let unsettled = BTreeMap::from([
            (OrderId(1), settled(5)),
            (OrderId(2), settled(5)),
            (OrderId(3), Ledger { open: true, ..settled(0) }),
            (OrderId(4), settled(7)),
            (OrderId(5), settled(0)),
        ]);
        let mut books = Reconciler { unsettled, ..Reconciler::default() };
        let booked = [(1, 5), (2, 6), (3, 9), (5, 1)]
            .map(|(order, captured)| (OrderId(order), Booked { captured, refunded: 0 }));
        let balances = Balances { booked: BTreeMap::from(booked), ..Balances::default() };
        let mut report = Report::default();
        books.settle(&balances, &BTreeSet::from([OrderId(4)]), &mut report);
        assert_eq!((report.payments, report.open, report.differences.len()), (3, 2, 2));
        assert!(
            report.differences[0]
                .ends_with("expected captured 5 and refunded 0 (ledger), found 6 and 0 (gateway)")
        );
        assert_eq!(books.unsettled.keys().map(|order| order.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }
}
