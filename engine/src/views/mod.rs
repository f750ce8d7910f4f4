//! Published reads: stock and catalogue, read by any thread without a hop, a lock or a copy.
//!
//! The owner of a SKU publishes after its batch is durable; a reader may lag it by one batch. Only
//! an order decides. *Invariant*: one writer per [`ShardViews`].

mod cells;
#[allow(clippy::disallowed_types, reason = "touched when a SKU is new and by lists, never by an order")]
mod names;
mod product;
mod rows;
mod validate;

use std::sync::Arc;

use onrush_proto::{Money, ProductRow, Sku, Slot, SlotMap, StockRow};

use cells::Cells;
pub use cells::StockView;
use names::Names;
pub use product::ProductView;
pub use rows::ViewRows;
pub use validate::validate;

/// What one shard has published.
#[derive(Default)]
pub struct ShardViews {
    cells: Cells,
    names: Names,
}

impl ShardViews {
    /// Publishes a stock row. `position` is its place in the shard's stock table, dense from 0.
    pub fn publish_stock(&self, position: u32, row: &StockRow) {
        if self.cells.publish(position, row) {
            self.names.insert(row.sku);
        }
    }

    /// Publishes what a committed batch changed.
    pub fn publish(&self, rows: &mut ViewRows) {
        for (position, row) in rows.stock.drain(..) {
            self.publish_stock(position, &row);
        }
        for product in rows.products.drain(..) {
            self.publish_product(product);
        }
    }

    /// Memory of the published cells in bytes, without the catalogue's text and order.
    pub fn bytes(&self) -> u64 {
        self.cells.bytes()
    }

    /// Units that are held, over all SKUs.
    pub fn held_units(&self) -> i64 {
        self.cells.held_units()
    }

    /// Publishes a catalogue row; its stock row comes first.
    pub fn publish_product(&self, row: ProductRow) {
        self.cells.publish_product(row);
    }
}

/// What all shards have published.
#[derive(Clone)]
pub struct Views {
    shards: Arc<[Arc<ShardViews>]>,
    map: SlotMap,
}

impl Views {
    /// Views of all shards, in the order of their numbers.
    pub fn new(shards: Vec<Arc<ShardViews>>, map: SlotMap) -> Self {
        Self { shards: shards.into(), map }
    }

    /// What each shard has published.
    pub fn shards(&self) -> &[Arc<ShardViews>] {
        &self.shards
    }

    fn of(&self, sku: &Sku) -> &ShardViews {
        let shard = self.map.shard(Slot::of(sku.as_bytes()));
        &self.shards[usize::from(shard.0)]
    }

    /// What validation reads. No hop, no lock, no allocation.
    pub fn stock(&self, sku: &Sku) -> Option<StockView> {
        self.of(sku).cells.stock(sku)
    }

    /// The catalogue row as last published, in place. No hop, no lock, no copy, no allocation.
    pub fn product(&self, sku: &Sku) -> ProductView {
        self.of(sku).cells.product(sku)
    }

    /// Products in SKU order after `after`, for which `keep` holds, at most `limit`.
    pub fn products(
        &self,
        after: Option<&Sku>,
        limit: usize,
        keep: &mut dyn FnMut(&ProductRow) -> bool,
    ) -> Vec<Arc<ProductRow>> {
        let mut found: Vec<Arc<ProductRow>> = Vec::new();
        for shard in self.shards.iter() {
            let mut of_shard = 0;
            shard.names.each_after(after, |sku| {
                let product = shard.cells.product(sku);
                if product.row().is_some_and(&mut *keep) {
                    found.extend(product.kept());
                    of_shard += 1;
                }
                of_shard < limit
            });
        }
        found.sort_unstable_by_key(|product| product.sku);
        found.truncate(limit);
        found
    }

    /// SKUs published.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.cells.len()).sum()
    }

    /// True if nothing is published.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl StockView {
    /// Price of `quantity` units, or `None` on overflow.
    pub fn price_of(&self, quantity: u32) -> Option<Money> {
        self.price.times(quantity)
    }
}
