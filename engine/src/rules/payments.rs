//! Payments: attempts, captures, declines, unknown outcomes, refunds, and the ledger.
//!
//! Intent and attempts are apart: many attempts, at most one succeeds. `refunded <= captured <=
//! authorised`, pending refunds included. Every posting takes from one account what it gives to
//! another, so a ledger row sums to zero. After Stripe's PaymentIntents.

use onrush_proto::{
    Account, Attempt, AttemptState, CapturePayment, Fact, GatewayResult, LedgerRow, Money, OrderRow,
    OrderState, Payment, PaymentState, Posting, Receipt, RecordKind, Refund, RefundPayment, RefundState,
    Refusal, Row, SettleAttempt, SettleRefund, StartPayment, Text,
};
use smallvec::SmallVec;

use super::inventory::{Resolution, can_retake};
use super::orders::resolve_lines;
use super::{Accepted, Context, Decision};
use crate::state::State;
use crate::tables::hash_of;

/// Most attempts one order may have.
pub const ATTEMPTS_MAX: usize = 64;
/// Most refunds one order may have.
pub const REFUNDS_MAX: usize = 1_000;

/// An order on its way to its next row, with the postings made on the way.
struct Change<'a> {
    state: &'a State,
    context: &'a Context,
    order: OrderRow,
    posted: SmallVec<[Posting; 2]>,
}

impl<'a> Change<'a> {
    fn of(state: &'a State, context: &'a Context, order: &OrderRow) -> Self {
        let order = OrderRow { changed_us: context.now_us, ..order.clone() };
        Self { state, context, order, posted: SmallVec::new() }
    }

    fn payment(&mut self) -> &mut Payment {
        self.order.payment.get_or_insert_default()
    }

    fn post(&mut self, from: Account, to: Account, minor: i64) {
        if minor > 0 {
            let posting = Posting { from, to, minor, at_us: self.context.now_us };
            self.payment().postings.push(posting);
            self.posted.push(posting);
        }
    }

    /// Gives back what an attempt reserved that was overtaken by another one's money.
    fn void_reserved(&mut self) {
        let attempts = self.payment().attempts.iter_mut();
        let mut minor = 0;
        for attempt in attempts.filter(|attempt| attempt.state == AttemptState::Authorised) {
            attempt.state = AttemptState::Voided;
            minor += attempt.minor;
        }
        self.post(Account::Authorised, Account::Customer, minor);
    }

    /// The record: the order, the stock rows of a resolution, and the ledger.
    fn record(self, kind: RecordKind, how: Option<Resolution>) -> Fact {
        let stock = how.map(|how| resolve_lines(self.state, self.context, &self.order, how));
        let ledger = ledger_after(self.state, self.order.total.currency, &self.posted);
        let mut fact = Fact::new(kind, hash_of(&self.order.id)).with(Row::Order(self.order));
        fact.rows.extend(stock.into_iter().flatten());
        fact.rows.extend(ledger);
        fact
    }
}

fn ledger_after(state: &State, currency: onrush_proto::Currency, posted: &[Posting]) -> Option<Row> {
    if posted.is_empty() {
        return None;
    }
    let old = state.ledger.iter().find(|row| row.currency == currency).copied();
    let mut row = old.unwrap_or(LedgerRow { currency, balances: [0; 5] });
    for posting in posted {
        // Saturating would break the zero sum; wrapping keeps it, and 2^63 cents is out of reach.
        row.balances[posting.from as usize] = row.balances[posting.from as usize].wrapping_sub(posting.minor);
        row.balances[posting.to as usize] = row.balances[posting.to as usize].wrapping_add(posting.minor);
    }
    Some(Row::Ledger(row))
}

/// Records an attempt; the gateway is asked by a subscriber.
pub fn start(state: &State, context: &Context, order: &OrderRow, start: &StartPayment) -> Decision {
    if start.method.is_empty() {
        return Err(Refusal::Invalid { field: "payment_method", expected: "1 to 47 bytes" });
    }
    if order.state != OrderState::Pending {
        return Err(Refusal::IllegalTransition { from: order.state, to: OrderState::Paid });
    }
    let mut change = Change::of(state, context, order);
    let total = order.total;
    let payment = change.payment();
    if payment.state != PaymentState::RequiresPaymentMethod || payment.attempts.len() >= ATTEMPTS_MAX {
        return Err(Refusal::IllegalPayment { state: payment.state });
    }
    let number = payment.attempts.len() as u16 + 1;
    payment.state = PaymentState::Processing;
    payment.attempts.push(Attempt {
        number,
        state: AttemptState::Processing,
        capture: start.capture,
        minor: total.minor,
        method: start.method,
        reference: Text::EMPTY,
        decline: Text::EMPTY,
        started_us: context.now_us,
    });
    let receipt = Receipt::AttemptStarted { order: order.id, attempt: number, amount: total };
    Ok(Accepted { fact: change.record(RecordKind::PaymentStarted, None), receipt })
}

