//! Refusals by number.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | index of the line; `ffffffff` = none |
//! | 4 | 4 | length of the text |
//! | 8 | 16 | first number: two's complement, or an order's id |
//! | 24 | 8 | second number |
//! | 32 | | the text, zeros up to a multiple of 8 |
//!
//! Which refusal has which numbers stands in `docs/wire.md`. Only [`Refusal::Invalid`] has a text: the field,
//! a zero byte, what was expected.

use zerocopy::little_endian::{I64, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{FrameError, unpad};
use super::number::Number;
use crate::id::OrderId;
use crate::known::keep;
use crate::refusal::{Reason, Refusal};

const NO_LINE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RefusalBytes {
    line: U32,
    text_length: U32,
    first: U128,
    second: I64,
}

/// A refusal as numbers.
#[derive(PartialEq, Eq)]
struct Numbers {
    code: u16,
    line: u32,
    first: i128,
    second: i64,
}

impl From<u16> for Numbers {
    fn from(code: u16) -> Self {
        Self { code, line: NO_LINE, first: 0, second: 0 }
    }
}

impl Numbers {
    fn line(self, line: u16) -> Self {
        Self { line: line.into(), ..self }
    }

    fn first(self, first: impl Into<i128>) -> Self {
        Self { first: first.into(), ..self }
    }

    fn second(self, second: impl Into<i64>) -> Self {
        Self { second: second.into(), ..self }
    }
}

fn numbers(refusal: &Refusal) -> Numbers {
    let code = Numbers::from;
    match *refusal {
        Refusal::DeadlineExceeded => code(1),
        Refusal::Overloaded => code(2),
        Refusal::Stopped => code(3),
        Refusal::Unreachable => code(4),
        Refusal::KeyReused => code(5),
        Refusal::KeyInProgress => code(6),
        Refusal::NoLines => code(7),
        Refusal::TooManyLines { found } => code(8).first(found as i64),
        Refusal::BadQuantity { line, found } => code(9).line(line).first(found),
        Refusal::DuplicateSku { line, first } => code(10).line(line).first(first),
        Refusal::UnknownSku { line } => code(11).line(line),
        Refusal::Inactive { line } => code(12).line(line),
        Refusal::MixedCurrencies { line } => code(13).line(line),
        Refusal::PriceChanged { line, price, ceiling } => code(14).line(line).first(price).second(ceiling),
        Refusal::AmountOverflow { line } => code(15).line(line),
        Refusal::OutOfStock { line, asked, available } => code(16).line(line).first(asked).second(available),
        Refusal::LimitExceeded { line, limit, bought } => code(17).line(line).first(limit).second(bought),
        Refusal::Invalid { .. } => code(18),
        Refusal::UnknownOrder { order } => code(19).first(order.0 as i128),
        Refusal::UnknownAttempt { attempt } => code(20).first(attempt),
        Refusal::UnknownRefund { refund } => code(21).first(refund),
        Refusal::UnknownProduct => code(22),
        Refusal::NotFound => code(23),
        Refusal::IllegalTransition { from, to } => code(24).first(from.number()).second(to.number()),
        Refusal::BeingCancelled { refund } => code(25).first(refund),
        Refusal::IllegalPayment { state } => code(26).first(state.number()),
        Refusal::HoldResolved { by } => code(27).first(by.number()),
        Refusal::CaptureAboveAuthorised { asked, left } => code(28).first(asked).second(left),
        Refusal::RefundAboveCaptured { asked, left } => code(29).first(asked).second(left),
        // Versions count changes of one row: they stay far below 2^63.
        Refusal::VersionMismatch { expected, found } => code(30).first(expected).second(found as i64),
        Refusal::BackorderBelowOwed { asked, owed } => code(31).first(asked).second(owed),
        Refusal::BelowHeld { on_hand, held } => code(32).first(on_hand).second(held),
        Refusal::NameTaken => code(33),
        Refusal::OffsetOutOfRange { first, found } => code(34).first(first).second(found as i64),
        Refusal::StaleGeneration { expected, found } => code(35).first(expected).second(found as i64),
        Refusal::NotLeader { leader } => code(36).first(leader),
    }
}

fn refusal(numbers: &Numbers, text: &str) -> Option<Refusal> {
    let line = || u16::try_from(numbers.line).ok();
    let (first, second) = (numbers.first, numbers.second);
    let order = OrderId(first as u128);
    Some(match numbers.code {
        1 => Refusal::DeadlineExceeded,
        2 => Refusal::Overloaded,
        3 => Refusal::Stopped,
        4 => Refusal::Unreachable,
        5 => Refusal::KeyReused,
        6 => Refusal::KeyInProgress,
        7 => Refusal::NoLines,
        8 => Refusal::TooManyLines { found: first.try_into().ok()? },
        9 => Refusal::BadQuantity { line: line()?, found: first.try_into().ok()? },
        10 => Refusal::DuplicateSku { line: line()?, first: first.try_into().ok()? },
        11 => Refusal::UnknownSku { line: line()? },
        12 => Refusal::Inactive { line: line()? },
        13 => Refusal::MixedCurrencies { line: line()? },
        14 => Refusal::PriceChanged { line: line()?, price: first.try_into().ok()?, ceiling: second },
        15 => Refusal::AmountOverflow { line: line()? },
        16 => Refusal::OutOfStock { line: line()?, asked: first.try_into().ok()?, available: second },
        17 => {
            let (limit, bought) = (first.try_into().ok()?, second.try_into().ok()?);
            Refusal::LimitExceeded { line: line()?, limit, bought }
        }
        18 => {
            let (field, expected) = text.split_once('\0')?;
            Refusal::Invalid { field: keep(field), expected: keep(expected) }
        }
        19 => Refusal::UnknownOrder { order },
        20 => Refusal::UnknownAttempt { attempt: first.try_into().ok()? },
        21 => Refusal::UnknownRefund { refund: first.try_into().ok()? },
        22 => Refusal::UnknownProduct,
        23 => Refusal::NotFound,
        24 => Refusal::IllegalTransition { from: named(first)?, to: named(second.into())? },
        25 => Refusal::BeingCancelled { refund: first.try_into().ok()? },
        26 => Refusal::IllegalPayment { state: named(first)? },
        27 => Refusal::HoldResolved { by: named(first)? },
        28 => Refusal::CaptureAboveAuthorised { asked: first.try_into().ok()?, left: second },
        29 => Refusal::RefundAboveCaptured { asked: first.try_into().ok()?, left: second },
        30 => {
            let (expected, found) = (first.try_into().ok()?, second.try_into().ok()?);
            Refusal::VersionMismatch { expected, found }
        }
        31 => Refusal::BackorderBelowOwed { asked: first.try_into().ok()?, owed: second },
        32 => Refusal::BelowHeld { on_hand: first.try_into().ok()?, held: second },
        33 => Refusal::NameTaken,
        34 => Refusal::OffsetOutOfRange { first: first.try_into().ok()?, found: second as u64 },
        35 => Refusal::StaleGeneration { expected: first.try_into().ok()?, found: second as u64 },
        36 => Refusal::NotLeader { leader: first.try_into().ok()? },
        _ => return None,
    })
}

fn named<T: Number>(number: i128) -> Option<T> {
    T::named(u8::try_from(number).ok()?)
}

/// The stable name of the refusal with this number.
pub(super) fn reason(code: u16) -> Option<Reason> {
    // Numbers that every refusal can have.
    let numbers = Numbers { code, line: 0, first: 1, second: 1 };
    refusal(&numbers, "\0").map(|refusal| refusal.reason())
}

/// Its number in the head of an entry.
pub(super) fn code(refusal: &Refusal) -> u16 {
    numbers(refusal).code
}

/// Appends what stands behind the number.
pub(super) fn put(out: &mut Vec<u8>, refusal: &Refusal) {
    let Numbers { line, first, second, .. } = numbers(refusal);
    let texts = match refusal {
        Refusal::Invalid { field, expected } => [field, "\0", expected],
        _ => [""; 3],
    };
    let body = RefusalBytes {
        line: U32::new(line),
        text_length: U32::new(texts.iter().map(|text| text.len() as u32).sum()),
        first: U128::new(first as u128),
        second: I64::new(second),
    };
    out.extend_from_slice(body.as_bytes());
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

/// Reads what stands behind a number.
pub(super) fn read(code: u16, body: &[u8]) -> Result<Refusal, FrameError> {
    let wrong = FrameError::Field { field: "refusal", expected: "one of version 1, with its numbers" };
    let (bytes, rest) = RefusalBytes::ref_from_prefix(body).map_err(|_| wrong)?;
    let (line, first) = (bytes.line.get(), bytes.first.get() as i128);
    let numbers = Numbers { code, line, first, second: bytes.second.get() };
    let text = unpad(rest, bytes.text_length.get() as usize).and_then(|text| std::str::from_utf8(text).ok());
    let text = text.ok_or(wrong)?;
    let read = refusal(&numbers, text).ok_or(wrong)?;
    // A number that it does not have is none, or zero, and only one has a text.
    let known =
        numbers == self::numbers(&read) && (text.is_empty() || matches!(read, Refusal::Invalid { .. }));
    known.then_some(read).ok_or(wrong)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::header::pad;
    use super::*;
    use crate::payment::PaymentState;
    use crate::row::{HoldState, OrderState};

    /// One of each, with numbers at their limits.
    pub(in super::super) fn every() -> Vec<Refusal> {
        let (line, most) = (9_999, i64::MAX);
        vec![
            Refusal::DeadlineExceeded,
            Refusal::Overloaded,
            Refusal::Stopped,
            Refusal::Unreachable,
            Refusal::KeyReused,
            Refusal::KeyInProgress,
            Refusal::NoLines,
            Refusal::TooManyLines { found: 10_001 },
            Refusal::BadQuantity { line, found: i64::MIN },
            Refusal::DuplicateSku { line, first: 0 },
            Refusal::UnknownSku { line },
            Refusal::Inactive { line: u16::MAX },
            Refusal::MixedCurrencies { line },
            Refusal::PriceChanged { line, price: most, ceiling: i64::MIN },
            Refusal::AmountOverflow { line },
            Refusal::OutOfStock { line, asked: u32::MAX, available: i64::MIN },
            Refusal::LimitExceeded { line, limit: u32::MAX, bought: u32::MAX },
            Refusal::Invalid { field: "price.currency", expected: "three capital letters" },
            Refusal::UnknownOrder { order: OrderId(u128::MAX) },
            Refusal::UnknownAttempt { attempt: u16::MAX },
            Refusal::UnknownRefund { refund: 1 },
            Refusal::UnknownProduct,
            Refusal::NotFound,
            Refusal::IllegalTransition { from: OrderState::Paid, to: OrderState::Refunded },
            Refusal::BeingCancelled { refund: u16::MAX },
            Refusal::IllegalPayment { state: PaymentState::Canceled },
            Refusal::HoldResolved { by: HoldState::Returned },
            Refusal::CaptureAboveAuthorised { asked: most, left: 0 },
            Refusal::RefundAboveCaptured { asked: most, left: -1 },
            Refusal::VersionMismatch { expected: u64::MAX, found: 7 },
            Refusal::BackorderBelowOwed { asked: 0, owed: most },
            Refusal::BelowHeld { on_hand: i64::MIN, held: most },
            Refusal::NameTaken,
            Refusal::OffsetOutOfRange { first: u64::MAX, found: 7 },
            Refusal::StaleGeneration { expected: u64::MAX, found: 7 },
            Refusal::NotLeader { leader: u64::MAX },
        ]
    }

    #[test]
    fn every_refusal_comes_over_under_a_number_of_its_own() {
        let mut codes = Vec::new();
        for one in every() {
            let mut body = Vec::new();
            put(&mut body, &one);
            pad(&mut body, 0);
            assert_eq!(read(code(&one), &body), Ok(one), "{one}");
            assert_eq!(reason(code(&one)), Some(one.reason()));
            codes.push(code(&one));
        }
        assert_eq!(codes, (1..=36).collect::<Vec<_>>(), "numbers stand for good, in the order of the list");
    }

    /// What the row says of a refusal is what stands in its numbers: a number by the name of its field.
    #[test]
    fn the_document_has_every_refusal_with_its_numbers() {
        use super::super::document::table;
        let name = |cell: &str| cell.split('`').nth(1).map(str::to_owned);
        let rows = table("Body of a refusal", 1);
        assert_eq!(rows.len(), every().len());
        for (one, row) in every().iter().zip(rows) {
            let Numbers { code, line, .. } = numbers(one);
            assert_eq!(
                (row[0].as_str(), name(&row[1])),
                (code.to_string().as_str(), Some(one.reason().0.into()))
            );
            assert_eq!(row[2] == "yes", line != NO_LINE, "{one:?}");
            let shown = format!("{one:?}");
            let fields = shown.split_once(" { ").map_or("", |(_, fields)| fields);
            let fields = fields.split(", ").filter_map(|field| field.split_once(": "));
            let told: Vec<&str> = fields.map(|(field, _)| field).filter(|field| *field != "line").collect();
            let texts = matches!(one, Refusal::Invalid { .. });
            let cells: Vec<String> = row[3..].iter().filter_map(|cell| name(cell)).collect();
            assert_eq!(cells, if texts { vec![] } else { told }, "{one:?}");
        }
    }

    #[test]
    fn what_is_no_refusal_is_an_error() {
        let mut body = Vec::new();
        put(&mut body, &Refusal::UnknownSku { line: 3 });
        assert!(read(0, &body).is_err(), "no refusal has this number");
        assert!(read(37, &body).is_err(), "nor this one");
        assert!(read(11, &body[..31]).is_err(), "a body that is cut");
        body[..4].copy_from_slice(&NO_LINE.to_le_bytes());
        assert!(read(11, &body).is_err(), "a line is missing");
        assert!(read(24, &body).is_err(), "0 is no state");
        body[4..8].copy_from_slice(&1u32.to_le_bytes());
        assert!(read(22, &body).is_err(), "a text that is not there");
    }
}
