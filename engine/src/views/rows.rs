//! Rows between their decision and their publication.

use onrush_proto::{ProductRow, StockRow};

use crate::state::State;

/// What a batch changed of what is published, as it was when the batch ended. It is staged with the
/// batch because the state has moved on by the time the batch is durable.
#[derive(Default)]
pub struct ViewRows {
    pub(super) stock: Vec<(u32, StockRow)>,
    pub(super) products: Vec<ProductRow>,
}

impl ViewRows {
    /// Catalogue rows that are published already in an earlier life.
    pub fn of_store(products: Vec<ProductRow>) -> Self {
        Self { stock: Vec::new(), products }
    }

    /// Takes over what the state has to publish, behind what is here already.
    pub fn stage(&mut self, state: &mut State) {
        state.stock.drain_changed(|position, row| self.stock.push((position, *row)));
        self.products.extend(state.drain_products());
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.stock.clear();
        self.products.clear();
    }
}