/// What a settlement comes to.
#[expect(clippy::large_enum_variant, reason = "built and taken apart at once; never stored")]
pub enum Settlement {
    /// It changes something.
    Changes(Accepted),
    /// The attempt or refund was settled this way before.
    Known(Receipt),
}

/// Records what the gateway said of an attempt. Gateways say things more than once and out of
/// order: money that moved wins over a decline or silence, and a repetition changes nothing.
pub fn settle(
    state: &State,
    context: &Context,
    order: &OrderRow,
    settle: &SettleAttempt,
) -> Result<Settlement, Refusal> {
    let payment = order.payment.as_deref();
    let attempt = payment
        .and_then(|payment| payment.attempts.iter().find(|attempt| attempt.number == settle.attempt))
        .ok_or(Refusal::UnknownAttempt { attempt: settle.attempt })?;
    let open = matches!(attempt.state, AttemptState::Processing | AttemptState::Unknown);
    let declined = attempt.state == AttemptState::Declined;
    let change = Change::of(state, context, order);
    let settled = match settle.result {
        GatewayResult::Captured { reference } if open || declined => {
            captured(change, settle.attempt, reference)
        }
        GatewayResult::Authorised { reference } if open || declined => {
            authorised(change, settle.attempt, reference)
        }
        GatewayResult::Declined { code } if open => refused(change, settle.attempt, Some(code)),
        GatewayResult::Unknown if attempt.state == AttemptState::Processing => {
            refused(change, settle.attempt, None)
        }
        _ => return Ok(Settlement::Known(attempt_receipt(order, settle.attempt))),
    };
    Ok(Settlement::Changes(settled))
}

fn attempt_receipt(order: &OrderRow, attempt: u16) -> Receipt {
    let payment_state =
        order.payment.as_ref().map_or(PaymentState::RequiresPaymentMethod, |payment| payment.state);
    Receipt::AttemptSettled { order: order.id, attempt, order_state: order.state, payment_state }
}

fn mark(payment: &mut Payment, number: u16, state: AttemptState, reference: Text<63>) -> i64 {
    let Some(attempt) = payment.attempts.iter_mut().find(|attempt| attempt.number == number) else {
        return 0;
    };
    attempt.state = state;
    attempt.reference = reference;
    attempt.minor
}

fn finish(change: Change<'_>, number: u16, kind: RecordKind, how: Option<Resolution>) -> Accepted {
    let receipt = attempt_receipt(&change.order, number);
    Accepted { fact: change.record(kind, how), receipt }
}

fn captured(mut change: Change<'_>, number: u16, reference: Text<63>) -> Accepted {
    let was = change.order.state;
    let minor = mark(change.payment(), number, AttemptState::Captured, reference);
    change.post(Account::Customer, Account::Authorised, minor);
    change.post(Account::Authorised, Account::Captured, minor);
    let payment = change.payment();
    payment.authorised += minor;
    payment.captured += minor;
    // A second charge, or money for an order that is gone and cannot be had again, goes back.
    let retake = was == OrderState::Expired && is_local(&change) && fits_again(&change);
    match was {
        OrderState::Pending => {
            change.void_reserved();
            change.payment().state = PaymentState::Succeeded;
            change.order.state = OrderState::Paid;
            finish(change, number, RecordKind::PaymentCaptured, Some(Resolution::Capture))
        }
        OrderState::Expired if retake => {
            change.payment().state = PaymentState::Succeeded;
            change.order.state = OrderState::Paid;
            finish(change, number, RecordKind::PaymentCaptured, Some(Resolution::Retake))
        }
        _ => {
            let now_us = change.context.now_us;
            if !was.is_sold() {
                change.payment().state = PaymentState::Canceled;
            }
            push_refund(change.payment(), minor, false, now_us);
            finish(change, number, RecordKind::RefundStarted, None)
        }
    }
}

fn fits_again(change: &Change<'_>) -> bool {
    can_retake(change.state, change.context, &change.order.customer, &change.order.lines)
}

/// True if all lines of the order live on its own shard. An order over several shards that expired
/// would have to be reserved anew everywhere; its money goes back instead.
fn is_local(change: &Change<'_>) -> bool {
    let map = change.context.map;
    let home = map.shard(change.order.id.slot());
    change.order.lines.iter().all(|line| map.shard(onrush_proto::Slot::of(line.sku.as_bytes())) == home)
}

