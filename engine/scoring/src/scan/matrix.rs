//! The factors of all items, in blocks.

use super::buffer::{ALIGNMENT, AlignedBytes};
use crate::factors::{DIMENSIONS, Factor};

/// Items of a block.
pub const BLOCK_ITEMS: usize = 16;

/// The largest magnitude of a number of a factor: with it no score leaves the range of `f32`.
pub const FACTOR_MAX: f32 = 1e18;

/// One number of each item of a block, or four codes of each.
pub(super) type Line = [u8; ALIGNMENT];

/// A block of the item matrix: a line for each dimension.
pub(super) type ItemBlock = [Line; DIMENSIONS];

const BLOCK_BYTES: usize = size_of::<ItemBlock>();

/// The factors of items, 16 to a block, dimension-major: see the layout above.
///
/// `B` is where the bytes lie: a slice, a part of a mapped file, or [`AlignedBytes`].
#[derive(Debug)]
pub struct ItemMatrix<B> {
    bytes: B,
    items: u32,
}

/// Why bytes are no matrix, or factors none that can be scanned.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum MatrixError {
    /// The number of items asks for another length.
    #[error("a matrix of {items} items: expected {expected} bytes, found {found}")]
    Length {
        /// As was said when it was opened.
        items: u32,
        /// Bytes that these take.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The first byte does not lie where it should.
    #[error("a matrix: expected its first byte at a multiple of {ALIGNMENT}, found it {past} bytes past one")]
    Alignment {
        /// How far it lies past a multiple.
        past: usize,
    },
    /// A number of a factor is NaN, infinite or too large.
    #[error(
        "factor of item {item}, dimension {dimension}: expected a number within ±{FACTOR_MAX:e}, found {found}"
    )]
    Factor {
        /// The item's number.
        item: u32,
        /// From 0.
        dimension: usize,
        /// What stands there.
        found: f32,
    },
    /// The last block is padded with something else than zeros.
    #[error("padding after {items} items, lane {lane}, dimension {dimension}: expected 0, found {found}")]
    Padding {
        /// As was said when it was opened.
        items: u32,
        /// Its lane in the last block.
        lane: usize,
        /// From 0.
        dimension: usize,
        /// What stands there.
        found: f32,
    },
    /// The deviation of a dimension is NaN, infinite or negative.
    #[error("deviation of dimension {dimension}: expected a number from 0, found {found}")]
    Deviation {
        /// From 0.
        dimension: usize,
        /// What stands there.
        found: f32,
    },
    /// The scale of an item is NaN, infinite or negative, or that of the padding is not 0.
    #[error(
        "scale of item {item} of {items}: expected a number from 0 (0 past the last item), found {found}"
    )]
    Scale {
        /// The item's number; from the number of items on it is padding.
        item: u32,
        /// As was said when it was opened.
        items: u32,
        /// What stands there.
        found: f32,
    },
    /// A number of the direction that items have in common is NaN or infinite.
    #[error("direction in dimension {dimension}: expected a finite number, found {found}")]
    Direction {
        /// From 0.
        dimension: usize,
        /// What stands there.
        found: f32,
    },
    /// How far an item goes along the direction is NaN or infinite, or that of the padding is not 0.
    #[error(
        "item {item} of {items} along the direction: expected a finite number (0 past the last item), found {found}"
    )]
    Along {
        /// The item's number; from the number of items on it is padding.
        item: u32,
        /// As was said when it was opened.
        items: u32,
        /// What stands there.
        found: f32,
    },
    /// There are more items than have numbers.
    #[error("expected at most {} items, found {found}", u32::MAX)]
    Items {
        /// How many there are.
        found: usize,
    },
}

/// The score of an item for a user, as each scan computes it: the products of even dimensions are summed in
/// their order, those of odd ones too, then both sums. Each product and each sum is rounded.
#[inline]
pub fn score(item: &Factor, user: &Factor) -> f32 {
    let (mut even, mut odd) = (0.0, 0.0);
    for (item, user) in item.as_chunks::<2>().0.iter().zip(user.as_chunks::<2>().0) {
        even += item[0] * user[0];
        odd += item[1] * user[1];
    }
    even + odd
}

