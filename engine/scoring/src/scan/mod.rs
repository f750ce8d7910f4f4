//! Who comes first of all items: the scan over the item matrix.
//!
//! The factors of items are kept in three matrices. [`ItemMatrix`] holds them in blocks, as a scan reads them.
//! [`Quantized`] holds them in a byte a number, a quarter of the memory: it names candidates, and only these are
//! scored from their factors. [`ItemRows`] holds each factor in one piece, where single ones are scored from
//! soonest. All are read where they lie: in a mapped file, or in memory ([`AlignedBytes`]). A [`Pass`] runs over
//! one of the first two for up to [`QUERIES_MAX`] users at once, which costs less than as many passes: much of
//! the time goes into reading.
//!
//! # Layout
//!
//! Numbers are little-endian, `f32` is IEEE 754 binary32. A matrix begins at a multiple of [`ALIGNMENT`] (64)
//! bytes. Items stand in blocks of [`BLOCK_ITEMS`] (16): item `i` is lane `i % 16` of block `i / 16`. The last
//! block is padded to 16 lanes. The number of items is not part of a matrix; it decides the length:
//!
//! | matrix | bytes of a block | bytes before the blocks | whole length, `b = ceil(items / 16)` |
//! |---|---|---|---|
//! | [`ItemMatrix`] | 4,096 | 0 | `4096 * b` |
//! | [`Quantized`] | 1,152 | 512 | `512 + 1152 * b` |
//! | [`ItemRows`] | no blocks: 256 an item | 0 | `256 * items` |
//!
//! **A block of the item matrix** is dimension-major, 64 rows of 16 `f32`:
//!
//! | byte | what |
//! |---|---|
//! | `64 * d + 4 * lane`, 4 bytes | number `d` of the lane's factor, `0 <= d < 64`, within ±[`FACTOR_MAX`] |
//!
//! Lanes of the padding hold zeros of all bits.
//!
//! **The quantized matrix** begins with two numbers for each dimension:
//!
//! | byte | what |
//! |---|---|
//! | `4 * d`, 4 bytes | `f32`: the deviation of dimension `d`, finite and not below 0 |
//! | `256 + 4 * d`, 4 bytes | `f32`: number `d` of the direction, finite |
//!
//! and each of its blocks holds codes by groups of four dimensions, then two numbers for each lane:
//!
//! | byte of a block | what |
//! |---|---|
//! | `64 * g + 4 * lane + j`, 1 byte | `u8`: 128 + the code of dimension `4 * g + j`; codes are -127..=127 |
//! | `1024 + 4 * lane`, 4 bytes | `f32`: the lane's scale, finite and not below 0 |
//! | `1088 + 4 * lane`, 4 bytes | `f32`: how far the lane goes along the direction, finite |
//!
//! Lanes of the padding have codes of 0 (bytes of 128), a scale of 0 and go nowhere.
//!
//! **A row** is number `d` of item `i` at byte `256 * i + 4 * d`, 4 bytes, within ±[`FACTOR_MAX`].
//!
//! Numbers of a factor are divided by the deviations of their dimensions. The direction, of length 1, is that
//! of the mean of what comes of it. An item is taken apart into how far it goes along the direction, and a rest,
//! which the deviations are those of. The item's scale is the largest number of the rest / 127, and codes are the rest / scale. A user's factor is
//! multiplied by the deviations and by what makes its largest number 63, and rounded to codes. Then
//! `scale * sum(code * user's code) + along * (user along the direction)` is an item's score but for a positive
//! factor. So dimensions that differ by orders of magnitude cost no precision, nor do parts that all items have
//! in common, nor items of very different length.
//!
//! # What is promised
//!
//! - The same matrices and the same query give the same items in the same order with the same bits of score:
//!   on each of the [`Instructions`], alone or with others in a pass, on each machine. Codes are summed as integers, and the sums, below 2^24, are exact as `f32`; both products with them and
//!   their sum are rounded. Scores from factors are summed in one fixed order, even dimensions and odd ones
//!   apart, each product rounded before it is added (no fused multiplication): see [`score`].
//! - Equal scores stand by item number, the lower first.
//! - [`Pass::exact`] gives the true order of these scores. [`Pass::quantized`] gives the true order of its
//!   [`candidates`]; that no item of the top is missed among them is very likely, not certain.
//! - A pass allocates nothing: what it needs lies in the [`Pass`].

mod buffer;
mod instructions;
mod kernel;
mod matrix;
mod pass;
mod quantized;
mod rows;
mod top;

pub use buffer::{ALIGNMENT, AlignedBytes};
pub use instructions::Instructions;
pub use matrix::{BLOCK_ITEMS, FACTOR_MAX, ItemMatrix, MatrixError, score};
pub use pass::{K_MAX, Pass, QUERIES_MAX, Query, ScanError, Scored, candidates};
pub use quantized::Quantized;
pub use rows::{ItemFactors, ItemRows};
pub(crate) use top::{entry, key};
