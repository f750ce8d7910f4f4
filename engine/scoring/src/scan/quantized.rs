//! The item matrix in a byte a number: a quarter of the memory to name candidates from.

use super::buffer::{ALIGNMENT, AlignedBytes};
use super::matrix::{
    BLOCK_ITEMS, ItemBlock, ItemMatrix, Line, MatrixError, block_count, check_place, number, set_number,
};
use crate::factors::{DIMENSIONS, Factor};
use crate::section::Section;

/// Dimensions that lie side by side in a line: what one instruction sums.
pub(super) const GROUP: usize = 4;
/// Groups of a factor.
pub(super) const GROUPS: usize = DIMENSIONS / GROUP;
/// Lines of a number for each dimension.
const COLUMN_LINES: usize = DIMENSIONS / BLOCK_ITEMS;
/// Lines before the blocks: the deviations, then the direction.
const HEAD_LINES: usize = 2 * COLUMN_LINES;
/// The line of a block's scales.
pub(super) const SCALES: usize = GROUPS;
/// The line of how far items go along the direction.
pub(super) const ALONG: usize = GROUPS + 1;
/// A dimension that differs by less of its mean than this counts as if it differed by so much: how far items go
/// along the direction is kept to seven digits, and what that leaves has to be less than a code.
const DEVIATION_MIN: f64 = 1e-4;
/// The largest code of an item.
const ITEM_CODE_MAX: f64 = 127.0;
/// The largest code of a user: two products with bytes of items are within 16 bits, which AVX2 sums in.
const USER_CODE_MAX: f64 = 63.0;
/// What is added to an item's code to make it a byte.
const CODE_BIAS: i32 = 128;

/// A block: a line of codes for each group, then the scales, then how far items go along the direction.
pub(super) type QuantizedBlock = [Line; GROUPS + 2];

/// The codes and scales of items: see the layout above.
#[derive(Debug)]
pub struct Quantized<B> {
    bytes: B,
    items: u32,
}

/// A user's factor as the kernels take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct UserCodes {
    pub(super) groups: [[i8; GROUP]; GROUPS],
    /// The same, each group as one number whose lowest byte is its first code.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "plain loops take the groups"))]
    pub(super) words: [i32; GROUPS],
    /// What sums begin with: takes out what bytes are more than codes.
    pub(super) start: i32,
    /// What an item scores for each unit along the direction.
    pub(super) along: f32,
}

/// What is known of each dimension.
struct Columns {
    deviations: [f32; DIMENSIONS],
    direction: [f32; DIMENSIONS],
}

impl Quantized<AlignedBytes> {
    /// Codes of no items.
    pub(crate) fn none() -> Self {
        Self { bytes: AlignedBytes::zeroed(Quantized::bytes_of(0)), items: 0 }
    }

    /// The same, for many that look at them.
    pub(crate) fn shared(self) -> Quantized<Section> {
        Quantized { bytes: Section::built(self.bytes), items: self.items }
    }
}

impl Quantized<()> {
    /// Bytes that the codes of so many items take.
    pub const fn bytes_of(items: u32) -> usize {
        let blocks = (items as usize).div_ceil(BLOCK_ITEMS);
        HEAD_LINES * ALIGNMENT + blocks * size_of::<QuantizedBlock>()
    }
}

impl Quantized<AlignedBytes> {
    /// The codes of a matrix, in memory of their own. The same matrix gives the same bytes.
    pub fn build<B: AsRef<[u8]>>(matrix: &ItemMatrix<B>) -> Self {
        let items = matrix.items();
        let columns = Columns::of(matrix);
        let mut bytes = AlignedBytes::zeroed(Quantized::bytes_of(items));
        let (head, blocks) = bytes.as_chunks_mut().0.split_at_mut(HEAD_LINES);
        for (at, number) in columns.deviations.into_iter().chain(columns.direction).enumerate() {
            set_number(&mut head[at / BLOCK_ITEMS], at % BLOCK_ITEMS, number);
        }
        for (at, (codes, factors)) in blocks.as_chunks_mut().0.iter_mut().zip(matrix.blocks()).enumerate() {
            let lanes = (items as usize - at * BLOCK_ITEMS).min(BLOCK_ITEMS);
            quantize(factors, lanes, &columns, codes);
        }
        Self { bytes, items }
    }
}

