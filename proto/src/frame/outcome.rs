//! Answers in a frame of [`Kind::Outcomes`].
//!
//! Each entry has 24 bytes in front of what it says:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the entry, these bytes included; a multiple of 8 |
//! | 4 | 1 | 1 accepted, 2 refused, 3 rejected, 4 an order, 5 stock |
//! | 5 | 1 | 1 if a retry got the first acceptance again |
//! | 6 | 2 | number of the receipt or the refusal |
//! | 8 | 8 | tag of the command |
//! | 16 | 8 | position in the log that made it durable |

use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::command::entry;
use super::header::{Frame, FrameError, Kind, pad, unpad};
use super::number::Number;
use super::order;
use super::refusal;
use super::text::WireText;
use crate::id::OrderId;
use crate::money::{Currency, Money};
use crate::receipt::{Outcome, Receipt, Reply};
use crate::row::StockRow;
use crate::slot::Lsn;

const ACCEPTED: u8 = 1;
const REFUSED: u8 = 2;
const REJECTED: u8 = 3;
const ORDER: u8 = 4;
const STOCK: u8 = 5;

/// Most bytes of a rejection's texts.
const REJECTED_BYTES_MAX: usize = 4 << 10;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OutcomeBytes {
    length: U32,
    kind: u8,
    replayed: u8,
    code: U16,
    tag: U64,
    lsn: U64,
}

/// Behind the head of most receipts; each leaves zero what it has no use for.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ReceiptBytes {
    order: U128,
    minor: I64,
    until_us: U64,
    currency: [u8; 3],
    state: u8,
    payment: u8,
    zero: u8,
    number: U16,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct VersionBytes {
    on_hand: I64,
    held: I64,
    version: U64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StockBytes {
    sku: WireText<39>,
    on_hand: I64,
    held: I64,
    sold: I64,
    received: I64,
    version: U64,
    price_minor: I64,
    hold_us: U64,
    currency: [u8; 3],
    flags: u8,
    limit_per_customer: U32,
    backorder: U32,
    zero: [u8; 4],
}

const LIMIT_RETURNS: u8 = 1;
const ACTIVE: u8 = 2;

/// What was not even asked of the engine: the caller may not, or the edge failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejected {
    /// The stable name, as on every edge.
    pub reason: String,
    /// The field, what was expected, what was found.
    pub message: String,
}

/// What a command was answered with.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// By the engine.
    Reply(Reply),
    /// By the edge. Nothing was done.
    Rejected(Rejected),
}

/// One answer.
#[derive(Clone, PartialEq, Debug)]
pub struct OutcomeEntry {
    /// The tag of the command.
    pub tag: u64,
    /// What it was answered with.
    pub answer: Answer,
}

/// The answers of a frame.
#[derive(Clone, Debug)]
pub struct Outcomes<'a> {
    rest: &'a [u8],
    count: u16,
    index: usize,
}

impl<'a> Outcomes<'a> {
    /// The answers of a frame.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        match frame.kind {
            Kind::Outcomes => Ok(Self { rest: frame.body, count: frame.count, index: 0 }),
            found => Err(FrameError::UnexpectedKind { expected: "Outcomes", found }),
        }
    }
}

impl Iterator for Outcomes<'_> {
    type Item = Result<OutcomeEntry, FrameError>;

    /// The next answer. An error is the last one: the connection is of no use any more.
    fn next(&mut self) -> Option<Self::Item> {
        let found = self.index;
        if self.rest.is_empty() {
            let missing = std::mem::replace(&mut self.index, self.count.into()) < self.count.into();
            return missing.then_some(Err(FrameError::Count { expected: self.count, found }));
        }
        let read = entry(self.rest, found, size_of::<OutcomeBytes>()).and_then(|(whole, rest)| {
            self.rest = rest;
            self.index += 1;
            answer(whole)
        });
        let read = match read {
            Ok(_) if self.index > self.count.into() => {
                Err(FrameError::Count { expected: self.count, found: self.index })
            }
            read => read,
        };
        if read.is_err() {
            (self.rest, self.index) = (&[], self.count.into());
        }
        Some(read)
    }
}