/// A number of a line.
#[inline(always)]
pub(super) fn number(line: &Line, lane: usize) -> f32 {
    f32::from_le_bytes(line.as_chunks::<4>().0[lane])
}

/// Puts a number into a line.
pub(super) fn set_number(line: &mut Line, lane: usize, number: f32) {
    line.as_chunks_mut::<4>().0[lane] = number.to_le_bytes();
}

/// Whether bytes begin where they should and are as many as they should be.
pub(super) fn check_place(bytes: &[u8], items: u32, expected: usize) -> Result<(), MatrixError> {
    let found = bytes.len();
    if found != expected {
        return Err(MatrixError::Length { items, expected, found });
    }
    match bytes.as_ptr().addr() % ALIGNMENT {
        0 => Ok(()),
        past => Err(MatrixError::Alignment { past }),
    }
}

/// Blocks of so many items.
pub(super) fn block_count(items: u32) -> usize {
    (items as usize).div_ceil(BLOCK_ITEMS)
}

impl ItemMatrix<AlignedBytes> {
    /// Lays factors out in memory of its own.
    ///
    /// # Errors
    /// Names the first item and dimension with a number that is not within ±[`FACTOR_MAX`].
    pub fn build(factors: &[Factor]) -> Result<Self, MatrixError> {
        let items = u32::try_from(factors.len()).map_err(|_| MatrixError::Items { found: factors.len() })?;
        let mut bytes = AlignedBytes::zeroed(ItemMatrix::bytes_of(items));
        let blocks = bytes.as_chunks_mut::<ALIGNMENT>().0.as_chunks_mut::<DIMENSIONS>().0;
        for (block, factors) in blocks.iter_mut().zip(factors.chunks(BLOCK_ITEMS)) {
            for (lane, factor) in factors.iter().enumerate() {
                block.iter_mut().zip(factor).for_each(|(line, found)| set_number(line, lane, *found));
            }
        }
        Self::open(bytes, items)
    }
}

impl ItemMatrix<()> {
    /// Bytes that a matrix of so many items takes.
    pub const fn bytes_of(items: u32) -> usize {
        (items as usize).div_ceil(BLOCK_ITEMS) * BLOCK_BYTES
    }
}

impl<B: AsRef<[u8]>> ItemMatrix<B> {
    /// Reads a matrix where it lies, after looking at each of its numbers.
    ///
    /// # Errors
    /// The length is not that of so many items, the first byte does not lie at a multiple of [`ALIGNMENT`], a
    /// number is not within ±[`FACTOR_MAX`], or the padding is not zero.
    pub fn open(bytes: B, items: u32) -> Result<Self, MatrixError> {
        check_place(bytes.as_ref(), items, ItemMatrix::bytes_of(items))?;
        let matrix = Self { bytes, items };
        for (at, block) in matrix.blocks().iter().enumerate() {
            let lanes = (items as usize - at * BLOCK_ITEMS).min(BLOCK_ITEMS);
            if lanes < BLOCK_ITEMS || !all_within(block) {
                check_block(block, at, items)?;
            }
        }
        Ok(matrix)
    }

    /// How many items there are.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// As a file holds them.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The factor of an item, `None` from the number of items on.
    pub fn factor(&self, item: u32) -> Option<Factor> {
        if item >= self.items {
            return None;
        }
        let (block, lane) = (item as usize / BLOCK_ITEMS, item as usize % BLOCK_ITEMS);
        self.blocks().get(block).map(|block| std::array::from_fn(|dimension| number(&block[dimension], lane)))
    }

    pub(super) fn blocks(&self) -> &[ItemBlock] {
        self.bytes().as_chunks().0.as_chunks().0
    }
}

/// Whether all numbers are within ±[`FACTOR_MAX`]; NaN is not.
fn all_within(block: &ItemBlock) -> bool {
    let mut within = true;
    for line in block {
        for lane in 0..BLOCK_ITEMS {
            within &= number(line, lane).abs() <= FACTOR_MAX;
        }
    }
    within
}

