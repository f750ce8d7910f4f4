//! An order as it is read: a fixed part, then its lines, states, attempts, refunds and postings.
//!
//! The tables stand in `docs/wire.md`. What an order was created under (its key, the hash of its body) is
//! nobody's business outside, and reads back as none.

use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::FrameError;
use super::number::Number;
use super::text::WireText;
use crate::id::OrderId;
use crate::key::IdempotencyKey;
use crate::money::{Currency, Money};
use crate::payment::{Attempt, Payment, Posting, Refund};
use crate::row::{Line, OrderRow, StateChange};
use crate::text::Text;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OrderBytes {
    id: U128,
    customer: WireText<39>,
    total_minor: I64,
    held_until_us: U64,
    changed_us: U64,
    currency: [u8; 3],
    state: u8,
    delivery: u8,
    /// Of the payment; 0 = there is none.
    payment: u8,
    states: U16,
    lines: U32,
    attempts: U16,
    refunds: U16,
    authorised: I64,
    captured: I64,
    refunded: I64,
    postings: U32,
    zero: [u8; 4],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LineBytes {
    sku: WireText<39>,
    unit_minor: I64,
    quantity: U32,
    zero: [u8; 4],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StateBytes {
    at_us: U64,
    state: u8,
    zero: [u8; 7],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct AttemptBytes {
    /// A token of a payment method is told to nobody.
    zeros: [u8; 48],
    reference: WireText<63>,
    decline: WireText<31>,
    minor: I64,
    capture_minor: I64,
    started_us: U64,
    number: U16,
    state: u8,
    capture: u8,
    zero: [u8; 4],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RefundBytes {
    minor: I64,
    started_us: U64,
    number: U16,
    state: u8,
    flags: u8,
    zero: [u8; 4],
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PostingBytes {
    minor: I64,
    at_us: U64,
    from: u8,
    to: u8,
    zero: [u8; 6],
}

/// Bits of [`RefundBytes::flags`].
const CANCELS: u8 = 1;
const SURPLUS: u8 = 2;

fn flag(bit: u8, set: bool) -> u8 {
    if set { bit } else { 0 }
}

/// Appends an order.
pub(super) fn put(out: &mut Vec<u8>, row: &OrderRow) {
    let payment = row.payment.as_deref();
    let count = |count: fn(&Payment) -> usize| payment.map_or(0, count);
    let minor = |minor: fn(&Payment) -> i64| I64::new(payment.map_or(0, minor));
    let head = OrderBytes {
        id: U128::new(row.id.0),
        customer: (&row.customer).into(),
        total_minor: I64::new(row.total.minor),
        held_until_us: U64::new(row.held_until_us),
        changed_us: U64::new(row.changed_us),
        currency: row.total.currency.0,
        state: row.state.number(),
        delivery: row.delivery.number(),
        payment: payment.map_or(0, |payment| payment.state.number()),
        states: U16::new(row.history.len() as u16),
        lines: U32::new(row.lines.len() as u32),
        attempts: U16::new(count(|payment| payment.attempts.len()) as u16),
        refunds: U16::new(count(|payment| payment.refunds.len()) as u16),
        authorised: minor(|payment| payment.authorised),
        captured: minor(|payment| payment.captured),
        refunded: minor(|payment| payment.refunded),
        postings: U32::new(count(|payment| payment.postings.len()) as u32),
        zero: [0; 4],
    };
    out.extend_from_slice(head.as_bytes());
    for line in &row.lines {
        let (sku, quantity) = ((&line.sku).into(), U32::new(line.quantity));
        let line = LineBytes { sku, unit_minor: I64::new(line.unit_minor), quantity, zero: [0; 4] };
        out.extend_from_slice(line.as_bytes());
    }
    for change in &row.history {
        let (at_us, state) = (U64::new(change.at_us), change.state.number());
        out.extend_from_slice(StateBytes { at_us, state, zero: [0; 7] }.as_bytes());
    }
    if let Some(payment) = payment {
        put_payment(out, payment);
    }
}

fn put_payment(out: &mut Vec<u8>, payment: &Payment) {
    for attempt in &payment.attempts {
        let bytes = AttemptBytes {
            zeros: [0; 48],
            reference: (&attempt.reference).into(),
            decline: (&attempt.decline).into(),
            minor: I64::new(attempt.minor),
            capture_minor: I64::new(attempt.capture_minor),
            started_us: U64::new(attempt.started_us),
            number: U16::new(attempt.number),
            state: attempt.state.number(),
            capture: attempt.capture.into(),
            zero: [0; 4],
        };
        out.extend_from_slice(bytes.as_bytes());
    }
    for refund in &payment.refunds {
        let bytes = RefundBytes {
            minor: I64::new(refund.minor),
            started_us: U64::new(refund.started_us),
            number: U16::new(refund.number),
            state: refund.state.number(),
            flags: flag(CANCELS, refund.cancels) | flag(SURPLUS, refund.surplus),
            zero: [0; 4],
        };
        out.extend_from_slice(bytes.as_bytes());
    }
    for posting in &payment.postings {
        let bytes = PostingBytes {
            minor: I64::new(posting.minor),
            at_us: U64::new(posting.at_us),
            from: posting.from.number(),
            to: posting.to.number(),
            zero: [0; 6],
        };
        out.extend_from_slice(bytes.as_bytes());
    }
}

/// What is left of an order's bytes.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// The next `count` of a kind. How many there are is a matter of the bytes, not of the number.
    fn take<T, R>(&mut self, count: usize, read: impl Fn(&T) -> Option<R>) -> Result<Vec<R>, FrameError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned + 'a,
    {
        let wrong = FrameError::Field { field: "order", expected: "as many parts as it says, of version 1" };
        let (parts, rest) = <[T]>::ref_from_prefix_with_elems(self.0, count).map_err(|_| wrong)?;
        self.0 = rest;
        parts.iter().map(read).collect::<Option<_>>().ok_or(wrong)
    }
}

/// Reads an order.
pub(super) fn read(body: &[u8]) -> Result<OrderRow, FrameError> {
    let wrong = FrameError::Field { field: "order", expected: "an order of version 1" };
    let (head, rest) = OrderBytes::ref_from_prefix(body).map_err(|_| wrong)?;
    let mut rest = Rest(rest);
    let lines = rest.take(head.lines.get() as usize, |line: &LineBytes| {
        Some(Line { sku: line.sku.text()?, quantity: line.quantity.get(), unit_minor: line.unit_minor.get() })
    })?;
    let history = rest.take(head.states.get().into(), |change: &StateBytes| {
        Some(StateChange { state: Number::named(change.state)?, at_us: change.at_us.get() })
    })?;
    let payment = match head.payment {
        0 => None,
        _ => Some(Box::new(payment(head, &mut rest)?)),
    };
    if !rest.0.is_empty() {
        return Err(wrong);
    }
    let row = OrderRow {
        id: OrderId(head.id.get()),
        customer: head.customer.text().ok_or(wrong)?,
        lines: lines.into(),
        total: Money::new(head.total_minor.get(), Currency(head.currency)),
        state: Number::named(head.state).ok_or(wrong)?,
        delivery: Number::named(head.delivery).ok_or(wrong)?,
        held_until_us: head.held_until_us.get(),
        changed_us: head.changed_us.get(),
        key: IdempotencyKey::NONE,
        body: 0,
        history: history.into(),
        payment,
    };
    // Whatever stands where nothing is said, or says twice what it says.
    let mut own = Vec::with_capacity(body.len());
    put(&mut own, &row);
    if own == body { Ok(row) } else { Err(wrong) }
}

fn payment(head: &OrderBytes, rest: &mut Rest<'_>) -> Result<Payment, FrameError> {
    let wrong = FrameError::Field { field: "payment", expected: "one of version 1" };
    let attempts = rest.take(head.attempts.get().into(), |attempt: &AttemptBytes| {
        Some(Attempt {
            number: attempt.number.get(),
            state: Number::named(attempt.state)?,
            capture: attempt.capture != 0,
            minor: attempt.minor.get(),
            capture_minor: attempt.capture_minor.get(),
            method: Text::EMPTY,
            reference: attempt.reference.text()?,
            decline: attempt.decline.text()?,
            started_us: attempt.started_us.get(),
        })
    })?;
    let refunds = rest.take(head.refunds.get().into(), |refund: &RefundBytes| {
        Some(Refund {
            number: refund.number.get(),
            minor: refund.minor.get(),
            state: Number::named(refund.state)?,
            cancels: refund.flags & CANCELS != 0,
            surplus: refund.flags & SURPLUS != 0,
            started_us: refund.started_us.get(),
        })
    })?;
    let postings = rest.take(head.postings.get() as usize, |posting: &PostingBytes| {
        let (from, to) = (Number::named(posting.from)?, Number::named(posting.to)?);
        Some(Posting { from, to, minor: posting.minor.get(), at_us: posting.at_us.get() })
    })?;
    Ok(Payment {
        state: Number::named(head.payment).ok_or(wrong)?,
        authorised: head.authorised.get(),
        captured: head.captured.get(),
        refunded: head.refunded.get(),
        attempts: attempts.into(),
        refunds,
        postings: postings.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::document::{assert_layout, layout};
    use super::*;

    #[test]
    fn the_document_has_the_layouts() {
        let order = layout!(OrderBytes {
            id,
            customer,
            total_minor,
            held_until_us,
            changed_us,
            currency,
            state,
            delivery,
            payment,
            states,
            lines,
            attempts,
            refunds,
            authorised,
            captured,
            refunded,
            postings,
            zero
        });
        let attempt = layout!(AttemptBytes {
            zeros,
            reference,
            decline,
            minor,
            capture_minor,
            started_us,
            number,
            state,
            capture,
            zero
        });
        let parts = [
            order,
            layout!(LineBytes { sku, unit_minor, quantity, zero }),
            layout!(StateBytes { at_us, state, zero }),
            attempt,
            layout!(RefundBytes { minor, started_us, number, state, flags, zero }),
            layout!(PostingBytes { minor, at_us, from, to, zero }),
        ];
        for (number, part) in parts.into_iter().enumerate() {
            assert_layout("Body of an order", number, part);
        }
    }
}
