//! What is like a product: what the same users buy, and what has a factor of the same direction.

use crate::base::Base;
use crate::factors::{DIMENSIONS, Factor};
use crate::scan::{Instructions, Pass, Query};

/// Products that are compared by direction, for each that is asked for: those with the highest product of factors,
/// which are the ones that sell most among those that point there.
const LOOKED_AT: usize = 4;
/// The same at most, of a scan.
const LOOKED_AT_MAX: usize = 400;
/// How much of a direction is to be shared: what shares less is like anything.
const COSINE_MIN: f32 = 0.3;

/// What looking for them needs; kept between products.
pub struct Similar {
    pass: Pass,
    /// The best first: how near it is in 0..=1, and the number of the product.
    pub found: Vec<(f32, u32)>,
}

impl Default for Similar {
    fn default() -> Self {
        Self { pass: Pass::new(LOOKED_AT_MAX, Instructions::widest()), found: Vec::new() }
    }
}

impl Similar {
    /// Looks for what the same users buy, the nearest first, and then for what has a factor like that of the product;
    /// at most so many. `base` is placed among counters whose numbers these are.
    pub fn look(&mut self, base: &Base, product: u32, most: usize) {
        let Self { pass, found } = self;
        found.clear();
        found.extend(base.neighbours(product).take(most).map(|near| (near.nearness, near.product)));
        let (near, left) = (found.len(), most - found.len());
        let own = base.factor(product);
        let length = length(&own);
        if left == 0 || length == 0.0 {
            return;
        }
        let k = (LOOKED_AT * most).min(LOOKED_AT_MAX);
        let mut admit = |_: usize, item: u32| {
            base.counted(item)
                .is_some_and(|other| other != product && !found.iter().any(|(_, found)| *found == other))
        };
        let query = [Query { user: &own, k }];
        // It was looked at when the model was read that its factors can be scanned.
        let Ok([highest]) = pass.quantized(base.factors(), base.codes(), &query, &mut admit) else { return };
        let cosine = |item: u32| {
            let other = base.factor(base.counted(item)?);
            let cosine =
                crate::scan::score(&other, &own) / (length * self::length(&other)).max(f32::MIN_POSITIVE);
            (cosine >= COSINE_MIN).then_some((cosine.min(1.0), base.counted(item)?))
        };
        let alike: Vec<(f32, u32)> = highest.iter().filter_map(|scored| cosine(scored.item)).collect();
        found.extend(alike);
        found[near..].sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.truncate(near + left);
    }
}

fn length(factor: &Factor) -> f32 {
    let squares: [f32; DIMENSIONS] = factor.map(|number| number * number);
    squares.iter().sum::<f32>().sqrt()
}