/// Looks for the first number that may not stand in a block.
fn check_block(block: &ItemBlock, at: usize, items: u32) -> Result<(), MatrixError> {
    for lane in 0..BLOCK_ITEMS {
        let item = at * BLOCK_ITEMS + lane;
        for (dimension, line) in block.iter().enumerate() {
            let found = number(line, lane);
            if item >= items as usize && found.to_bits() != 0 {
                return Err(MatrixError::Padding { items, lane, dimension, found });
            }
            // NaN is within nothing.
            let within = found.abs() <= FACTOR_MAX;
            if !within {
                return Err(MatrixError::Factor { item: item as u32, dimension, found });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(items: usize) -> Vec<Factor> {
        (0..items).map(|item| std::array::from_fn(|d| (item * 100 + d) as f32)).collect()
    }

    #[test]
    fn bytes_lie_as_described() {
        let matrix = ItemMatrix::build(&counted(18)).unwrap();
        assert_eq!((matrix.items(), matrix.bytes().len()), (18, 2 * 4096));
        let at = |byte: usize| f32::from_le_bytes(matrix.bytes()[byte..byte + 4].try_into().unwrap());
        assert_eq!(at(0), 0.0);
        assert_eq!(at(64 * 63 + 4 * 15), 1563.0);
        assert_eq!(at(4096 + 64 * 5 + 4), 1705.0);
        assert_eq!(at(4096 + 64 * 5 + 4 * 2), 0.0, "the padding");
        assert_eq!(matrix.factor(17), Some(counted(18)[17]));
        assert_eq!(matrix.factor(18), None);
    }

    #[test]
    fn what_was_built_is_opened_in_place() {
        for items in [0, 1, 15, 16, 17, 33] {
            let built = ItemMatrix::build(&counted(items)).unwrap();
            let opened = ItemMatrix::open(built.bytes(), items as u32).unwrap();
            assert_eq!(opened.bytes().as_ptr(), built.bytes().as_ptr());
            for (item, factor) in counted(items).into_iter().enumerate() {
                assert_eq!(opened.factor(item as u32), Some(factor));
            }
        }
    }

    #[test]
    fn numbers_that_order_nothing_are_refused_by_item_and_dimension() {
        for found in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e18] {
            for (item, dimension) in [(0, 0), (16, 63), (20, 5)] {
                let mut factors = counted(21);
                factors[item][dimension] = found;
                // One that comes later is not the one that is named.
                factors[20][63] = f32::NAN;
                let error = ItemMatrix::build(&factors).unwrap_err();
                let MatrixError::Factor { item: named, dimension: at, found: what } = error else {
                    panic!("{error}")
                };
                assert_eq!((named as usize, at, what.to_bits()), (item, dimension, found.to_bits()));
            }
        }
        let error = MatrixError::Factor { item: 7, dimension: 3, found: f32::NAN };
        let said = "factor of item 7, dimension 3: expected a number within ±1e18, found NaN";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let built = ItemMatrix::build(&counted(18)).unwrap();
        let open = |bytes: &[u8], items| ItemMatrix::open(AlignedBytes::copy_of(bytes), items).unwrap_err();
        let length = |items, found| MatrixError::Length { items, expected: 8192, found };
        assert_eq!(open(&built.bytes()[..8191], 18), length(18, 8191));
        assert_eq!(open(&built.bytes()[..4096], 32), length(32, 4096));
        let padding = MatrixError::Padding { items: 17, lane: 1, dimension: 0, found: 1700.0 };
        assert_eq!(open(built.bytes(), 17), padding);
        let mut damaged = AlignedBytes::copy_of(built.bytes());
        damaged[64 * 9 + 4 * 3..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        let factor = MatrixError::Factor { item: 3, dimension: 9, found: f32::INFINITY };
        assert_eq!(ItemMatrix::open(damaged, 18).unwrap_err(), factor);
    }

    #[test]
    fn bytes_beside_a_line_are_refused() {
        let mut bytes = AlignedBytes::zeroed(4096 + 4);
        bytes.copy_within(.., 0);
        let error = ItemMatrix::open(&bytes[4..], 16).unwrap_err();
        assert_eq!(error, MatrixError::Alignment { past: 4 });
    }
}
