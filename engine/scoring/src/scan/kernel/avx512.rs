//! A block in one vector: 16 numbers, or 64 codes that one instruction multiplies and sums by four.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_GT_OQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::vectors::As;
use super::{CodeArguments, ExactArguments, Tile};
use crate::factors::{DIMENSIONS, Factor};
use crate::scan::matrix::ItemBlock;
use crate::scan::quantized::{ALONG, GROUPS, QuantizedBlock, SCALES, UserCodes};

#[target_feature(enable = "avx512f")]
pub(super) fn exact<const N: usize>((blocks, users, thresholds, tiles): ExactArguments<'_, N>) {
    for (at, block) in blocks.iter().enumerate() {
        let scores = scores(block, users);
        for n in 0..N {
            put(&mut tiles[n], at, scores[n], thresholds[n]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn scores<const N: usize>(block: &ItemBlock, users: &[&Factor; N]) -> [__m512; N] {
    let mut even = [_mm512_setzero_ps(); N];
    let mut odd = even;
    for pair in 0..DIMENSIONS / 2 {
        let (d, e) = (2 * pair, 2 * pair + 1);
        let (first, second): (__m512, __m512) = (block[d].cast(), block[e].cast());
        for n in 0..N {
            // Never a fused multiplication: each path rounds the product.
            even[n] = _mm512_add_ps(even[n], _mm512_mul_ps(first, _mm512_set1_ps(users[n][d])));
            odd[n] = _mm512_add_ps(odd[n], _mm512_mul_ps(second, _mm512_set1_ps(users[n][e])));
        }
    }
    std::array::from_fn(|n| _mm512_add_ps(even[n], odd[n]))
}

#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn quantized<const N: usize>((blocks, users, thresholds, tiles): CodeArguments<'_, N>) {
    // One user's codes stay in registers. Those of more do not, so each that is loaded serves two blocks.
    let (pairs, rest) = if N == 1 { (&[][..], blocks) } else { blocks.as_chunks::<2>() };
    for (pair, blocks) in pairs.iter().enumerate() {
        let scores = scores_of_codes(blocks, users);
        for n in 0..N {
            put(&mut tiles[n], 2 * pair, scores[n][0], thresholds[n]);
            put(&mut tiles[n], 2 * pair + 1, scores[n][1], thresholds[n]);
        }
    }
    for (at, block) in (2 * pairs.len()..).zip(rest) {
        let scores = scores_of_codes(std::array::from_ref(block), users);
        for n in 0..N {
            put(&mut tiles[n], at, scores[n][0], thresholds[n]);
        }
    }
}

/// The scores of `P` blocks side by side: no sum waits for the one before.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn scores_of_codes<const N: usize, const P: usize>(
    blocks: &[QuantizedBlock; P],
    users: &[UserCodes; N],
) -> [[__m512; P]; N] {
    let mut sums: [[__m512i; P]; N] = std::array::from_fn(|n| [_mm512_set1_epi32(users[n].start); P]);
    for group in 0..GROUPS {
        let codes: [__m512i; P] = blocks.each_ref().map(|block| block[group].cast());
        for n in 0..N {
            let by = _mm512_set1_epi32(users[n].words[group]);
            for p in 0..P {
                sums[n][p] = _mm512_dpbusd_epi32(sums[n][p], codes[p], by);
            }
        }
    }
    let scales: [__m512; P] = blocks.each_ref().map(|block| block[SCALES].cast());
    let along: [__m512; P] = blocks.each_ref().map(|block| block[ALONG].cast());
    std::array::from_fn(|n| {
        let by = _mm512_set1_ps(users[n].along);
        std::array::from_fn(|p| {
            let coded = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[n][p]), scales[p]);
            _mm512_add_ps(coded, _mm512_mul_ps(along[p], by))
        })
    })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn put(tile: &mut Tile, at: usize, scores: __m512, threshold: f32) {
    let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(scores, _mm512_set1_ps(threshold));
    tile.put(at, scores.cast(), above);
}
