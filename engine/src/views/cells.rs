//! One cell per SKU and an index that readers walk while the owner grows it.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use onrush_proto::{Currency, Money, ProductRow, Sku, StockRow};
use rkyv::{Archive, Deserialize, Serialize};

use super::ProductView;
use crate::tables::hash_of;

const CHUNK: usize = 1_024;
const CHUNKS: usize = 4_096;
/// Most SKUs one shard can publish.
const CELLS_MAX: u32 = (CHUNK * CHUNKS) as u32;

/// What validation and stock pages read.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct StockView {
    /// Units that a new order may take; negative while backordered.
    pub available: i64,
    /// The price of one unit.
    pub price: Money,
    /// Most units per customer; 0 = no limit.
    pub limit_per_customer: u32,
    /// How far below zero `available` may go.
    pub backorder: u32,
    /// False if the SKU is withdrawn from sale.
    pub active: bool,
    /// Counts changes of product and stock, for compare-and-set.
    pub version: u64,
}

impl StockView {
    /// True if an order could take a unit now.
    pub fn is_on_sale(&self) -> bool {
        self.active && self.available + i64::from(self.backorder) > 0
    }
}

/// The fields of a SKU, each published by itself: a reader may see a new price with an old stock
/// for the length of one batch, and says so.
struct Cell {
    sku: Sku,
    currency: AtomicU32,
    available: AtomicI64,
    held: AtomicI64,
    price: AtomicI64,
    limit: AtomicU32,
    backorder: AtomicU32,
    version: AtomicU64,
    active: AtomicBool,
    product: ArcSwapOption<ProductRow>,
}

impl Cell {
    fn new(sku: Sku) -> Self {
        Self {
            sku,
            currency: AtomicU32::new(0),
            available: AtomicI64::new(0),
            held: AtomicI64::new(0),
            price: AtomicI64::new(0),
            limit: AtomicU32::new(0),
            backorder: AtomicU32::new(0),
            version: AtomicU64::new(0),
            active: AtomicBool::new(false),
            product: ArcSwapOption::empty(),
        }
    }

    fn write(&self, row: &StockRow) {
        let [a, b, c] = row.price.currency.0;
        self.currency.store(u32::from_le_bytes([a, b, c, 0]), Ordering::Relaxed);
        self.available.store(row.available(), Ordering::Relaxed);
        self.held.store(row.held, Ordering::Relaxed);
        self.price.store(row.price.minor, Ordering::Relaxed);
        self.limit.store(row.limit_per_customer, Ordering::Relaxed);
        self.backorder.store(row.backorder, Ordering::Relaxed);
        self.version.store(row.version, Ordering::Relaxed);
        self.active.store(row.active, Ordering::Relaxed);
    }

    fn read(&self) -> StockView {
        let [a, b, c, _] = self.currency.load(Ordering::Relaxed).to_le_bytes();
        StockView {
            available: self.available.load(Ordering::Relaxed),
            price: Money::new(self.price.load(Ordering::Relaxed), Currency([a, b, c])),
            limit_per_customer: self.limit.load(Ordering::Relaxed),
            backorder: self.backorder.load(Ordering::Relaxed),
            active: self.active.load(Ordering::Relaxed),
            version: self.version.load(Ordering::Relaxed),
        }
    }
}

/// Open addressing over cell numbers plus one; 0 is free. At most half full.
struct Index {
    slots: Box<[AtomicU32]>,
}

impl Index {
    fn with_slots(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| AtomicU32::new(0)).collect() }
    }

    fn probe(&self, hash: u64) -> impl Iterator<Item = &AtomicU32> {
        let mask = self.slots.len() - 1;
        (0..self.slots.len()).map(move |step| &self.slots[(hash as usize + step) & mask])
    }

    fn insert(&self, hash: u64, position: u32) {
        if let Some(slot) = self.probe(hash).find(|slot| slot.load(Ordering::Relaxed) == 0) {
            // Pairs with the reader's acquire: who sees the number sees the cell.
            slot.store(position + 1, Ordering::Release);
        }
    }
}

/// Cells are made once and never move.
type Chunk = Box<[OnceLock<Cell>]>;

pub(super) struct Cells {
    chunks: Box<[OnceLock<Chunk>]>,
    /// Looked at behind a guard, so that no counter is shared; a smaller one goes with its last reader.
    index: ArcSwap<Index>,
    len: AtomicU32,
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            index: ArcSwap::from_pointee(Index::with_slots(2 * CHUNK)),
            len: AtomicU32::new(0),
        }
    }
}

impl Cells {
    fn cell(&self, position: u32) -> Option<&Cell> {
        let chunk = self.chunks.get(position as usize / CHUNK)?.get()?;
        chunk[position as usize % CHUNK].get()
    }