fn answer(whole: &[u8]) -> Result<OutcomeEntry, FrameError> {
    let kind = FrameError::Field { field: "outcome", expected: "one of version 1" };
    let (head, body) = OutcomeBytes::ref_from_prefix(whole).map_err(|_| kind)?;
    check_head(head)?;
    let outcome = match head.kind {
        ACCEPTED => Outcome::Accepted(receipt(head.code.get(), body)?),
        REFUSED => Outcome::Refused(refusal::read(head.code.get(), body)?),
        REJECTED => {
            return Ok(OutcomeEntry { tag: head.tag.get(), answer: Answer::Rejected(rejected(body)?) });
        }
        ORDER => Outcome::Order(Box::new(order::read(body)?)),
        STOCK => Outcome::Stock(Box::new(stock(body)?)),
        _ => return Err(kind),
    };
    let reply = Reply { outcome, replayed: head.replayed != 0, lsn: Lsn(head.lsn.get()) };
    Ok(OutcomeEntry { tag: head.tag.get(), answer: Answer::Reply(reply) })
}

/// What an entry says in its head alone: each number stands where it means something, else there is zero.
fn check_head(head: &OutcomeBytes) -> Result<(), FrameError> {
    if head.replayed > 1 {
        return Err(FrameError::Field { field: "replayed", expected: "0 or 1" });
    }
    if head.code.get() != 0 && matches!(head.kind, REJECTED | ORDER | STOCK) {
        return Err(FrameError::NotZero { field: "number of an outcome", found: head.code.get().into() });
    }
    if head.kind == REJECTED && (head.replayed != 0 || head.lsn.get() != 0) {
        return Err(FrameError::Field { field: "rejected", expected: "no position in the log" });
    }
    Ok(())
}

fn rejected(body: &[u8]) -> Result<Rejected, FrameError> {
    let wrong = FrameError::Field { field: "rejected", expected: "reason, zero byte, message" };
    let text = std::str::from_utf8(body).map_err(|_| wrong)?;
    let (reason, message) = text.split_once('\0').ok_or(wrong)?;
    let message = message.trim_end_matches('\0');
    unpad(body, reason.len() + 1 + message.len()).ok_or(wrong)?;
    if message.len() > REJECTED_BYTES_MAX {
        return Err(FrameError::Field { field: "rejected", expected: "a message of at most 4096 bytes" });
    }
    Ok(Rejected { reason: reason.into(), message: message.into() })
}

fn receipt(code: u16, body: &[u8]) -> Result<Receipt, FrameError> {
    let wrong = FrameError::Field { field: "receipt", expected: "one of version 1, with its body" };
    if let Ok(bytes) = VersionBytes::ref_from_bytes(body) {
        let version = bytes.version.get();
        return match code {
            7 => Ok(Receipt::Stock { on_hand: bytes.on_hand.get(), held: bytes.held.get(), version }),
            9 if bytes.on_hand.get() == 0 && bytes.held.get() == 0 => Ok(Receipt::Offset { lsn: version }),
            8 if bytes.on_hand.get() == 0 && bytes.held.get() == 0 => Ok(Receipt::Product { version }),
            _ => Err(wrong),
        };
    }
    let bytes = ReceiptBytes::ref_from_bytes(body).map_err(|_| wrong)?;
    let (order, number) = (OrderId(bytes.order.get()), bytes.number.get());
    let amount = Money::new(bytes.minor.get(), Currency(bytes.currency));
    let read = match code {
        1 => Some(Receipt::Order { order, total: amount, held_until_us: bytes.until_us.get() }),
        2 => Number::named(bytes.state).map(|state| Receipt::OrderMoved { order, state }),
        3 => Some(Receipt::AttemptStarted { order, attempt: number, amount }),
        4 => Number::named(bytes.state).zip(Number::named(bytes.payment)).map(
            |(order_state, payment_state)| Receipt::AttemptSettled {
                order,
                attempt: number,
                order_state,
                payment_state,
            },
        ),
        5 => Some(Receipt::CaptureStarted { order, attempt: number, amount }),
        6 => Number::named(bytes.state).map(|state| Receipt::Refund { order, refund: number, amount, state }),
        _ => None,
    };
    // What a receipt does not say is zero.
    read.filter(|receipt| receipt_bytes(receipt).is_some_and(|own| own.as_bytes() == body)).ok_or(wrong)
}

