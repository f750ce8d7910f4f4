//! A digest of all rows: equal for equal rows, however a store has them.

use onrush_proto::row::RowEncoder;
use onrush_proto::{OrderRow, Row, RowTag};

use crate::flush::{Stored, StoredError};

/// Kinds of rows that stand under their own key. Orders come one by one; keys and counts follow from them.
const TAGS: [RowTag; 9] = [
    RowTag::Stock,
    RowTag::Product,
    RowTag::Hold,
    RowTag::Document,
    RowTag::Name,
    RowTag::Offset,
    RowTag::Ledger,
    RowTag::StockChange,
    RowTag::Group,
];

/// Sums up rows in any order.
#[derive(Default)]
pub(super) struct Digest {
    sum: u128,
    encoder: RowEncoder,
}

impl Digest {
    /// Everything but orders.
    pub(super) fn rows(&mut self, rows: &Stored) -> Result<(), StoredError> {
        TAGS.into_iter().try_for_each(|tag| rows.each_current(tag, &mut |row| self.row(&row)))
    }

    pub(super) fn order(&mut self, order: OrderRow) {
        self.row(&Row::Order(order));
    }

    fn row(&mut self, row: &Row) {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(&[row.tag() as u8]);
        hasher.update(self.encoder.encode(row));
        // A sum, so that the order of rows does not matter.
        self.sum = self.sum.wrapping_add(hasher.digest128());
    }

    pub(super) fn sum(&self) -> u128 {
        self.sum
    }
}
