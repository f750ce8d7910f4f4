//! The loops over blocks, once for each set of instructions.
//!
//! A kernel scores a few blocks for `N` users and marks the lanes that score above a user's threshold. All
//! kernels compute the same bits. What is marked is offered between their calls, so that within one all
//! registers are its own.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vectors;

use super::instructions::{Instructions, Set};
use super::matrix::{BLOCK_ITEMS, ItemBlock};
use super::quantized::{QuantizedBlock, UserCodes};
use super::top::Sink;
use crate::factors::Factor;

/// Blocks of a call: their scores stay in the nearest cache. As many as `any` has bits.
const TILE: usize = 16;

/// The scores of some blocks for one user.
struct Tile {
    scores: [[f32; BLOCK_ITEMS]; TILE],
    /// The lanes of each block that are above the threshold.
    above: [u16; TILE],
    /// The blocks that have such lanes.
    any: u16,
}

impl Tile {
    const EMPTY: Self = Self { scores: [[0.0; BLOCK_ITEMS]; TILE], above: [0; TILE], any: 0 };

    /// Without a branch: whether a block has such lanes cannot be foretold, and a wrong guess would throw away
    /// what was read ahead.
    #[inline(always)]
    fn put(&mut self, at: usize, scores: [f32; BLOCK_ITEMS], above: u16) {
        self.scores[at] = scores;
        self.above[at] = above;
        self.any |= u16::from(above != 0) << at;
    }
}

/// Runs a kernel for a set of instructions.
macro_rules! run {
    ($instructions:expr, $avx2:path, $avx_vnni:path, $avx512:path, $portable:path, $arguments:tt) => {{
        #[cfg(not(target_arch = "x86_64"))]
        match $instructions.set() {
            Set::Portable => $portable $arguments,
        }
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "functions for a processor that has these instructions")]
        // SAFETY: a set can only be named after all that its kernels are compiled for was found here.
        unsafe {
            match $instructions.set() {
                Set::Portable => $portable $arguments,
                Set::Avx2 => $avx2 $arguments,
                Set::AvxVnni => $avx_vnni $arguments,
                Set::Avx512Vnni => $avx512 $arguments,
            }
        }
    }};
}

/// Offers all items of a matrix by their scores for each user.
pub(super) fn exact<const N: usize>(
    instructions: Instructions,
    blocks: &[ItemBlock],
    users: [&Factor; N],
    sink: &mut Sink<'_>,
) {
    offer_all(blocks, sink, |blocks, thresholds, tiles| {
        let arguments = (blocks, &users, thresholds, tiles);
        run!(instructions, avx2::exact, avx2::exact, avx512::exact, portable::exact, (arguments));
    });
}

/// Offers all items of a matrix by what their codes say of their scores.
pub(super) fn quantized<const N: usize>(
    instructions: Instructions,
    blocks: &[QuantizedBlock],
    users: [UserCodes; N],
    sink: &mut Sink<'_>,
) {
    offer_all(blocks, sink, |blocks, thresholds, tiles| {
        let arguments = (blocks, &users, thresholds, tiles);
        run!(
            instructions,
            avx2::quantized,
            avx2::quantized_vnni,
            avx512::quantized,
            portable::quantized,
            (arguments)
        );
    });
}

/// Offers what a kernel marks, some blocks at a time.
#[inline(always)]
fn offer_all<const N: usize, B>(
    blocks: &[B],
    sink: &mut Sink<'_>,
    mut score: impl FnMut(&[B], &[f32; N], &mut [Tile; N]),
) {
    let mut tiles = [const { Tile::EMPTY }; N];
    for (at, blocks) in blocks.chunks(TILE).enumerate() {
        score(blocks, &sink.thresholds(), &mut tiles);
        for (n, tile) in tiles.iter_mut().enumerate() {
            while tile.any != 0 {
                let block = tile.any.trailing_zeros() as usize;
                tile.any &= tile.any - 1;
                sink.offer(n, at * TILE + block, tile.above[block], &tile.scores[block]);
            }
        }
    }
}

/// What a kernel is called with: blocks, users, the threshold and the tile of each user.
type Arguments<'a, B, U, const N: usize> = (&'a [B], &'a [U; N], &'a [f32; N], &'a mut [Tile; N]);

/// What a kernel of factors is called with.
type ExactArguments<'a, const N: usize> = Arguments<'a, ItemBlock, &'a Factor, N>;

/// What a kernel of codes is called with.
type CodeArguments<'a, const N: usize> = Arguments<'a, QuantizedBlock, UserCodes, N>;