    fn find(&self, sku: &Sku) -> Option<&Cell> {
        let index = self.index.load();
        for slot in index.probe(hash_of(sku)) {
            match slot.load(Ordering::Acquire) {
                0 => return None,
                number => {
                    let cell = self.cell(number - 1)?;
                    if cell.sku == *sku {
                        return Some(cell);
                    }
                }
            }
        }
        None
    }

    /// Writes a cell; true if the SKU is new. A cell stands at its SKU's position in the shard's table, unless the table was
    /// rebuilt since then: in another order, without what was never committed.
    pub(super) fn publish(&self, position: u32, row: &StockRow) -> bool {
        if let Some(cell) = self.cell(position).filter(|cell| cell.sku == row.sku) {
            cell.write(row);
            return false;
        }
        if let Some(cell) = self.find(&row.sku) {
            cell.write(row);
            return false;
        }
        self.add(self.len.load(Ordering::Relaxed), row)
    }

    fn add(&self, position: u32, row: &StockRow) -> bool {
        if position >= CELLS_MAX {
            return false;
        }
        let chunk = self.chunks[position as usize / CHUNK]
            .get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        chunk[position as usize % CHUNK].get_or_init(|| Cell::new(row.sku)).write(row);
        let len = self.len.fetch_add(1, Ordering::Relaxed) + 1;
        self.enter(position, &row.sku, len as usize);
        true
    }

    /// Units held, of all cells.
    pub(super) fn held_units(&self) -> i64 {
        let cells = self.chunks.iter().filter_map(OnceLock::get).flat_map(|chunk| chunk.iter());
        cells.filter_map(OnceLock::get).map(|cell| cell.held.load(Ordering::Relaxed)).sum()
    }

    fn enter(&self, position: u32, sku: &Sku, len: usize) {
        let index = self.index.load();
        if 2 * len <= index.slots.len() {
            return index.insert(hash_of(sku), position);
        }
        let grown = Index::with_slots(2 * index.slots.len());
        for at in 0..len as u32 {
            if let Some(cell) = self.cell(at) {
                grown.insert(hash_of(&cell.sku), at);
            }
        }
        self.index.store(Arc::new(grown));
    }

    pub(super) fn publish_product(&self, row: ProductRow) {
        if let Some(cell) = self.find(&row.sku) {
            cell.product.store(Some(Arc::new(row)));
        }
    }

    pub(super) fn stock(&self, sku: &Sku) -> Option<StockView> {
        self.find(sku).map(Cell::read)
    }

    pub(super) fn product(&self, sku: &Sku) -> ProductView {
        self.find(sku).map_or_else(ProductView::none, |cell| ProductView::of(cell.product.load()))
    }

    /// Memory in bytes, without the catalogue rows.
    pub(super) fn bytes(&self) -> u64 {
        let chunks = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        let cells = chunks * CHUNK * size_of::<OnceLock<Cell>>() + size_of_val(&*self.chunks);
        (cells + size_of_val(&*self.index.load().slots)) as u64
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::Text;

    use super::*;

    fn row(position: u32) -> StockRow {
        StockRow {
            sku: Text::new(&format!("sku-{position}")).unwrap(),
            on_hand: position.into(),
            held: 0,
            sold: 0,
            received: position.into(),
            version: 1,
            price: Money::new(450, Currency::EUR),
            limit_per_customer: 0,
            limit_returns: false,
            backorder: 0,
            hold_us: 0,
            active: true,
        }
    }

    /// Readers walk what there is while it grows: what they found once they find again.
    #[test]
    fn cells_are_found_while_their_index_grows() {
        const CELLS: u32 = 5 * CHUNK as u32;
        let cells = Cells::default();
        let written = AtomicU32::new(0);
        let finds = |position: u32| {
            let row = row(position);
            cells.stock(&row.sku).is_some_and(|stock| stock.available == row.on_hand)
        };
        let (new, lost) = std::thread::scope(|threads| {
            let read = threads.spawn(|| {
                let (mut seen, mut lost) = (0, 0);
                while seen < CELLS {
                    // What was there before stays findable, and so does what came long before.
                    let there = written.load(Ordering::Acquire);
                    lost +=
                        (seen..there).filter(|position| !finds(*position) || !finds(position / 2)).count();
                    seen = there;
                }
                lost
            });
            let mut new = 0;
            for position in 0..CELLS {
                new += u32::from(cells.publish(position, &row(position)));
                written.store(position + 1, Ordering::Release);
            }
            (new, read.join().unwrap())
        });
        assert_eq!((new, lost), (CELLS, 0));
        assert_eq!(cells.len(), CELLS as usize);
        assert!(cells.stock(&row(CELLS).sku).is_none());
        let slots = cells.index.load().slots.len();
        assert!(slots >= 2 * CELLS as usize, "at most half full");
    }
}
