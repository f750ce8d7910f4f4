//! A block in two vectors: 8 numbers each, or 32 codes.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _mm256_add_epi32, _mm256_add_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps,
    _mm256_dpbusd_avx_epi32, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_movemask_ps, _mm256_mul_ps,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
};

use super::vectors::As;
use super::{CodeArguments, ExactArguments, Tile};
use crate::factors::{DIMENSIONS, Factor};
use crate::scan::matrix::ItemBlock;
use crate::scan::quantized::{ALONG, GROUPS, SCALES};

#[target_feature(enable = "avx2")]
pub(super) fn exact<const N: usize>((blocks, users, thresholds, tiles): ExactArguments<'_, N>) {
    for (at, block) in blocks.iter().enumerate() {
        let scores = scores(block, users);
        for n in 0..N {
            put(&mut tiles[n], at, scores[n], thresholds[n]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn scores<const N: usize>(block: &ItemBlock, users: &[&Factor; N]) -> [[__m256; 2]; N] {
    let mut even = [[_mm256_setzero_ps(); 2]; N];
    let mut odd = even;
    for pair in 0..DIMENSIONS / 2 {
        let (d, e) = (2 * pair, 2 * pair + 1);
        let (first, second): ([__m256; 2], [__m256; 2]) = (block[d].cast(), block[e].cast());
        for n in 0..N {
            let (by_first, by_second) = (_mm256_set1_ps(users[n][d]), _mm256_set1_ps(users[n][e]));
            for half in 0..2 {
                // Never a fused multiplication: each path rounds the product.
                even[n][half] = _mm256_add_ps(even[n][half], _mm256_mul_ps(first[half], by_first));
                odd[n][half] = _mm256_add_ps(odd[n][half], _mm256_mul_ps(second[half], by_second));
            }
        }
    }
    std::array::from_fn(|n| std::array::from_fn(|half| _mm256_add_ps(even[n][half], odd[n][half])))
}

/// The loop over codes; `$sum` adds what four codes and four of a user's give to each sum.
macro_rules! loop_over_codes {
    ($arguments:expr, $sum:expr) => {{
        let (sum, (blocks, users, thresholds, tiles)) = ($sum, $arguments);
        let starts: [_; N] = std::array::from_fn(|n| [_mm256_set1_epi32(users[n].start); 2]);
        for (at, block) in blocks.iter().enumerate() {
            let mut sums = starts;
            for group in 0..GROUPS {
                let codes: [__m256i; 2] = block[group].cast();
                for n in 0..N {
                    let by = _mm256_set1_epi32(users[n].words[group]);
                    sums[n] = [sum(sums[n][0], codes[0], by), sum(sums[n][1], codes[1], by)];
                }
            }
            let (scales, along): ([__m256; 2], [__m256; 2]) = (block[SCALES].cast(), block[ALONG].cast());
            for n in 0..N {
                let by = _mm256_set1_ps(users[n].along);
                let score = |half: usize| {
                    let coded = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[n][half]), scales[half]);
                    _mm256_add_ps(coded, _mm256_mul_ps(along[half], by))
                };
                put(&mut tiles[n], at, [score(0), score(1)], thresholds[n]);
            }
        }
    }};
}

#[target_feature(enable = "avx2")]
pub(super) fn quantized<const N: usize>(arguments: CodeArguments<'_, N>) {
    let ones = _mm256_set1_epi16(1);
    loop_over_codes!(arguments, |sum: __m256i, codes: __m256i, by: __m256i| {
        // Two products are at most 2 * 255 * 63, so nothing is cut off at 16 bits.
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, by), ones))
    });
}

#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn quantized_vnni<const N: usize>(arguments: CodeArguments<'_, N>) {
    loop_over_codes!(arguments, |sum: __m256i, codes: __m256i, by: __m256i| {
        _mm256_dpbusd_avx_epi32(sum, codes, by)
    });
}

#[inline]
#[target_feature(enable = "avx2")]
fn put(tile: &mut Tile, at: usize, scores: [__m256; 2], threshold: f32) {
    let threshold = _mm256_set1_ps(threshold);
    let above = scores.map(|half| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(half, threshold)));
    tile.put(at, scores.cast(), (above[0] | above[1] << 8) as u16);
}
