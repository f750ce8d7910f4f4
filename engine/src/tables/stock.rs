//! Stock rows: all of them stay in memory, found by SKU through a table of indices.

use hashbrown::HashTable;
use onrush_proto::{Sku, StockRow};

use super::hash::hash_of;

/// Fewest rows by which the table grows.
const GROWTH_MIN: usize = 1_024;

/// Every stock row of a shard.
#[derive(Default)]
pub struct StockTable {
    rows: Vec<StockRow>,
    index: HashTable<u32>,
    /// Rows that changed since they were last published, each once.
    changed: Vec<u32>,
    is_changed: Vec<bool>,
}

impl StockTable {
    /// The row of a SKU.
    pub fn row(&self, sku: &Sku) -> Option<&StockRow> {
        self.position(sku).map(|position| &self.rows[position as usize])
    }

    /// Inserts or replaces a row.
    pub fn put(&mut self, row: StockRow) {
        let position = match self.position(&row.sku) {
            Some(position) => {
                self.rows[position as usize] = row;
                position
            }
            None => self.insert(row),
        };
        if !std::mem::replace(&mut self.is_changed[position as usize], true) {
            self.changed.push(position);
        }
    }

    /// Hands over the rows that changed since the last call.
    pub fn drain_changed(&mut self, mut row: impl FnMut(u32, &StockRow)) {
        for position in self.changed.drain(..) {
            self.is_changed[position as usize] = false;
            row(position, &self.rows[position as usize]);
        }
    }

    /// All rows, in the order in which the SKUs came.
    pub fn iter(&self) -> impl Iterator<Item = &StockRow> {
        self.rows.iter()
    }

    /// Number of SKUs.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there is no SKU.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory in bytes, from capacities.
    pub fn bytes(&self) -> u64 {
        (self.rows.capacity() * size_of::<StockRow>()
            + self.index.capacity() * 5
            + self.is_changed.capacity()) as u64
    }

    fn position(&self, sku: &Sku) -> Option<u32> {
        // In a sale one order after another wants the same, and each changes its row.
        let last = self.changed.last().copied().filter(|last| self.rows[*last as usize].sku == *sku);
        last.or_else(|| self.find(sku))
    }

    fn find(&self, sku: &Sku) -> Option<u32> {
        self.index.find(hash_of(sku), |position| self.rows[*position as usize].sku == *sku).copied()
    }

    fn insert(&mut self, row: StockRow) -> u32 {
        let position = self.rows.len() as u32;
        if self.rows.len() == self.rows.capacity() {
            // By an eighth: rows are large, and doubling would leave half the table empty.
            let more = (self.rows.len() / 8).max(GROWTH_MIN);
            self.rows.reserve_exact(more);
            self.is_changed.reserve_exact(more);
        }
        self.rows.push(row);
        self.is_changed.push(false);
        let rows = &self.rows;
        self.index.insert_unique(hash_of(&row.sku), position, |at| hash_of(&rows[*at as usize].sku));
        position
    }
}
