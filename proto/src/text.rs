//! Short strings held in place: copied like numbers, never on the heap.

use std::fmt;
use std::str::FromStr;

use rkyv::rancor::{Fallible, Source};
use rkyv::ser::Writer;
use rkyv::string::repr::INLINE_CAPACITY;
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::{Archive, Deserialize, Place, Serialize};

/// UTF-8 of at most `N` bytes (`N` < 256), compared and hashed as a string. The bytes are aligned, so
/// that they are checked, compared and hashed by words.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// As long as any text.
const LONGEST: &str = match std::str::from_utf8(&[b' '; u8::MAX as usize]) {
    Ok(longest) => longest,
    Err(_) => "",
};

/// A stock-keeping unit, the name of what is sold: up to 39 bytes, so a UUID or an object id fits.
pub type Sku = Text<39>;
/// A customer's id: up to 39 bytes.
pub type CustomerId = Text<39>;
/// A document's key, `collection/id`: up to 127 bytes.
pub type DocKey = Text<127>;
/// A product's category: up to 63 bytes.
pub type CategoryName = Text<63>;
/// A product's brand: up to 63 bytes.
pub type BrandName = Text<63>;

/// A string that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected at most {max} bytes of text, found {found}")]
pub struct TextError {
    /// The limit in bytes.
    pub max: usize,
    /// The length given in bytes.
    pub found: usize,
}

impl<const N: usize> Text<N> {
    /// The empty text.
    pub const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    /// Copies `text` in place.
    pub fn new(text: &str) -> Result<Self, TextError> {
        let mut bytes = [0; N];
        let source = text.as_bytes();
        if source.len() > N || source.len() > usize::from(u8::MAX) {
            return Err(TextError { max: N, found: source.len() });
        }
        bytes[..source.len()].copy_from_slice(source);
        Ok(Self { bytes, len: source.len() as u8 })
    }

    /// A text that stands in place already: `len` bytes, zeros behind them. `None` if they are not UTF-8,
    /// or too many, or something stands behind them.
    pub fn from_padded(bytes: [u8; N], len: u8) -> Option<Self> {
        let (text, behind) = bytes.split_at_checked(usize::from(len))?;
        let clean = behind.iter().all(|byte| *byte == 0) && std::str::from_utf8(text).is_ok();
        clean.then_some(Self { bytes, len })
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The string's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// True if there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> FromStr for Text<N> {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

// The tail behind `len` is always zero, so whole arrays compare as the strings do for equality.
impl<const N: usize> PartialEq for Text<N> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.bytes == other.bytes
    }
}

impl<const N: usize> Eq for Text<N> {}

impl<const N: usize> PartialOrd for Text<N> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Ord for Text<N> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl<const N: usize> std::hash::Hash for Text<N> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Archive for Text<N> {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        // Of a text that does not fit in place only the length is asked here; its bytes were written
        // before, and need no second look.
        let len = usize::from(self.len);
        let text = if len > INLINE_CAPACITY { &LONGEST[..len] } else { self.as_str() };
        ArchivedString::resolve_from_str(text, resolver, out);
    }
}

impl<const N: usize, S> Serialize<S> for Text<N>
where
    S: Fallible + Writer + ?Sized,
    S::Error: Source,
{
    fn serialize(&self, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        ArchivedString::serialize_from_str(self.as_str(), serializer)
    }
}

impl<const N: usize, D> Deserialize<Text<N>, D> for ArchivedString
where
    D: Fallible + ?Sized,
    D::Error: Source,
{
    fn deserialize(&self, _: &mut D) -> Result<Text<N>, D::Error> {
        Text::new(self.as_str()).map_err(D::Error::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_fit_and_names_both_lengths() {
        assert_eq!(Sku::new(&"x".repeat(40)), Err(TextError { max: 39, found: 40 }));
        assert_eq!(Sku::new(&"x".repeat(39)).unwrap().as_str().len(), 39);
    }

    #[test]
    fn texts_of_every_length_survive_the_archive() {
        use crate::row::{NameRow, Row, RowEncoder, RowTag};
        let mut encoder = RowEncoder::default();
        for len in 0..=63 {
            let owner = Text::new(&"1234567".repeat(9)[..len]).unwrap();
            let name = Text::new(&"x".repeat(2 * len)).unwrap();
            let row = Row::Name(Box::new(NameRow { name, owner, confirmed: true, deadline_us: 1 }));
            let bytes = encoder.encode(&row).to_vec();
            assert_eq!(Row::decode(RowTag::Name, &bytes), Ok(row));
        }
    }

    #[test]
    fn orders_as_strings_do() {
        let mut texts = ["b", "a", "", "ab", "é"].map(|text| Sku::new(text).unwrap());
        texts.sort();
        assert_eq!(texts.map(|text| text.to_string()), ["", "a", "ab", "b", "é"]);
    }
}
