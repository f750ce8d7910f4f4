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

use super::Context;
use super::inventory::{self, Resolution, can_retake};
use crate::state::State;
use crate::tables::hash_of;

/// Most attempts one order may have.
pub const ATTEMPTS_MAX: usize = 64;
/// Most refunds one order may have.
pub const REFUNDS_MAX: usize = 1_000;

/// An order on its way to its next row, with the postings made on the way. The row is made where it is recorded, as
/// the first of the fact's: it is too large to be moved about.
struct Change<'a> {
    state: &'a State,
    context: &'a Context,
    before: &'a OrderRow,
    fact: &'a mut Fact,
    posted: SmallVec<[Posting; 2]>,
}

impl<'a> Change<'a> {
    fn of(state: &'a State, context: &'a Context, before: &'a OrderRow, fact: &'a mut Fact) -> Self {
        fact.rows.clear();
        fact.rows.push(Row::Order(OrderRow { changed_us: context.now_us, ..before.clone() }));
        Self { state, context, before, fact, posted: SmallVec::new() }
    }

    fn order(&mut self) -> &mut OrderRow {
        match &mut self.fact.rows[0] {
            Row::Order(order) => order,
            other => unreachable!("expected the order that the change began with, found {other:?}"),
        }
    }

    fn payment(&mut self) -> &mut Payment {
        self.order().payment.get_or_insert_default()
    }

    fn post(&mut self, from: Account, to: Account, minor: i64) {
        if minor > 0 {
            let posting = Posting { from, to, minor, at_us: self.context.now_us };
            self.payment().postings.push(posting);
            self.posted.push(posting);
        }
    }

    /// The record: the order, the stock rows of a resolution, and the ledger.
    fn record(self, kind: RecordKind, how: Option<Resolution>) {
        let Self { state, context, before, fact, posted } = self;
        (fact.kind, fact.key_hash) = (kind, hash_of(&before.id));
        if let Some(how) = how {
            inventory::resolve(state, context, (&before.customer, &before.lines), how, &mut fact.rows);
        }
        fact.rows.extend(ledger_after(state, before.total.currency, &posted));
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

/// Records an attempt, made in `fact`; the gateway is asked by a subscriber.
pub fn start(
    state: &State,
    context: &Context,
    order: &OrderRow,
    start: &StartPayment,
    fact: &mut Fact,
) -> Result<Receipt, Refusal> {
    if start.method.is_empty() {
        return Err(Refusal::Invalid { field: "payment_method", expected: "1 to 47 bytes" });
    }
    if order.state != OrderState::Pending {
        return Err(Refusal::IllegalTransition { from: order.state, to: OrderState::Paid });
    }
    let mut change = Change::of(state, context, order, fact);
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
        capture_minor: 0,
        method: start.method,
        reference: Text::EMPTY,
        decline: Text::EMPTY,
        started_us: context.now_us,
    });
    change.record(RecordKind::PaymentStarted, None);
    Ok(Receipt::AttemptStarted { order: order.id, attempt: number, amount: total })
}

/// What a settlement comes to.
pub enum Settlement {
    /// It changes something: the fact was made.
    Changes(Receipt),
    /// The attempt or refund was settled this way before.
    Known(Receipt),
}

/// Records what the gateway said of an attempt, made in `fact`. Gateways say things more than once and out of
/// order: money that moved wins over a decline or silence, and a repetition changes nothing.
pub fn settle(
    state: &State,
    context: &Context,
    order: &OrderRow,
    settle: &SettleAttempt,
    fact: &mut Fact,
) -> Result<Settlement, Refusal> {
    let payment = order.payment.as_deref();
    let attempt = payment
        .and_then(|payment| payment.attempts.iter().find(|attempt| attempt.number == settle.attempt))
        .ok_or(Refusal::UnknownAttempt { attempt: settle.attempt })?;
    let change = Change::of(state, context, order, fact);
    use AttemptState::{Captured, Capturing, Declined, Processing, Unknown};
    let settled = match (settle.result, attempt.state) {
        (GatewayResult::Captured { .. }, Captured) => None,
        (GatewayResult::Captured { reference }, _) => {
            let minor = if attempt.capture_minor > 0 { attempt.capture_minor } else { attempt.minor };
            Some(captured(change, settle.attempt, (minor, reference)))
        }
        (GatewayResult::Authorised { reference }, Processing | Unknown | Declined) => {
            Some(authorised(change, settle.attempt, reference))
        }
        (GatewayResult::Declined { code }, Processing | Unknown) => {
            Some(refused(change, settle.attempt, Some(code)))
        }
        (GatewayResult::CaptureFailed { code }, Capturing) => {
            Some(capture_failed(change, settle.attempt, code))
        }
        (GatewayResult::Unknown, Processing) => Some(refused(change, settle.attempt, None)),
        _ => None,
    };
    Ok(match settled {
        Some(receipt) => Settlement::Changes(receipt),
        None => Settlement::Known(attempt_receipt(order, settle.attempt)),
    })
}

