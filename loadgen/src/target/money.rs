//! The money of every order, as the log tells it: what was taken, what went back, what is still open.

use std::collections::HashMap;

use onrush_proto::{AttemptState, FactView, OrderRow, OrderState, RefundState, Row, RowTag};
use onrush_services::backend::Backend;

use super::TargetError;
use super::events::read_all;
use crate::journal::Violations;
use crate::number::grouped;

/// Where the money of one order stands.
#[derive(Clone, Copy, Debug)]
struct Purse {
    state: OrderState,
    total: i64,
    captured: i64,
    refunded: i64,
    /// Attempts that took money.
    charges: u16,
    /// Attempts that came to an end or are still on.
    attempts: u16,
    /// Refunds that went through.
    refunds: u16,
    /// True while an attempt or a refund is with the gateway, or nobody knows.
    open: bool,
}

/// All of them.
#[derive(Default, Debug)]
pub(crate) struct Money {
    orders: HashMap<u128, Purse>,
    /// What was wrong with the records themselves.
    violations: Violations,
}

impl Money {
    /// Reads the logs of all shards to where they end now.
    pub(crate) async fn read(engine: &Backend) -> Result<Self, TargetError> {
        let (mut money, mut violations) = (Self::default(), Violations::default());
        read_all(engine, &mut violations, &mut |fact| money.enter(fact)).await?;
        violations.into_lines().into_iter().for_each(|line| money.violations.note(|| line));
        Ok(money)
    }

    fn enter(&mut self, fact: FactView<'_>) {
        for (tag, bytes) in fact.rows().flatten().filter(|(tag, _)| *tag == RowTag::Order) {
            match Row::decode(tag, bytes) {
                Ok(Row::Order(row)) => self.put(&row),
                _ => self.violations.note(|| format!("expected an order in {:?}, found none", fact.kind)),
            }
        }
    }

    /// Takes an order as it stands now.
    pub(crate) fn put(&mut self, row: &OrderRow) {
        let Some(payment) = &row.payment else {
            // An order without money may still be sold, which is a fault.
            let blank = Purse {
                state: row.state,
                total: row.total.minor,
                captured: 0,
                refunded: 0,
                charges: 0,
                attempts: 0,
                refunds: 0,
                open: false,
            };
            self.orders.insert(row.id.0, blank);
            return;
        };
        use AttemptState::{Captured, Capturing, Processing, Unknown};
        let attempts = |states: &[AttemptState]| {
            payment.attempts.iter().filter(|attempt| states.contains(&attempt.state)).count() as u16
        };
        let refunds = |state| payment.refunds.iter().filter(|refund| refund.state == state).count() as u16;
        let open = attempts(&[Processing, Unknown, Capturing]) + refunds(RefundState::Pending) > 0;
        let purse = Purse {
            state: row.state,
            total: row.total.minor,
            captured: payment.captured,
            refunded: payment.refunded,
            charges: attempts(&[Captured]),
            attempts: payment.attempts.len() as u16,
            refunds: refunds(RefundState::Succeeded),
            open,
        };
        self.orders.insert(row.id.0, purse);
    }

    /// Orders whose money is with the gateway, or nobody knows.
    pub(crate) fn open(&self) -> u64 {
        self.orders.values().filter(|purse| purse.open).count() as u64
    }

    /// Minor units taken and given back, over all orders.
    pub(crate) fn sums(&self) -> (i64, i64) {
        self.orders.values().fold((0, 0), |(captured, refunded), purse| {
            (captured + purse.captured, refunded + purse.refunded)
        })
    }

    /// What is wrong.
    pub(crate) fn violations(&self) -> Violations {
        let mut found = self.violations.clone();
        let mut orders: Vec<(&u128, &Purse)> = self.orders.iter().collect();
        orders.sort_unstable_by_key(|(order, _)| **order);
        for (order, purse) in orders {
            if let Some(fault) = purse.fault() {
                found.note(|| format!("money of order {}: {fault}", onrush_proto::OrderId(*order)));
            }
        }
        found
    }

    /// The whole in plain words.
    pub(crate) fn line(&self) -> String {
        let sum = |of: fn(&Purse) -> u64| grouped(self.orders.values().map(of).sum::<u64>() as i64);
        let (captured, refunded) = self.sums();
        format!(
            "{} attempts took the money of {} orders, each once; {} refunds; {} minor units taken, {} given back",
            sum(|purse| purse.attempts.into()),
            sum(|purse| purse.charges.into()),
            sum(|purse| purse.refunds.into()),
            grouped(captured),
            grouped(refunded)
        )
    }
}

impl Purse {
    fn fault(&self) -> Option<String> {
        use OrderState::{Delivered, Fulfilling, Paid, PartiallyRefunded, Refunded, Shipped};
        let sold =
            matches!(self.state, Paid | Fulfilling | Shipped | Delivered | PartiallyRefunded | Refunded);
        let Self { state, total, captured, refunded, charges, .. } = *self;
        if self.open {
            return Some("expected it to have come to rest, found it with the gateway".into());
        }
        if refunded > captured {
            return Some(format!("expected at most {captured} given back, found {refunded}"));
        }
        let kept = captured - refunded;
        if sold && state != Refunded && (charges == 0 || kept > total) {
            return Some(format!(
                "expected one charge of {total} for an order that is {state:?}, found {captured} in {charges} charges"
            ));
        }
        if !sold && kept != 0 {
            return Some(format!("expected no money for an order that is {state:?}, found {kept} kept"));
        }
        (charges > 1 && kept > total)
            .then(|| format!("expected one charge of {total}, found {captured} in {charges} charges"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purse(state: OrderState, captured: i64, refunded: i64) -> Purse {
        let charges = u16::from(captured > 0);
        Purse { state, total: 100, captured, refunded, charges, attempts: 1, refunds: 0, open: false }
    }

    #[test]
    fn money_without_goods_and_goods_without_money_are_found() {
        use OrderState::{Cancelled, Expired, Paid, PartiallyRefunded, Pending, Refunded};
        for good in [
            purse(Pending, 0, 0),
            purse(Paid, 100, 0),
            purse(PartiallyRefunded, 100, 80),
            purse(Refunded, 100, 100),
            purse(Expired, 100, 100),
            purse(Cancelled, 0, 0),
        ] {
            assert_eq!(good.fault(), None, "{good:?}");
        }
        for (bad, expected) in [
            (purse(Paid, 0, 0), "expected one charge of 100"),
            (purse(Paid, 200, 0), "expected one charge of 100"),
            (purse(Expired, 100, 0), "found 100 kept"),
            (purse(Refunded, 100, 120), "expected at most 100 given back"),
            (Purse { open: true, ..purse(Paid, 100, 0) }, "with the gateway"),
        ] {
            let found = bad.fault().unwrap_or_default();
            assert!(found.contains(expected), "{bad:?}: {found}");
        }
    }
}
