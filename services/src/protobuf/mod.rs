//! Fields of Protobuf messages, read and written where they lie: for the few messages that nearly all calls are.
//!
//! What is not of the plain form is [`Odd`], and for the generated code to read and to judge. What is taken is what that reads:
//! unit tests and fuzzers (`services/fuzz`) hold the two against each other, so nothing here knows more of the services.

mod calls;
mod lines;
mod order;

use onrush_proto::Money;
use prost::bytes::BufMut;

pub(crate) use calls::{Asked, CALLS_MAX, Order, read as read_calls};
pub(crate) use lines::{Line, details_sku};
pub use order::REQUEST_ID_BYTES_MAX;
pub(crate) use order::{PlainOrder, RequestId};

/// Bytes that the generated code has to look at: wrong ones, or right ones that nobody writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Odd;

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    /// A number, a truth or a choice.
    Varint(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As a text.
    pub(crate) fn text(self) -> Result<&'a str, Odd> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Odd)
    }

    /// As bytes.
    pub(crate) fn bytes(self) -> Result<&'a [u8], Odd> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) => Err(Odd),
        }
    }

    /// As a number that is not negative.
    pub(crate) fn number(self) -> Result<u64, Odd> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Bytes(_) => Err(Odd),
        }
    }

    /// The same where the field has a sign.
    pub(crate) fn signed(self) -> Result<i64, Odd> {
        i64::try_from(self.number()?).map_err(|_| Odd)
    }
}

/// Puts a field in its place, that of its number. There is none of another number, and none twice.
pub(crate) fn once<'a, const N: usize>(
    (number, value): (u64, Value<'a>),
    places: [&mut Option<Value<'a>>; N],
) -> Result<(), Odd> {
    let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)).ok_or(Odd)?;
    let place = places.into_iter().nth(at).ok_or(Odd)?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Odd),
    }
}

/// The fields of a message, in the order in which they lie, each under its number.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those of a message.
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self) -> Result<(u64, Value<'a>), Odd> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Odd)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(Odd)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return Err(Odd),
        };
        Ok((key >> 3, value))
    }

    /// Up to nine bytes. Ten are those of a negative number, or wrong.
    fn varint(&mut self) -> Result<u64, Odd> {
        let mut number = 0;
        for (at, byte) in self.0.iter().take(9).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(Odd)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Odd>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Bytes of a field of this number up to 15 that holds a number; none if it is zero.
pub(crate) fn number_len(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number) }
}

/// Bytes of one that holds so many bytes.
pub(crate) fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Bytes of one that holds a text; none if it is empty.
pub(crate) fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { bytes_len(text.len()) }
}

/// Bytes of an amount, as a `Money` says it.
pub(crate) fn money_len(amount: Money) -> usize {
    number_len(amount.minor as u64) + text_len(amount.currency.as_str())
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a number, unless it is zero.
pub(crate) fn put_number(out: &mut impl BufMut, field: u8, number: u64) {
    if number != 0 {
        out.put_u8(field << 3);
        put_varint(out, number);
    }
}

/// Writes what is in front of so many bytes.
pub(crate) fn put_begin(out: &mut impl BufMut, field: u8, len: usize) {
    out.put_u8(field << 3 | 2);
    put_varint(out, len as u64);
}

/// Writes a text, unless it is empty.
pub(crate) fn put_text(out: &mut impl BufMut, field: u8, text: &str) {
    if !text.is_empty() {
        put_begin(out, field, text.len());
        out.put_slice(text.as_bytes());
    }
}

/// Writes an amount, also if it is none.
pub(crate) fn put_money(out: &mut impl BufMut, field: u8, amount: Money) {
    put_begin(out, field, money_len(amount));
    put_number(out, 1, amount.minor as u64);
    put_text(out, 2, amount.currency.as_str());
}

fn put_varint(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Odd> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn fields_read_as_they_were_written_and_take_as_many_bytes_as_told() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), i64::MAX as u64] {
            let mut out = Vec::new();
            put_number(&mut out, 4, number);
            assert_eq!(out.len(), number_len(number), "{number}");
            let expected = if number == 0 { vec![] } else { vec![(4, Value::Varint(number))] };
            assert_eq!(all(&out), Ok(expected));
        }
        for len in [0, 1, 127, 128, 300] {
            let (mut out, text) = (Vec::new(), "x".repeat(len));
            put_text(&mut out, 15, &text);
            assert_eq!(out.len(), text_len(&text));
            let expected = if len == 0 { vec![] } else { vec![(15, Value::Bytes(text.as_bytes()))] };
            assert_eq!(all(&out), Ok(expected));
        }
    }

    #[test]
    fn what_is_cut_or_not_plain_is_odd() {
        let mut whole = Vec::new();
        put_number(&mut whole, 1, 300);
        put_text(&mut whole, 2, "tea");
        for cut in 0..whole.len() {
            assert_eq!(all(&whole[..cut]).is_ok(), [0, 3].contains(&cut), "{cut}");
        }
        let negative = [&[0x08][..], &[0xff; 9], &[0x01]].concat();
        for odd in [&negative[..], &[0x09, 0, 0, 0, 0, 0, 0, 0, 0], &[0x0d, 0, 0, 0, 0], &[0x0b], &[0x80; 20]]
        {
            assert_eq!(all(odd), Err(Odd), "{odd:?}");
        }
        assert_eq!(Value::Varint(u64::MAX).signed(), Err(Odd));
        assert_eq!(Value::Bytes(&[0xff]).text(), Err(Odd));
        assert_eq!((Value::Varint(1).text(), Value::Bytes(b"1").number()), (Err(Odd), Err(Odd)));
    }

    /// The same by the code that the generated one is made of.
    fn generated(mut rest: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
        use prost::encoding::{WireType, decode_key, decode_varint};
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (number, wire) = decode_key(&mut rest).ok()?;
            let length_or_number = decode_varint(&mut rest).ok()?;
            let value = match wire {
                WireType::Varint => Value::Varint(length_or_number),
                WireType::LengthDelimited => {
                    let bytes;
                    (bytes, rest) = rest.split_at_checked(usize::try_from(length_or_number).ok()?)?;
                    Value::Bytes(bytes)
                }
                _ => return None,
            };
            fields.push((number.into(), value));
        }
        Some(fields)
    }

    /// All of two bytes, and longer ones of the bytes that mean most.
    #[test]
    fn fields_read_as_the_generated_code_reads_them_whatever_comes() {
        let mut taken = 0;
        let mut agree = |bytes: &[u8]| {
            let Ok(found) = all(bytes) else { return };
            // A message has no field 0, and none beyond 29 bits: the readers of messages know none of them.
            if found.iter().all(|(number, _)| (1..1 << 29).contains(number)) {
                assert_eq!(Some(found), generated(bytes), "{bytes:?}");
                taken += 1;
            }
        };
        let meaning = [0x00, 0x01, 0x02, 0x08, 0x0a, 0x12, 0x7f, 0x80, 0x81, 0xff];
        for bytes in 0..=u16::MAX {
            let [first, second] = bytes.to_le_bytes();
            agree(&[first, second]);
            meaning.iter().for_each(|third| agree(&[first, second, *third]));
        }
        for number in 0..10_usize.pow(6) {
            let places = [1, 10, 100, 1_000, 10_000, 100_000];
            agree(&places.map(|place| meaning[number / place % 10]));
        }
        assert!(taken > 50_000, "{taken}");
    }
}