fn attempt_receipt(order: &OrderRow, attempt: u16) -> Receipt {
    let payment_state =
        order.payment.as_ref().map_or(PaymentState::RequiresPaymentMethod, |payment| payment.state);
    Receipt::AttemptSettled { order: order.id, attempt, order_state: order.state, payment_state }
}

/// Gives an attempt its new state; returns the old one and what it asked for.
fn mark(payment: &mut Payment, number: u16, state: AttemptState, reference: Text<63>) -> (AttemptState, i64) {
    let Some(attempt) = payment.attempts.iter_mut().find(|attempt| attempt.number == number) else {
        return (state, 0);
    };
    attempt.reference = reference;
    (std::mem::replace(&mut attempt.state, state), attempt.minor)
}

fn finish(mut change: Change<'_>, number: u16, kind: RecordKind, how: Option<Resolution>) -> Receipt {
    let receipt = attempt_receipt(change.order(), number);
    change.record(kind, how);
    receipt
}

/// Money was taken, in time or not. It pays a pending order, or one that expired and can be had
/// again; a second charge, or money for an order that is gone, goes back.
fn captured(mut change: Change<'_>, number: u16, (minor, reference): (i64, Text<63>)) -> Receipt {
    book_capture(&mut change, number, minor, reference);
    let was = change.before.state;
    let retake = was == OrderState::Expired
        && is_local(&change)
        && can_retake(change.state, change.context, &change.before.customer, &change.before.lines);
    let how = match was {
        OrderState::Pending => Resolution::Capture,
        OrderState::Expired if retake => Resolution::Retake,
        _ => {
            let now_us = change.context.now_us;
            if !was.is_sold() {
                change.payment().state = PaymentState::Canceled;
            }
            push_refund(change.payment(), Refunding { minor, cancels: false, surplus: true, now_us });
            return finish(change, number, RecordKind::RefundStarted, None);
        }
    };
    void_authorised(&mut change);
    change.payment().state = PaymentState::Succeeded;
    let now_us = change.context.now_us;
    change.order().enter(OrderState::Paid, now_us);
    finish(change, number, RecordKind::PaymentCaptured, Some(how))
}

/// What was reserved and is not taken is void. An attempt that was not reserved is for one step.
fn book_capture(change: &mut Change<'_>, number: u16, minor: i64, reference: Text<63>) {
    let (was, asked) = mark(change.payment(), number, AttemptState::Captured, reference);
    if !was.is_reserved() {
        change.post(Account::Customer, Account::Authorised, asked);
        change.payment().authorised += asked;
    }
    change.post(Account::Authorised, Account::Captured, minor);
    change.post(Account::Authorised, Account::Customer, asked - minor);
    change.payment().captured += minor;
}

/// At most one attempt succeeds: what others reserved is given back.
fn void_authorised(change: &mut Change<'_>) {
    let mut voided = 0;
    for attempt in &mut change.payment().attempts {
        if attempt.state == AttemptState::Authorised {
            attempt.state = AttemptState::Voided;
            voided += attempt.minor;
        }
    }
    change.post(Account::Authorised, Account::Customer, voided);
}

/// True if all lines of the order live on its own shard. An order over several shards that expired
/// would have to be reserved anew everywhere; its money goes back instead.
fn is_local(change: &Change<'_>) -> bool {
    let map = change.context.map;
    let home = map.shard(change.before.id.slot());
    change.before.lines.iter().all(|line| map.shard(onrush_proto::Slot::of(line.sku.as_bytes())) == home)
}

