//! Rows as messages.

use onrush_grpc::payment::v1::{
    Attempt, AttemptStatus, CaptureMethod, LedgerAccount, Payment, PaymentStatus, Refund, RefundStatus,
    Transaction,
};
use onrush_proto::{self as rows, Account, AttemptState, Money, OrderRow, PaymentState, RefundState};

use crate::field;
use crate::gateway::Approval;

/// A payment; `approval` is what its buyer is to approve.
pub(super) fn payment(row: &OrderRow, approval: Option<Approval>) -> Payment {
    let mut message = Payment {
        payment_id: row.id.to_string(),
        customer_id: row.customer.to_string(),
        amount: Some(field::money_message(row.total)),
        status: approval.as_ref().map_or(payment_status(row), |_| PaymentStatus::RequiresAction).into(),
        approval_url: approval.map(|approval| approval.link).unwrap_or_default(),
        ..Default::default()
    };
    if let Some(payment) = &row.payment {
        message.authorised_minor_units = payment.authorised;
        message.captured_minor_units = payment.captured;
        message.refunded_minor_units = payment.refunded;
        message.attempts = payment.attempts.iter().map(attempt).collect();
        message.refunds = payment.refunds.iter().map(refund).collect();
    }
    message
}

fn attempt(attempt: &rows::Attempt) -> Attempt {
    let method = if attempt.capture { CaptureMethod::Automatic } else { CaptureMethod::Manual };
    let status = match attempt.state {
        AttemptState::Processing => AttemptStatus::Processing,
        AttemptState::Authorised => AttemptStatus::Authorised,
        AttemptState::Captured => AttemptStatus::Captured,
        AttemptState::Declined => AttemptStatus::Declined,
        AttemptState::Unknown => AttemptStatus::Unknown,
        AttemptState::Voided => AttemptStatus::Voided,
        AttemptState::Capturing => AttemptStatus::Capturing,
    };
    Attempt {
        number: attempt.number.into(),
        status: status.into(),
        capture_method: method.into(),
        minor_units: attempt.minor,
        reference: attempt.reference.to_string(),
        decline_code: attempt.decline.to_string(),
        started_us: field::time_us(attempt.started_us),
    }
}

pub(super) fn refund(refund: &rows::Refund) -> Refund {
    let status = match refund.state {
        RefundState::Pending => RefundStatus::Pending,
        RefundState::Succeeded => RefundStatus::Succeeded,
        RefundState::Failed => RefundStatus::Failed,
    };
    Refund {
        number: refund.number.into(),
        status: status.into(),
        minor_units: refund.minor,
        started_us: field::time_us(refund.started_us),
    }
}

/// An order without a payment row has an intent without attempts.
pub(super) fn payment_status(row: &OrderRow) -> PaymentStatus {
    match row.payment.as_ref().map_or(PaymentState::RequiresPaymentMethod, |payment| payment.state) {
        PaymentState::RequiresPaymentMethod => PaymentStatus::RequiresPaymentMethod,
        PaymentState::RequiresAction => PaymentStatus::RequiresAction,
        PaymentState::Processing => PaymentStatus::Processing,
        PaymentState::RequiresCapture => PaymentStatus::RequiresCapture,
        PaymentState::Succeeded => PaymentStatus::Succeeded,
        PaymentState::Canceled => PaymentStatus::Canceled,
    }
}

/// An order's postings from number `from` (counted from 1) on.
pub(super) fn transactions(row: &OrderRow, from: u32) -> impl Iterator<Item = Transaction> {
    let postings = row.payment.as_ref().map(|payment| payment.postings.as_slice()).unwrap_or_default();
    let numbered = (1u32..).zip(postings).filter(move |(number, _)| *number >= from);
    numbered.map(|(number, posting)| Transaction {
        payment_id: row.id.to_string(),
        number,
        from: account(posting.from).into(),
        to: account(posting.to).into(),
        amount: Some(field::money_message(Money::new(posting.minor, row.total.currency))),
        at_us: field::time_us(posting.at_us),
    })
}

fn account(account: Account) -> LedgerAccount {
    match account {
        Account::Customer => LedgerAccount::Customer,
        Account::Authorised => LedgerAccount::Authorised,
        Account::Captured => LedgerAccount::Captured,
        Account::Refunded => LedgerAccount::Refunded,
        Account::Fees => LedgerAccount::Fees,
    }
}