impl<B: AsRef<[u8]>> Quantized<B> {
    /// Reads codes where they lie.
    ///
    /// That they are those of an item matrix is not looked at: a checksum of both tells.
    ///
    /// # Errors
    /// The length is not that of so many items, the first byte does not lie at a multiple of [`ALIGNMENT`], a
    /// number is NaN or infinite, a deviation or a scale is negative, or the padding has a scale.
    pub fn open(bytes: B, items: u32) -> Result<Self, MatrixError> {
        check_place(bytes.as_ref(), items, Quantized::bytes_of(items))?;
        let quantized = Self { bytes, items };
        let usable = |found: f32| found.is_finite() && found >= 0.0;
        for (dimension, found) in quantized.column(0).into_iter().enumerate() {
            if !usable(found) {
                return Err(MatrixError::Deviation { dimension, found });
            }
        }
        for (dimension, found) in quantized.column(1).into_iter().enumerate() {
            if !found.is_finite() {
                return Err(MatrixError::Direction { dimension, found });
            }
        }
        let lanes =
            quantized.blocks().iter().flat_map(|block| (0..BLOCK_ITEMS).map(move |lane| (block, lane)));
        for (item, (block, lane)) in (0..).zip(lanes) {
            let (scale, along) = (number(&block[SCALES], lane), number(&block[ALONG], lane));
            if !usable(scale) || (item >= items && scale != 0.0) {
                return Err(MatrixError::Scale { item, items, found: scale });
            }
            if !along.is_finite() || (item >= items && along != 0.0) {
                return Err(MatrixError::Along { item, items, found: along });
            }
        }
        Ok(quantized)
    }

    /// How many items there are.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// As a file holds them.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    pub(super) fn blocks(&self) -> &[QuantizedBlock] {
        let lines = self.bytes().as_chunks().0;
        let blocks = lines.get(HEAD_LINES..).unwrap_or_default().as_chunks().0;
        &blocks[..block_count(self.items).min(blocks.len())]
    }

    /// The codes of a user whose numbers are finite.
    pub(super) fn user_codes(&self, user: &Factor) -> UserCodes {
        let (deviations, direction) = (self.column(0), self.column(1));
        let seen: [f64; DIMENSIONS] = std::array::from_fn(|d| f64::from(user[d]) * f64::from(deviations[d]));
        let largest = seen.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
        let factor = if largest > 0.0 { USER_CODE_MAX / largest } else { 0.0 };
        let scaled = seen.map(|number| number * factor);
        let groups: [[i8; GROUP]; GROUPS] =
            std::array::from_fn(|g| std::array::from_fn(|j| rounded(scaled[GROUP * g + j]) as i8));
        let sum: i32 = groups.as_flattened().iter().map(|code| i32::from(*code)).sum();
        let words = groups.map(|group| i32::from_le_bytes(group.map(|code| code as u8)));
        UserCodes { groups, words, start: -CODE_BIAS * sum, along: dot(&scaled, &direction) as f32 }
    }

    /// The deviations (0), or the direction (1).
    fn column(&self, which: usize) -> [f32; DIMENSIONS] {
        let head: &[Line] = self.bytes().as_chunks().0;
        let line = |d: usize| head.get(which * COLUMN_LINES + d / BLOCK_ITEMS);
        std::array::from_fn(|d| line(d).map_or(0.0, |line| number(line, d % BLOCK_ITEMS)))
    }
}

impl Columns {
    fn of<B: AsRef<[u8]>>(matrix: &ItemMatrix<B>) -> Self {
        let items = f64::from(matrix.items().max(1));
        let mut means = [0.0; DIMENSIONS];
        each_number(matrix, |dimension, number| means[dimension] += number);
        means.iter_mut().for_each(|mean| *mean /= items);
        let mut squares = [0.0; DIMENSIONS];
        each_number(matrix, |dimension, number| {
            let off = number - means[dimension];
            squares[dimension] += off * off;
        });
        let at_first = Self::with(&means, squares.map(|squares| (squares / items).sqrt()));
        // What items have in common is taken out apart, so deviations are those of what is left then.
        let mut squares = [0.0; DIMENSIONS];
        for item in 0..matrix.items() {
            let Some(factor) = matrix.factor(item) else { break };
            let (_, left) = at_first.split(|dimension| factor[dimension]);
            squares.iter_mut().zip(left).for_each(|(squares, left)| *squares += left * left);
        }
        Self::with(
            &means,
            std::array::from_fn(|d| (squares[d] / items).sqrt() * f64::from(at_first.deviations[d])),
        )
    }

