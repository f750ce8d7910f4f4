//! Short texts as they stand in a frame: as many bytes as the field has, then how many of them count.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::text::Text;

/// A text of at most `N` bytes: its bytes, zeros up to `N`, its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct WireText<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> WireText<N> {
    /// The text, if it is one: UTF-8 of at most `N` bytes with zeros behind it.
    pub fn text(&self) -> Option<Text<N>> {
        Text::from_padded(self.bytes, self.length)
    }
}

impl<const N: usize> From<&Text<N>> for WireText<N> {
    fn from(text: &Text<N>) -> Self {
        let mut bytes = [0; N];
        let source = text.as_bytes();
        bytes[..source.len()].copy_from_slice(source);
        Self { bytes, length: source.len() as u8 }
    }
}
