//! The factors of all items, one after the other: what single items are scored from.

use super::buffer::{ALIGNMENT, AlignedBytes};
use super::matrix::{FACTOR_MAX, ItemMatrix, Line, MatrixError, check_place};
use crate::factors::{DIMENSIONS, Factor};
use crate::section::Section;

const ROW_BYTES: usize = size_of::<Factor>();

/// The factors of items in rows: see the layout above.
///
/// `B` is where the bytes lie: a slice, a part of a mapped file, or [`AlignedBytes`].
#[derive(Debug)]
pub struct ItemRows<B> {
    bytes: B,
    items: u32,
}

/// Where candidates are scored from. Both matrices of factors give the same scores; rows give them sooner, as
/// a factor lies in four lines of the cache there and in 64 in blocks.
pub trait ItemFactors {
    /// How many items there are.
    fn items(&self) -> u32;

    /// The factor of an item, `None` from the number of items on.
    fn factor(&self, item: u32) -> Option<Factor>;

    /// Asked for each candidate before the first is scored: memory brings many factors in the time of one.
    fn touch(&self, item: u32) {
        let _ = item;
    }
}

impl ItemRows<AlignedBytes> {
    /// Lays factors out in memory of its own.
    ///
    /// # Errors
    /// Names the first item and dimension with a number that is not within ±[`FACTOR_MAX`].
    pub fn build(factors: &[Factor]) -> Result<Self, MatrixError> {
        let items = u32::try_from(factors.len()).map_err(|_| MatrixError::Items { found: factors.len() })?;
        let mut bytes = AlignedBytes::zeroed(ItemRows::bytes_of(items));
        let places = bytes.as_chunks_mut::<4>().0.iter_mut();
        places.zip(factors.as_flattened()).for_each(|(place, number)| *place = number.to_le_bytes());
        Self::open(bytes, items)
    }
}

impl ItemRows<AlignedBytes> {
    /// Rows of no items.
    pub(crate) fn none() -> Self {
        Self { bytes: AlignedBytes::zeroed(0), items: 0 }
    }

    /// The same, for many that look at them.
    pub(crate) fn shared(self) -> ItemRows<Section> {
        ItemRows { bytes: Section::built(self.bytes), items: self.items }
    }
}

impl ItemRows<()> {
    /// Bytes that rows of so many items take.
    pub const fn bytes_of(items: u32) -> usize {
        items as usize * ROW_BYTES
    }
}

impl<B: AsRef<[u8]>> ItemRows<B> {
    /// Reads rows where they lie, after looking at each of their numbers.
    ///
    /// # Errors
    /// The length is not that of so many items, the first byte does not lie at a multiple of
    /// [`ALIGNMENT`], or a number is not within ±[`FACTOR_MAX`].
    pub fn open(bytes: B, items: u32) -> Result<Self, MatrixError> {
        check_place(bytes.as_ref(), items, ItemRows::bytes_of(items))?;
        let rows = Self { bytes, items };
        let numbers = rows.bytes().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        for (at, found) in numbers.enumerate() {
            // NaN is within nothing.
            let within = found.abs() <= FACTOR_MAX;
            if !within {
                let (item, dimension) = ((at / DIMENSIONS) as u32, at % DIMENSIONS);
                return Err(MatrixError::Factor { item, dimension, found });
            }
        }
        Ok(rows)
    }

    /// As a file holds them.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl<B: AsRef<[u8]>> ItemFactors for ItemRows<B> {
    fn items(&self) -> u32 {
        self.items
    }

    #[inline]
    fn factor(&self, item: u32) -> Option<Factor> {
        let rows: &[[[u8; 4]; DIMENSIONS]] = self.bytes().as_chunks().0.as_chunks().0;
        rows.get(item as usize).map(|row| row.map(f32::from_le_bytes))
    }

    #[inline]
    fn touch(&self, item: u32) {
        let rows: &[[Line; ROW_BYTES / ALIGNMENT]] = self.bytes().as_chunks().0.as_chunks().0;
        let touched = rows.get(item as usize).map(|row| row.iter().fold(0, |all, line| all | line[0]));
        std::hint::black_box(touched);
    }
}

impl<B: AsRef<[u8]>> ItemFactors for ItemMatrix<B> {
    fn items(&self) -> u32 {
        self.items()
    }

    fn factor(&self, item: u32) -> Option<Factor> {
        self.factor(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(items: usize) -> Vec<Factor> {
        (0..items).map(|item| std::array::from_fn(|d| (item * 100 + d) as f32)).collect()
    }

    #[test]
    fn bytes_lie_as_described() {
        for items in [0, 1, 17] {
            let rows = ItemRows::build(&counted(items)).unwrap();
            assert_eq!((rows.items() as usize, rows.bytes().len()), (items, 256 * items));
            let opened = ItemRows::open(rows.bytes(), items as u32).unwrap();
            for (item, factor) in counted(items).into_iter().enumerate() {
                let at = 256 * item + 4 * 63;
                assert_eq!(rows.bytes()[at..at + 4], factor[63].to_le_bytes());
                assert_eq!(opened.factor(item as u32), Some(factor));
            }
            assert_eq!(rows.factor(items as u32), None);
        }
    }

    #[test]
    fn numbers_that_order_nothing_and_wrong_lengths_are_refused() {
        for found in [f32::NAN, f32::INFINITY, -1.1e18] {
            let mut factors = counted(3);
            factors[1][62] = found;
            let Err(MatrixError::Factor { item: 1, dimension: 62, found: named }) = ItemRows::build(&factors)
            else {
                panic!("expected a refusal of {found}")
            };
            assert_eq!(named.to_bits(), found.to_bits());
        }
        let rows = ItemRows::build(&counted(2)).unwrap();
        let error = ItemRows::open(rows.bytes(), 3).unwrap_err();
        assert_eq!(error, MatrixError::Length { items: 3, expected: 768, found: 512 });
    }
}