    fn with(means: &[f64; DIMENSIONS], deviations: [f64; DIMENSIONS]) -> Self {
        let at_least = |d: usize| DEVIATION_MIN * means[d].abs();
        let deviations: Factor = std::array::from_fn(|d| deviations[d].max(at_least(d)) as f32);
        let mean: [f64; DIMENSIONS] = std::array::from_fn(|d| in_deviations(means[d], deviations[d]));
        let length = mean.iter().map(|number| number * number).sum::<f64>().sqrt();
        let direction = mean.map(|number| if length > 0.0 { (number / length) as f32 } else { 0.0 });
        Self { deviations, direction }
    }

    /// How far a factor goes along the direction, and what is left of it, in deviations.
    fn split(&self, factor: impl Fn(usize) -> f32) -> (f32, [f64; DIMENSIONS]) {
        let seen: [f64; DIMENSIONS] =
            std::array::from_fn(|d| in_deviations(f64::from(factor(d)), self.deviations[d]));
        // What is left is taken from the length as it is kept.
        let along = dot(&seen, &self.direction) as f32;
        let left = |d: usize| seen[d] - f64::from(along) * f64::from(self.direction[d]);
        (along, std::array::from_fn(left))
    }
}

/// A number of a dimension in deviations of it. One that has none tells no items apart.
fn in_deviations(number: f64, deviation: f32) -> f64 {
    if deviation > 0.0 { number / f64::from(deviation) } else { 0.0 }
}

fn dot(a: &[f64; DIMENSIONS], b: &Factor) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
}

/// Tells each number of each item, the padding left out, with its dimension.
fn each_number<B: AsRef<[u8]>>(matrix: &ItemMatrix<B>, mut tell: impl FnMut(usize, f64)) {
    let items = matrix.items() as usize;
    for (at, block) in matrix.blocks().iter().enumerate() {
        let lanes = (items - at * BLOCK_ITEMS).min(BLOCK_ITEMS);
        for (dimension, line) in block.iter().enumerate() {
            (0..lanes).for_each(|lane| tell(dimension, f64::from(number(line, lane))));
        }
    }
}

/// The codes and scales of a block.
fn quantize(factors: &ItemBlock, lanes: usize, columns: &Columns, block: &mut QuantizedBlock) {
    block[..GROUPS].as_flattened_mut().fill(CODE_BIAS as u8);
    for lane in 0..lanes {
        let (along, left) = columns.split(|dimension| number(&factors[dimension], lane));
        let largest = left.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
        // Scores are made with the scale as it is kept, so codes are too.
        let scale = (largest / ITEM_CODE_MAX) as f32;
        set_number(&mut block[SCALES], lane, scale);
        set_number(&mut block[ALONG], lane, along);
        if scale > 0.0 {
            for (dimension, number) in left.into_iter().enumerate() {
                let code = rounded(number / f64::from(scale)).clamp(-ITEM_CODE_MAX, ITEM_CODE_MAX);
                let place = &mut block[dimension / GROUP][GROUP * lane + dimension % GROUP];
                *place = (CODE_BIAS + code as i32) as u8;
            }
        }
    }
}

