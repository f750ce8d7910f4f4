//! The ledger: every currency sums to zero, and balances are the sum of the orders' postings.

use std::collections::BTreeMap;

use onrush_proto::{Currency, LedgerRow, OrderRow};

use super::AuditReport;

#[derive(Default)]
pub(super) struct Ledger {
    posted: BTreeMap<Currency, [i64; 5]>,
    rows: BTreeMap<Currency, [i64; 5]>,
}

impl Ledger {
    pub(super) fn order(&mut self, order: &OrderRow) {
        let Some(payment) = order.payment.as_deref() else { return };
        for posting in &payment.postings {
            let balances = self.posted.entry(order.total.currency).or_default();
            balances[posting.from as usize] -= posting.minor;
            balances[posting.to as usize] += posting.minor;
        }
    }

    pub(super) fn row(&mut self, row: &LedgerRow) {
        self.rows.insert(row.currency, row.balances);
    }

    pub(super) fn finish(self, report: &mut AuditReport) {
        for (currency, balances) in &self.rows {
            report.expect(|| format!("ledger: {currency}: sum"), 0, balances.iter().sum::<i64>());
        }
        report.expect(|| "ledger: balances".into(), &self.posted, &self.rows);
    }
}