pub(super) fn stock(body: &[u8]) -> Result<StockRow, FrameError> {
    let (expected, found) = (size_of::<StockBytes>(), body.len());
    let bytes = StockBytes::ref_from_bytes(body).map_err(|_| FrameError::BodyLength {
        field: "stock",
        expected,
        found,
    })?;
    let sku = bytes.sku.text().ok_or(FrameError::Field { field: "sku", expected: "UTF-8" })?;
    let row = StockRow {
        sku,
        on_hand: bytes.on_hand.get(),
        held: bytes.held.get(),
        sold: bytes.sold.get(),
        received: bytes.received.get(),
        version: bytes.version.get(),
        price: Money::new(bytes.price_minor.get(), Currency(bytes.currency)),
        limit_per_customer: bytes.limit_per_customer.get(),
        limit_returns: bytes.flags & LIMIT_RETURNS != 0,
        backorder: bytes.backorder.get(),
        hold_us: bytes.hold_us.get(),
        active: bytes.flags & ACTIVE != 0,
    };
    let clean = bytes.flags & !(LIMIT_RETURNS | ACTIVE) == 0 && bytes.zero == [0; 4];
    clean
        .then_some(row)
        .ok_or(FrameError::Field { field: "stock", expected: "flags of version 1, then zeros" })
}

/// Appends the answer of the engine as an entry of an open frame. Answers to what no operation asks for
/// (documents, names, positions) are refused to be written: false, and nothing is.
pub fn put_reply(out: &mut Vec<u8>, tag: u64, reply: &Reply) -> bool {
    let (kind, code) = match &reply.outcome {
        Outcome::Accepted(receipt) => match receipt_code(receipt) {
            Some(code) => (ACCEPTED, code),
            None => return false,
        },
        Outcome::Refused(refusal) => (REFUSED, refusal::code(refusal)),
        Outcome::Order(_) => (ORDER, 0),
        Outcome::Stock(_) => (STOCK, 0),
        Outcome::Document(_) | Outcome::Name(_) | Outcome::Offset(_) | Outcome::Groups(_) => return false,
    };
    let head = OutcomeBytes {
        length: U32::new(0),
        kind,
        replayed: reply.replayed.into(),
        code: U16::new(code),
        tag: U64::new(tag),
        lsn: U64::new(reply.lsn.0),
    };
    put(out, head, |out| match &reply.outcome {
        Outcome::Accepted(receipt) => put_receipt(out, receipt),
        Outcome::Refused(refusal) => refusal::put(out, refusal),
        Outcome::Order(row) => order::put(out, row),
        Outcome::Stock(row) => out.extend_from_slice(stock_bytes(row).as_bytes()),
        Outcome::Document(_) | Outcome::Name(_) | Outcome::Offset(_) | Outcome::Groups(_) => {}
    });
    true
}

/// Appends what the edge says itself. Texts that are too long are cut.
pub fn put_rejected(out: &mut Vec<u8>, tag: u64, reason: &str, message: &str) {
    let head = OutcomeBytes {
        length: U32::new(0),
        kind: REJECTED,
        replayed: 0,
        code: U16::new(0),
        tag: U64::new(tag),
        lsn: U64::new(0),
    };
    let message = &message[..message.floor_char_boundary(REJECTED_BYTES_MAX)];
    put(out, head, |out| {
        [reason, "\0", message].iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    });
}

fn put(out: &mut Vec<u8>, head: OutcomeBytes, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(head.as_bytes());
    body(out);
    pad(out, at);
    let length = (out.len() - at) as u32;
    out[at..at + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
}

fn receipt_code(receipt: &Receipt) -> Option<u16> {
    Some(match receipt {
        Receipt::Order { .. } => 1,
        Receipt::OrderMoved { .. } => 2,
        Receipt::AttemptStarted { .. } => 3,
        Receipt::AttemptSettled { .. } => 4,
        Receipt::CaptureStarted { .. } => 5,
        Receipt::Refund { .. } => 6,
        Receipt::Stock { .. } => 7,
        Receipt::Product { .. } => 8,
        Receipt::Offset { .. } => 9,
        Receipt::Document { .. } | Receipt::Name { .. } | Receipt::Rejected { .. } => return None,
    })
}

fn put_receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    let (on_hand, held, version) = match *receipt {
        Receipt::Stock { on_hand, held, version } => (on_hand, held, version),
        Receipt::Product { version } => (0, 0, version),
        Receipt::Offset { lsn } => (0, 0, lsn),
        _ => {
            return out.extend_from_slice(receipt_bytes(receipt).as_ref().map_or(&[], IntoBytes::as_bytes));
        }
    };
    let versions =
        VersionBytes { on_hand: I64::new(on_hand), held: I64::new(held), version: U64::new(version) };
    out.extend_from_slice(versions.as_bytes());
}

