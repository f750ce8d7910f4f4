//! Lines that are looked up in what is published, and what is said of each.
//!
//! A frame of [`Kind::Validate`] has a tag of 8 bytes and then as many lines as it counts, 48 bytes each:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 40 | SKU |
//! | 40 | 8 | quantity |
//!
//! The frame's argument is how stale what the answer rests on may be at most, in ms; 0 = as it comes.
//!
//! A frame of [`Kind::Verdicts`] has the tag, and for each line in its order 24 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | units available, 0 if fewer |
//! | 8 | 8 | price of one unit in minor units |
//! | 16 | 3 | currency; zeros if the SKU is unknown |
//! | 19 | 1 | zero |
//! | 20 | 2 | number of the refusal that an order of the line would meet; 0 = none |
//! | 22 | 2 | zero |

use zerocopy::little_endian::{I64, U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{Frame, FrameError, Kind};
use super::refusal;
use super::text::WireText;
use crate::money::{Currency, Money};
use crate::refusal::{Reason, Refusal};
use crate::text::Sku;

/// One line, in place.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LineView {
    sku: WireText<39>,
    quantity: I64,
}

impl LineView {
    /// What is asked for; `None` if it is no text.
    pub fn sku(&self) -> Option<Sku> {
        self.sku.text()
    }

    /// How many.
    pub fn quantity(&self) -> i64 {
        self.quantity.get()
    }
}

/// The lines of a frame, in place.
#[derive(Clone, Copy, Debug)]
pub struct ValidateView<'a> {
    /// What the answer brings back.
    pub tag: u64,
    /// How stale what the answer rests on may be at most, in ms; 0 = as it comes.
    pub stale_ms_max: u32,
    /// The lines.
    pub lines: &'a [LineView],
}

impl<'a> ValidateView<'a> {
    /// The lines of a frame.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let (tag, lines) = tagged(frame, Kind::Validate, "Validate")?;
        Ok(Self { tag, stale_ms_max: frame.argument, lines })
    }
}

/// What is said of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Verdict {
    available: I64,
    unit_minor: I64,
    currency: [u8; 3],
    zero: u8,
    refusal: U16,
    zero_too: [u8; 2],
}

impl Verdict {
    /// Of a line that would be refused for this reason or accepted, and of its SKU if there is one.
    pub fn new(refused: Option<&Refusal>, stock: Option<(i64, Money)>) -> Self {
        let (available, price) = stock.map_or((0, None), |(available, price)| (available, Some(price)));
        Self {
            available: I64::new(available.max(0)),
            unit_minor: I64::new(price.map_or(0, |price| price.minor)),
            currency: price.map_or([0; 3], |price| price.currency.0),
            zero: 0,
            refusal: U16::new(refused.map_or(0, refusal::code)),
            zero_too: [0; 2],
        }
    }

    /// True if an order of the line would be accepted.
    pub fn valid(&self) -> bool {
        self.refusal.get() == 0
    }

    /// The number of the refusal that an order of the line would meet; 0 = none.
    pub fn refusal(&self) -> u16 {
        self.refusal.get()
    }

    /// The stable name of that refusal; `None` if there is none.
    pub fn reason(&self) -> Option<Reason> {
        refusal::reason(self.refusal())
    }

    /// Units available.
    pub fn available(&self) -> i64 {
        self.available.get()
    }

    /// The price of one unit; `None` if the SKU is unknown.
    pub fn price(&self) -> Option<Money> {
        let known = self.currency != [0; 3];
        known.then(|| Money::new(self.unit_minor.get(), Currency(self.currency)))
    }
}

/// The verdicts of a frame, in place.
#[derive(Clone, Copy, Debug)]
pub struct Verdicts<'a> {
    /// The tag of the lines.
    pub tag: u64,
    /// One for each line.
    pub verdicts: &'a [Verdict],
}

impl<'a> Verdicts<'a> {
    /// The verdicts of a frame.
    pub fn of(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let (tag, verdicts) = tagged(frame, Kind::Verdicts, "Verdicts")?;
        Ok(Self { tag, verdicts })
    }
}

/// A tag and as many parts as the frame counts.
pub(super) fn tagged<'a, T>(
    frame: &Frame<'a>,
    kind: Kind,
    name: &'static str,
) -> Result<(u64, &'a [T]), FrameError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    if frame.kind != kind {
        return Err(FrameError::UnexpectedKind { expected: name, found: frame.kind });
    }
    let count = usize::from(frame.count);
    let expected = size_of::<U64>() + count * size_of::<T>();
    let wrong = FrameError::BodyLength { field: name, expected, found: frame.body.len() };
    let (tag, rest) = U64::ref_from_prefix(frame.body).map_err(|_| wrong)?;
    let parts = <[T]>::ref_from_bytes_with_elems(rest, count).map_err(|_| wrong)?;
    Ok((tag.get(), parts))
}

/// Appends a line to an open frame, behind its tag.
pub fn put_line(out: &mut Vec<u8>, sku: &Sku, quantity: i64) {
    out.extend_from_slice(LineView { sku: sku.into(), quantity: I64::new(quantity) }.as_bytes());
}

/// Appends a verdict to an open frame, behind its tag.
pub fn put_verdict(out: &mut Vec<u8>, verdict: &Verdict) {
    out.extend_from_slice(verdict.as_bytes());
}