fn authorised(mut change: Change<'_>, number: u16, reference: Text<63>) -> Accepted {
    // One reservation is enough: a second one, or one for an order that is closed, is given back.
    let reserved = change.payment().state == PaymentState::RequiresCapture;
    if change.order.state == OrderState::Pending && !reserved {
        let minor = mark(change.payment(), number, AttemptState::Authorised, reference);
        change.post(Account::Customer, Account::Authorised, minor);
        let payment = change.payment();
        payment.authorised += minor;
        payment.state = PaymentState::RequiresCapture;
        return finish(change, number, RecordKind::PaymentAuthorised, None);
    }
    let minor = mark(change.payment(), number, AttemptState::Voided, reference);
    change.post(Account::Customer, Account::Authorised, minor);
    change.post(Account::Authorised, Account::Customer, minor);
    let gone = !change.order.state.is_sold() && !reserved;
    let payment = change.payment();
    payment.authorised += minor;
    if gone {
        payment.state = PaymentState::Canceled;
    }
    finish(change, number, RecordKind::PaymentVoided, None)
}

/// A decline (with its code) or silence.
fn refused(mut change: Change<'_>, number: u16, code: Option<Text<31>>) -> Accepted {
    let order_state = change.order.state;
    let state = if code.is_some() { AttemptState::Declined } else { AttemptState::Unknown };
    let payment = change.payment();
    mark(payment, number, state, Text::EMPTY);
    let Some(code) = code else {
        return finish(change, number, RecordKind::PaymentUnknown, None);
    };
    if let Some(attempt) = payment.attempts.iter_mut().find(|attempt| attempt.number == number) {
        attempt.decline = code;
    }
    // Another attempt may have brought the money, or reserved it, meanwhile.
    if order_state == OrderState::Pending && payment.state == PaymentState::Processing {
        payment.state = PaymentState::RequiresPaymentMethod;
    } else if !order_state.is_sold() && order_state != OrderState::Pending {
        payment.state = PaymentState::Canceled;
    }
    finish(change, number, RecordKind::PaymentDeclined, None)
}

/// Records that an authorised payment was captured, wholly or in part; the rest is voided.
pub fn capture(state: &State, context: &Context, order: &OrderRow, capture: &CapturePayment) -> Decision {
    let payment_state =
        order.payment.as_ref().map_or(PaymentState::RequiresPaymentMethod, |payment| payment.state);
    if payment_state != PaymentState::RequiresCapture || order.state != OrderState::Pending {
        return Err(Refusal::IllegalPayment { state: payment_state });
    }
    let mut change = Change::of(state, context, order);
    let payment = change.payment();
    let open = payment.attempts.iter_mut().find(|attempt| attempt.state == AttemptState::Authorised);
    let Some(attempt) = open else { return Err(Refusal::IllegalPayment { state: payment_state }) };
    let left = attempt.minor;
    check_amount(capture.minor)?;
    if capture.minor > left {
        return Err(Refusal::CaptureAboveAuthorised { asked: capture.minor, left });
    }
    attempt.state = AttemptState::Captured;
    payment.captured += capture.minor;
    payment.state = PaymentState::Succeeded;
    change.order.state = OrderState::Paid;
    change.post(Account::Authorised, Account::Captured, capture.minor);
    change.post(Account::Authorised, Account::Customer, left - capture.minor);
    let captured = Money::new(capture.minor, order.total.currency);
    let fact = change.record(RecordKind::PaymentCaptured, Some(Resolution::Capture));
    Ok(Accepted { fact, receipt: Receipt::Captured { order: order.id, captured } })
}

fn check_amount(minor: i64) -> Result<(), Refusal> {
    match minor {
        1.. => Ok(()),
        _ => Err(Refusal::Invalid { field: "amount", expected: "a positive amount" }),
    }
}

/// Voids what is authorised and not captured when an order closes; cancels the intent. Returns
/// the ledger row, if money moved.
pub fn void_open(state: &State, context: &Context, order: &mut OrderRow) -> Option<Row> {
    let currency = order.total.currency;
    let payment = order.payment.as_deref_mut()?;
    let mut posted: SmallVec<[Posting; 2]> = SmallVec::new();
    for attempt in payment.attempts.iter_mut().filter(|attempt| attempt.state == AttemptState::Authorised) {
        attempt.state = AttemptState::Voided;
        let (from, to) = (Account::Authorised, Account::Customer);
        posted.push(Posting { from, to, minor: attempt.minor, at_us: context.now_us });
    }
    payment.postings.extend(posted.iter().copied());
    // An attempt that is still with the gateway is settled when it answers.
    if payment.state != PaymentState::Processing {
        payment.state = PaymentState::Canceled;
    }
    ledger_after(state, currency, &posted)
}

