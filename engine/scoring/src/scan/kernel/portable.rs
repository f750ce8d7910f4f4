//! Plain loops for each processor; the compiler makes vectors of them as it can.

use super::{CodeArguments, ExactArguments, Tile};
use crate::factors::{DIMENSIONS, Factor};
use crate::scan::BLOCK_ITEMS;
use crate::scan::matrix::{ItemBlock, Line, number};
use crate::scan::quantized::{ALONG, GROUP, QuantizedBlock, SCALES, UserCodes};

pub(super) fn exact<const N: usize>((blocks, users, thresholds, tiles): ExactArguments<'_, N>) {
    for (at, block) in blocks.iter().enumerate() {
        for ((user, tile), threshold) in users.iter().zip(&mut *tiles).zip(thresholds) {
            put(tile, at, scores(block, user), *threshold);
        }
    }
}

pub(super) fn quantized<const N: usize>((blocks, users, thresholds, tiles): CodeArguments<'_, N>) {
    for (at, block) in blocks.iter().enumerate() {
        for ((user, tile), threshold) in users.iter().zip(&mut *tiles).zip(thresholds) {
            put(tile, at, scores_of_codes(block, user), *threshold);
        }
    }
}

/// Marks a block as a whole: which of its lanes are above is seen when they are offered.
#[inline(always)]
fn put(tile: &mut Tile, at: usize, scores: [f32; BLOCK_ITEMS], threshold: f32) {
    let any = scores.iter().fold(false, |any, score| any | (*score > threshold));
    tile.put(at, scores, if any { u16::MAX } else { 0 });
}

/// In the order of [`crate::scan::score`], lane by lane.
#[inline(always)]
fn scores(block: &ItemBlock, user: &Factor) -> [f32; BLOCK_ITEMS] {
    let (mut even, mut odd) = ([0f32; BLOCK_ITEMS], [0f32; BLOCK_ITEMS]);
    for pair in 0..DIMENSIONS / 2 {
        let (d, e) = (2 * pair, 2 * pair + 1);
        for lane in 0..BLOCK_ITEMS {
            even[lane] += number(&block[d], lane) * user[d];
            odd[lane] += number(&block[e], lane) * user[e];
        }
    }
    std::array::from_fn(|lane| even[lane] + odd[lane])
}

#[inline(always)]
fn scores_of_codes(block: &QuantizedBlock, user: &UserCodes) -> [f32; BLOCK_ITEMS] {
    let mut sums = [user.start; BLOCK_ITEMS];
    for (codes, by) in block.iter().zip(user.groups) {
        add_group(codes, by, &mut sums);
    }
    std::array::from_fn(|lane| {
        sums[lane] as f32 * number(&block[SCALES], lane) + number(&block[ALONG], lane) * user.along
    })
}

/// Adds what four dimensions add to each lane.
#[inline(always)]
fn add_group(codes: &Line, by: [i8; GROUP], sums: &mut [i32; BLOCK_ITEMS]) {
    let by = by.map(i32::from);
    for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<GROUP>().0) {
        let codes = codes.map(i32::from);
        *sum += codes[0] * by[0] + codes[1] * by[1] + codes[2] * by[2] + codes[3] * by[3];
    }
}