/// The nearest whole number; of two as near the one farther from 0.
fn rounded(number: f64) -> f64 {
    (number + 0.5f64.copysign(number)).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(items: usize) -> Vec<Factor> {
        let mut random = fastrand::Rng::with_seed(9);
        (0..items).map(|_| std::array::from_fn(|d| (random.f32() - 0.4) * (d + 1) as f32)).collect()
    }

    #[test]
    fn bytes_lie_as_described() {
        let factors = factors(21);
        let codes = Quantized::build(&ItemMatrix::build(&factors).unwrap());
        assert_eq!((codes.items(), codes.bytes().len()), (21, 512 + 2 * 1152));
        let float = |at: usize| f64::from(f32::from_le_bytes(codes.bytes()[at..at + 4].try_into().unwrap()));
        let length: f64 = (0..64).map(|d| float(256 + 4 * d).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
        for (item, dimension) in [(0, 0), (7, 2), (15, 63), (16, 5), (20, 62)] {
            let (block, lane) = (512 + 1152 * (item / 16), item % 16);
            let (scale, along) = (float(block + 1024 + 4 * lane), float(block + 1088 + 4 * lane));
            let code = codes.bytes()[block + 64 * (dimension / 4) + 4 * lane + dimension % 4];
            let said = along * float(256 + 4 * dimension) + scale * (f64::from(code) - 128.0);
            let wanted = f64::from(factors[item][dimension]) / float(4 * dimension);
            assert!((said - wanted).abs() <= scale * 0.501, "{said} for {wanted}, scale {scale}");
        }
        let padding = 512 + 1152 + 4 * 5;
        assert_eq!(codes.bytes()[padding], 128);
        assert_eq!((float(padding + 1024), float(padding + 1088)), (0.0, 0.0));
    }

    #[test]
    fn deviations_are_those_of_what_is_left() {
        // Twice as long is twice as far along the direction, and nothing else.
        let common: Factor = std::array::from_fn(|d| 5.0 + d as f32);
        let mut random = fastrand::Rng::with_seed(11);
        let mut item = |length: f32| -> Factor {
            std::array::from_fn(|d| length * common[d] + (random.f32() - 0.5) * (d + 1) as f32)
        };
        let factors: Vec<Factor> = (0..400).map(|at| item((at % 5) as f32)).collect();
        let codes = Quantized::build(&ItemMatrix::build(&factors).unwrap());
        for (d, deviation) in codes.column(0).into_iter().enumerate() {
            let wanted = (d + 1) as f32 / 12f32.sqrt();
            assert!((0.8..1.2).contains(&(deviation / wanted)), "{d}: {deviation} for {wanted}");
        }
    }

    #[test]
    fn the_same_factors_give_the_same_bytes_and_are_opened_in_place() {
        for items in [0, 1, 16, 40] {
            let matrix = ItemMatrix::build(&factors(items)).unwrap();
            let built = Quantized::build(&matrix);
            assert_eq!(built.bytes(), Quantized::build(&matrix).bytes());
            let opened = Quantized::open(built.bytes(), items as u32).unwrap();
            assert_eq!(opened.blocks(), built.blocks());
            assert_eq!(opened.blocks().len(), items.div_ceil(16));
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let built = Quantized::build(&ItemMatrix::build(&factors(18)).unwrap());
        let with = |at: usize, number: f32| {
            let mut bytes = AlignedBytes::copy_of(built.bytes());
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            Quantized::open(bytes, 18).map(|_| ()).unwrap_err()
        };
        let infinite = f32::INFINITY;
        assert_eq!(with(4 * 33, -1.0), MatrixError::Deviation { dimension: 33, found: -1.0 });
        assert_eq!(with(256 + 4 * 3, infinite), MatrixError::Direction { dimension: 3, found: infinite });
        let scale = 512 + 1152 + 1024;
        assert_eq!(with(scale + 4, infinite), MatrixError::Scale { item: 17, items: 18, found: infinite });
        assert_eq!(with(scale + 4 * 2, 1.0), MatrixError::Scale { item: 18, items: 18, found: 1.0 });
        assert!(matches!(with(scale, f32::NAN), MatrixError::Scale { item: 16, items: 18, .. }));
        assert!(matches!(with(scale + 64, f32::NAN), MatrixError::Along { item: 16, items: 18, .. }));
        assert_eq!(with(scale + 64 + 8, -1.0), MatrixError::Along { item: 18, items: 18, found: -1.0 });
        let short = Quantized::open(&built.bytes()[..2000], 18).unwrap_err();
        assert_eq!(short, MatrixError::Length { items: 18, expected: 512 + 2 * 1152, found: 2000 });
    }
}
