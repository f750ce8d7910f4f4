//! Payments: refunded <= captured <= authorised, and the postings add up to the balances.

use onrush_proto::{Account, AttemptState, OrderRow, Posting, RefundState};

use super::AuditReport;

fn moved(postings: &[Posting], from: Account, to: Account) -> i64 {
    postings
        .iter()
        .filter(|posting| posting.from == from && posting.to == to)
        .map(|posting| posting.minor)
        .sum()
}

pub(super) fn check(order: &OrderRow, report: &mut AuditReport) {
    let Some(payment) = order.payment.as_deref() else {
        if order.state.is_sold() {
            report.violate(format!("payment: {}: expected a payment for a paid order, found none", order.id));
        }
        return;
    };
    let id = order.id;
    let ordered = 0 <= payment.refunded
        && payment.refunded <= payment.captured
        && payment.captured <= payment.authorised
        && payment.refunds_open_or_settled() <= payment.captured;
    if !ordered {
        let (authorised, captured, refunded) = (payment.authorised, payment.captured, payment.refunded);
        report.violate(format!(
            "payment: {id}: expected 0 <= refunded <= captured <= authorised, found {refunded}, {captured}, {authorised}"
        ));
    }
    let postings = &payment.postings;
    let captured = moved(postings, Account::Authorised, Account::Captured);
    let refunded = moved(postings, Account::Captured, Account::Refunded);
    let authorised = moved(postings, Account::Customer, Account::Authorised);
    report.expect(|| format!("payment: {id}: captured by postings"), captured, payment.captured);
    report.expect(|| format!("payment: {id}: refunded by postings"), refunded, payment.refunded);
    report.expect(|| format!("payment: {id}: authorised by postings"), authorised, payment.authorised);
    let settled: i64 = payment
        .refunds
        .iter()
        .filter(|refund| refund.state == RefundState::Succeeded)
        .map(|refund| refund.minor)
        .sum();
    report.expect(|| format!("payment: {id}: sum of refunds"), settled, payment.refunded);
    if order.state.is_sold() {
        let captured = payment.attempts.iter().any(|attempt| attempt.state == AttemptState::Captured);
        report.expect(|| format!("payment: {id}: a captured attempt for a paid order"), true, captured);
    }
}
