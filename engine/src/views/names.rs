//! The published SKUs in order, for lists. Touched when a SKU is new and by list calls only.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use onrush_proto::Sku;

/// SKUs that a list call looks at per lock.
const PAGE: usize = 256;

#[derive(Default)]
pub(super) struct Names {
    skus: RwLock<BTreeSet<Sku>>,
}

impl Names {
    pub(super) fn insert(&self, sku: Sku) {
        self.skus.write().unwrap_or_else(PoisonError::into_inner).insert(sku);
    }

    /// Calls `each` in order after `after` until it returns false.
    pub(super) fn each_after(&self, after: Option<&Sku>, mut each: impl FnMut(&Sku) -> bool) {
        let mut last = after.copied();
        loop {
            let from = last.map_or(Bound::Unbounded, Bound::Excluded);
            let page: Vec<Sku> = {
                let skus = self.skus.read().unwrap_or_else(PoisonError::into_inner);
                skus.range((from, Bound::Unbounded)).take(PAGE).copied().collect()
            };
            if page.is_empty() || !page.iter().all(&mut each) {
                return;
            }
            last = page.last().copied();
        }
    }
}
