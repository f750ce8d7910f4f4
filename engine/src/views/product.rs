//! A catalogue row as it is published, looked at where it lies.

use std::sync::Arc;

use arc_swap::Guard;
use onrush_proto::ProductRow;

/// What is published of a SKU's catalogue row. Who only looks at it copies nothing and counts nothing that other
/// threads read; it is meant to be let go soon.
pub struct ProductView(Guard<Option<Arc<ProductRow>>>);

impl ProductView {
    pub(super) fn of(found: Guard<Option<Arc<ProductRow>>>) -> Self {
        Self(found)
    }

    pub(super) fn none() -> Self {
        Self(Guard::from_inner(None))
    }

    /// The row; `None` if none is published.
    pub fn row(&self) -> Option<&ProductRow> {
        self.0.as_deref()
    }

    /// The row for who keeps it.
    pub fn kept(&self) -> Option<Arc<ProductRow>> {
        self.0.as_ref().map(Arc::clone)
    }
}