/// Money was reserved. It waits for its capture if the order waits for it; else it is given back.
fn authorised(mut change: Change<'_>, number: u16, reference: Text<63>) -> Receipt {
    let pending = change.before.state == OrderState::Pending;
    let payment = change.payment();
    let waits = pending && !payment.attempts.iter().any(|attempt| attempt.state.is_reserved());
    let state = if waits { AttemptState::Authorised } else { AttemptState::Voided };
    let (_, minor) = mark(payment, number, state, reference);
    payment.authorised += minor;
    change.post(Account::Customer, Account::Authorised, minor);
    if waits {
        change.payment().state = PaymentState::RequiresCapture;
        return finish(change, number, RecordKind::PaymentAuthorised, None);
    }
    change.post(Account::Authorised, Account::Customer, minor);
    if !pending && !change.before.state.is_sold() {
        change.payment().state = PaymentState::Canceled;
    }
    finish(change, number, RecordKind::PaymentVoided, None)
}

/// A decline (with its code) or silence.
fn refused(mut change: Change<'_>, number: u16, code: Option<Text<31>>) -> Receipt {
    let order_state = change.before.state;
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
    let reserved = payment.attempts.iter().any(|attempt| attempt.state.is_reserved());
    if order_state == OrderState::Pending && payment.state == PaymentState::Processing && !reserved {
        payment.state = PaymentState::RequiresPaymentMethod;
    } else if !order_state.is_sold() && order_state != OrderState::Pending {
        payment.state = PaymentState::Canceled;
    }
    finish(change, number, RecordKind::PaymentDeclined, None)
}

/// What was reserved is gone without being taken.
fn capture_failed(mut change: Change<'_>, number: u16, code: Text<31>) -> Receipt {
    let order_state = change.before.state;
    let payment = change.payment();
    let (_, minor) = mark(payment, number, AttemptState::Declined, Text::EMPTY);
    if let Some(attempt) = payment.attempts.iter_mut().find(|attempt| attempt.number == number) {
        attempt.decline = code;
    }
    if order_state == OrderState::Pending {
        let open =
            |attempt: &Attempt| matches!(attempt.state, AttemptState::Processing | AttemptState::Unknown);
        let waits = payment.attempts.iter().any(open);
        payment.state = if waits { PaymentState::Processing } else { PaymentState::RequiresPaymentMethod };
    } else if !order_state.is_sold() {
        payment.state = PaymentState::Canceled;
    }
    change.post(Account::Authorised, Account::Customer, minor);
    finish(change, number, RecordKind::PaymentDeclined, None)
}

