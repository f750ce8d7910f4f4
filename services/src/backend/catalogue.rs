//! The published catalogue, wherever the engine runs.

use std::collections::HashMap;

use onrush_engine::StockView;
use onrush_engine::views::Views;
use onrush_proto::{ProductRow, Sku};

/// Published stock of what somebody asks for.
pub enum Shelf<'a> {
    /// Read in place.
    Views(&'a Views),
    /// Brought here.
    Fetched(HashMap<Sku, StockView>),
}

impl Shelf<'_> {
    pub(super) fn fetched(skus: Vec<Sku>, stocks: Vec<Option<StockView>>) -> Self {
        let found = skus.into_iter().zip(stocks).filter_map(|(sku, stock)| Some((sku, stock?)));
        Self::Fetched(found.collect())
    }

    /// A SKU's published stock.
    pub fn stock(&self, sku: &Sku) -> Option<StockView> {
        match self {
            Self::Views(views) => views.stock(sku),
            Self::Fetched(stocks) => stocks.get(sku).copied(),
        }
    }
}

/// Which products are listed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ProductFilter {
    /// Part of name, SKU or brand, in lower case; empty: any.
    pub query: String,
    /// The category; empty: any.
    pub category: String,
}

impl ProductFilter {
    /// True if the product is one of them.
    pub fn keeps(&self, row: &ProductRow) -> bool {
        let contains = |text: &str| text.to_lowercase().contains(&self.query);
        (self.category.is_empty() || row.category.as_str() == self.category)
            && (self.query.is_empty()
                || contains(&row.name)
                || contains(row.sku.as_str())
                || contains(row.brand.as_str()))
    }
}