/// Records a refund, pending until the gateway answers. Decided on the payment's own shard, so
/// concurrent refunds cannot pass together.
pub fn refund(context: &Context, order: &OrderRow, refund: &RefundPayment) -> Decision {
    check_amount(refund.minor)?;
    start_refund(context, order, refund.minor, false)
}

/// Begins to call a paid order off: all the money that is left goes back first.
pub fn refund_to_cancel(context: &Context, order: &OrderRow) -> Decision {
    let left = refundable(order);
    if left <= 0 {
        return Err(Refusal::IllegalTransition { from: order.state, to: OrderState::Cancelled });
    }
    start_refund(context, order, left, true)
}

fn refundable(order: &OrderRow) -> i64 {
    order.payment.as_ref().map_or(0, |payment| payment.captured - payment.refunds_open_or_settled())
}

fn start_refund(context: &Context, order: &OrderRow, minor: i64, cancels: bool) -> Decision {
    let left = refundable(order);
    let refunds = order.payment.as_ref().map_or(0, |payment| payment.refunds.len());
    if minor > left || refunds >= REFUNDS_MAX {
        return Err(Refusal::RefundAboveCaptured { asked: minor, left });
    }
    let mut after = OrderRow { changed_us: context.now_us, ..order.clone() };
    let number = push_refund(after.payment.get_or_insert_default(), minor, cancels, context.now_us);
    let receipt = refund_receipt(&after, number);
    let fact = Fact::new(RecordKind::RefundStarted, hash_of(&order.id)).with(Row::Order(after));
    Ok(Accepted { fact, receipt })
}

fn push_refund(payment: &mut Payment, minor: i64, cancels: bool, started_us: u64) -> u16 {
    let number = payment.refunds.len() as u16 + 1;
    payment.refunds.push(Refund { number, minor, state: RefundState::Pending, cancels, started_us });
    number
}

fn refund_receipt(order: &OrderRow, number: u16) -> Receipt {
    let found =
        order.payment.as_ref().and_then(|payment| payment.refunds.iter().find(|one| one.number == number));
    let (minor, state) = found.map_or((0, RefundState::Failed), |refund| (refund.minor, refund.state));
    Receipt::Refund {
        order: order.id,
        refund: number,
        amount: Money::new(minor, order.total.currency),
        state,
    }
}

/// Records what the gateway said of a refund. A refund that calls the order off ends it.
pub fn settle_refund(
    state: &State,
    context: &Context,
    order: &OrderRow,
    settle: &SettleRefund,
) -> Result<Settlement, Refusal> {
    let mut change = Change::of(state, context, order);
    let refunds =
        change.order.payment.as_deref_mut().map(|payment| payment.refunds.as_mut_slice()).unwrap_or_default();
    let refund = refunds
        .iter_mut()
        .find(|refund| refund.number == settle.refund)
        .ok_or(Refusal::UnknownRefund { refund: settle.refund })?;
    if refund.state != RefundState::Pending {
        return Ok(Settlement::Known(refund_receipt(order, settle.refund)));
    }
    let (minor, cancels) = (refund.minor, refund.cancels);
    if !settle.succeeded {
        refund.state = RefundState::Failed;
        let receipt = refund_receipt(&change.order, settle.refund);
        return Ok(Settlement::Changes(Accepted {
            fact: change.record(RecordKind::RefundFailed, None),
            receipt,
        }));
    }
    refund.state = RefundState::Succeeded;
    change.payment().refunded += minor;
    change.post(Account::Captured, Account::Refunded, minor);
    let payment = change.payment();
    let all_back = payment.refunded == payment.captured;
    let to = match (cancels, all_back) {
        (true, _) => OrderState::Cancelled,
        (false, true) => OrderState::Refunded,
        (false, false) => OrderState::PartiallyRefunded,
    };
    // Money that came for an order which was gone does not bring the order back.
    let moves = change.order.state.may_become(to) && change.order.state.is_sold();
    if moves {
        change.order.state = to;
    }
    let receipt = refund_receipt(&change.order, settle.refund);
    let how = (moves && cancels).then_some(Resolution::Return);
    Ok(Settlement::Changes(Accepted { fact: change.record(RecordKind::RefundSucceeded, how), receipt }))
}