/// Records the capture of an authorised payment, wholly or in part; the gateway is asked by a
/// subscriber, and what it says is settled like any attempt's result. Whatever becomes of the order
/// meanwhile, the capture is on record: money that comes too late is late money.
pub fn capture(
    state: &State,
    context: &Context,
    order: &OrderRow,
    capture: &CapturePayment,
    fact: &mut Fact,
) -> Result<Receipt, Refusal> {
    let payment = order.payment.as_deref();
    let payment_state = payment.map_or(PaymentState::RequiresPaymentMethod, |payment| payment.state);
    let reserved = |attempt: &&Attempt| attempt.state == AttemptState::Authorised;
    let attempt = payment.and_then(|payment| payment.attempts.iter().find(reserved));
    let due = order.state == OrderState::Pending && payment_state == PaymentState::RequiresCapture;
    let illegal = Refusal::IllegalPayment { state: payment_state };
    let (number, left) =
        attempt.filter(|_| due).map(|attempt| (attempt.number, attempt.minor)).ok_or(illegal)?;
    check_amount(capture.minor)?;
    if capture.minor > left {
        return Err(Refusal::CaptureAboveAuthorised { asked: capture.minor, left });
    }
    let mut change = Change::of(state, context, order, fact);
    let payment = change.payment();
    payment.state = PaymentState::Processing;
    if let Some(attempt) = payment.attempts.iter_mut().find(|attempt| attempt.number == number) {
        attempt.state = AttemptState::Capturing;
        attempt.capture_minor = capture.minor;
    }
    let amount = Money::new(capture.minor, order.total.currency);
    change.record(RecordKind::CaptureStarted, None);
    Ok(Receipt::CaptureStarted { order: order.id, attempt: number, amount })
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
pub fn refund(
    state: &State,
    context: &Context,
    order: &OrderRow,
    refund: &RefundPayment,
    fact: &mut Fact,
) -> Result<Receipt, Refusal> {
    check_amount(refund.minor)?;
    start_refund(state, context, order, (refund.minor, false), fact)
}

/// Begins to call a paid order off: all the money that is left goes back first. Where none was
/// taken the order ends at once.
pub fn refund_to_cancel(
    state: &State,
    context: &Context,
    order: &OrderRow,
    fact: &mut Fact,
) -> Result<Receipt, Refusal> {
    let left = refundable(order);
    if order.payment.as_ref().is_none_or(|payment| payment.captured == 0) {
        let mut change = Change::of(state, context, order, fact);
        let refunding = Refunding { minor: 0, cancels: true, surplus: false, now_us: context.now_us };
        let number = push_refund(change.payment(), refunding);
        return Ok(refund_done(change, usize::from(number) - 1));
    }
    if left <= 0 {
        return Err(Refusal::IllegalTransition { from: order.state, to: OrderState::Cancelled });
    }
    start_refund(state, context, order, (left, true), fact)
}

fn refundable(order: &OrderRow) -> i64 {
    order.payment.as_ref().map_or(0, |payment| payment.captured - payment.refunds_open_or_settled())
}

fn start_refund(
    state: &State,
    context: &Context,
    order: &OrderRow,
    (minor, cancels): (i64, bool),
    fact: &mut Fact,
) -> Result<Receipt, Refusal> {
    let left = refundable(order);
    let refunds = order.payment.as_ref().map_or(0, |payment| payment.refunds.len());
    if minor > left || refunds >= REFUNDS_MAX {
        return Err(Refusal::RefundAboveCaptured { asked: minor, left });
    }
    let mut change = Change::of(state, context, order, fact);
    let refunding = Refunding { minor, cancels, surplus: false, now_us: context.now_us };
    let number = push_refund(change.payment(), refunding);
    let receipt = refund_receipt(change.order(), number);
    change.record(RecordKind::RefundStarted, None);
    Ok(receipt)
}

/// A refund to come.
struct Refunding {
    minor: i64,
    cancels: bool,
    surplus: bool,
    now_us: u64,
}

fn push_refund(payment: &mut Payment, Refunding { minor, cancels, surplus, now_us }: Refunding) -> u16 {
    let number = payment.refunds.len() as u16 + 1;
    let state = RefundState::Pending;
    payment.refunds.push(Refund { number, minor, state, cancels, surplus, started_us: now_us });
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

/// Records what the gateway said of a refund.
pub fn settle_refund(
    state: &State,
    context: &Context,
    order: &OrderRow,
    settle: &SettleRefund,
    fact: &mut Fact,
) -> Result<Settlement, Refusal> {
    let refunds = order.payment.as_deref().map_or(&[][..], |payment| &payment.refunds);
    let index = refunds
        .iter()
        .position(|refund| refund.number == settle.refund)
        .ok_or(Refusal::UnknownRefund { refund: settle.refund })?;
    if refunds[index].state != RefundState::Pending {
        return Ok(Settlement::Known(refund_receipt(order, settle.refund)));
    }
    let mut change = Change::of(state, context, order, fact);
    if settle.succeeded {
        return Ok(Settlement::Changes(refund_done(change, index)));
    }
    change.payment().refunds[index].state = RefundState::Failed;
    let receipt = refund_receipt(change.order(), settle.refund);
    change.record(RecordKind::RefundFailed, None);
    Ok(Settlement::Changes(receipt))
}

/// The money is back. A refund that calls the order off ends it.
fn refund_done(mut change: Change<'_>, index: usize) -> Receipt {
    let refund = &mut change.payment().refunds[index];
    refund.state = RefundState::Succeeded;
    let Refund { number, minor, cancels, surplus, .. } = *refund;
    change.payment().refunded += minor;
    change.post(Account::Captured, Account::Refunded, minor);
    let payment = change.payment();
    let all_back = payment.refunded == payment.captured;
    let cancelled = cancels && change.before.may_become(OrderState::Cancelled);
    let to = match (cancelled, all_back) {
        (true, _) => OrderState::Cancelled,
        (false, true) => OrderState::Refunded,
        (false, false) => OrderState::PartiallyRefunded,
    };
    // Money that came for an order which was gone does not bring the order back, and a second charge
    // that goes back leaves the first.
    let moves = change.before.state.is_sold() && change.before.may_become(to) && (all_back || !surplus);
    if moves {
        let now_us = change.context.now_us;
        change.order().enter(to, now_us);
    }
    let receipt = refund_receipt(change.order(), number);
    let how = (moves && cancelled).then_some(Resolution::Return);
    change.record(RecordKind::RefundSucceeded, how);
    receipt
}