/// The body of receipts 1 to 6; `None` of all others.
fn receipt_bytes(receipt: &Receipt) -> Option<ReceiptBytes> {
    let of = |order: OrderId| ReceiptBytes {
        order: U128::new(order.0),
        minor: I64::new(0),
        until_us: U64::new(0),
        currency: [0; 3],
        state: 0,
        payment: 0,
        zero: 0,
        number: U16::new(0),
    };
    let with = |order, amount: Money, number| ReceiptBytes {
        minor: I64::new(amount.minor),
        currency: amount.currency.0,
        number: U16::new(number),
        ..of(order)
    };
    Some(match *receipt {
        Receipt::Order { order, total, held_until_us } => {
            ReceiptBytes { until_us: U64::new(held_until_us), ..with(order, total, 0) }
        }
        Receipt::OrderMoved { order, state } => ReceiptBytes { state: state.number(), ..of(order) },
        Receipt::AttemptStarted { order, attempt, amount }
        | Receipt::CaptureStarted { order, attempt, amount } => with(order, amount, attempt),
        Receipt::AttemptSettled { order, attempt, order_state, payment_state } => ReceiptBytes {
            state: order_state.number(),
            payment: payment_state.number(),
            number: U16::new(attempt),
            ..of(order)
        },
        Receipt::Refund { order, refund, amount, state } => {
            ReceiptBytes { state: state.number(), ..with(order, amount, refund) }
        }
        // They have another body, or nothing asks for them here.
        Receipt::Stock { .. }
        | Receipt::Product { .. }
        | Receipt::Document { .. }
        | Receipt::Name { .. }
        | Receipt::Offset { .. }
        | Receipt::Rejected { .. } => return None,
    })
}

/// Appends stock.
pub(super) fn put_stock(out: &mut Vec<u8>, row: &StockRow) {
    out.extend_from_slice(stock_bytes(row).as_bytes());
}

fn stock_bytes(row: &StockRow) -> StockBytes {
    let flag = |bit, set| if set { bit } else { 0 };
    StockBytes {
        sku: (&row.sku).into(),
        on_hand: I64::new(row.on_hand),
        held: I64::new(row.held),
        sold: I64::new(row.sold),
        received: I64::new(row.received),
        version: U64::new(row.version),
        price_minor: I64::new(row.price.minor),
        hold_us: U64::new(row.hold_us),
        currency: row.price.currency.0,
        flags: flag(LIMIT_RETURNS, row.limit_returns) | flag(ACTIVE, row.active),
        limit_per_customer: U32::new(row.limit_per_customer),
        backorder: U32::new(row.backorder),
        zero: [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{assert_layout, layout, table};
    use super::*;

    #[test]
    fn the_document_has_the_layouts() {
        let receipt =
            layout!(ReceiptBytes { order, minor, until_us, currency, state, payment, zero, number });
        assert_layout("Body of receipts 1 to 6", 0, receipt);
        assert_layout("Body of receipts 7 to 9", 0, layout!(VersionBytes { on_hand, held, version }));
        let stock = layout!(StockBytes {
            sku,
            on_hand,
            held,
            sold,
            received,
            version,
            price_minor,
            hold_us,
            currency,
            flags,
            limit_per_customer,
            backorder,
            zero
        });
        assert_layout("Body of stock", 0, stock);
    }

    #[test]
    fn the_document_has_the_receipts() {
        use crate::payment::{PaymentState, RefundState};
        use crate::row::OrderState;
        let (order, amount) = (OrderId(1), Money::new(1, Currency::EUR));
        let (order_state, payment_state) = (OrderState::Paid, PaymentState::Succeeded);
        let known: Vec<_> = [
            Receipt::Order { order, total: amount, held_until_us: 0 },
            Receipt::OrderMoved { order, state: order_state },
            Receipt::AttemptStarted { order, attempt: 1, amount },
            Receipt::AttemptSettled { order, attempt: 1, order_state, payment_state },
            Receipt::CaptureStarted { order, attempt: 1, amount },
            Receipt::Refund { order, refund: 1, amount, state: RefundState::Pending },
            Receipt::Stock { on_hand: 0, held: 0, version: 1 },
            Receipt::Product { version: 1 },
            Receipt::Offset { lsn: 1 },
        ]
        .iter()
        .map(|receipt| {
            let name = format!("{receipt:?}").split(' ').next().unwrap_or_default().to_owned();
            (receipt_code(receipt).unwrap().to_string(), name)
        })
        .collect();
        let rows = table("Outcomes", 1).into_iter().map(|mut row| (row[0].clone(), row.swap_remove(1)));
        assert_eq!(rows.collect::<Vec<_>>(), known);
    }
}
