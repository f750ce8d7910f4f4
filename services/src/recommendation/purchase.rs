//! What the log says that there is something to learn from: paid orders, and products.

use onrush_engine::Event;
use onrush_proto::{
    BrandName, CategoryName, CustomerId, Lsn, OrderRow, ProductRow, RecordKind, Row, RowTag, Sku,
};

/// An order that was paid.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Purchase {
    pub(super) customer: CustomerId,
    pub(super) time_us: u64,
    /// Each product once, with what one of it cost in minor units.
    pub(super) lines: Vec<(Sku, i64)>,
}

/// A product as the catalogue has it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Listing {
    pub(super) sku: Sku,
    pub(super) category: CategoryName,
    pub(super) brand: BrandName,
    /// The price of one, in minor units; `None` = nobody said.
    pub(super) unit_minor: Option<i64>,
    /// When it was put for the first time; 0 = nobody knows.
    pub(super) since_us: u64,
    pub(super) time_us: u64,
}

/// What a record says.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Lesson {
    Bought(Purchase),
    Listed(Listing),
}

impl Lesson {
    /// What there is to learn from a record, with its position. An order is paid once, however its
    /// money came.
    pub(super) fn of(event: &Event<'_>) -> Option<(Lsn, Self)> {
        let wanted = match event.fact.kind {
            RecordKind::PaymentCaptured => RowTag::Order,
            RecordKind::ProductPut => RowTag::Product,
            _ => return None,
        };
        let row = |wanted: RowTag| {
            let (tag, bytes) = event.fact.rows().flatten().find(|(tag, _)| *tag == wanted)?;
            Row::decode(tag, bytes).ok()
        };
        let lesson = match row(wanted)? {
            Row::Order(order) => Self::Bought(Purchase::of(&order, event.time_us)),
            Row::Product(product) => {
                let unit_minor = match row(RowTag::Stock) {
                    Some(Row::Stock(stock)) => Some(stock.price.minor),
                    _ => None,
                };
                Self::Listed(Listing { unit_minor, ..Listing::of(&product) })
            }
            _ => return None,
        };
        Some((event.lsn, lesson))
    }
}

impl Purchase {
    /// The engine takes no order with a SKU twice.
    fn of(order: &OrderRow, time_us: u64) -> Self {
        let lines = order.lines.iter().map(|line| (line.sku, line.unit_minor)).collect();
        Self { customer: order.customer, time_us, lines }
    }
}

impl Listing {
    /// As the catalogue has it, which says nothing of the price.
    pub(super) fn of(row: &ProductRow) -> Self {
        let ProductRow { sku, category, brand, version, changed_us, .. } = *row;
        // The row is changed in place: only the first version tells when it came.
        let since_us = if version == 1 { changed_us } else { 0 };
        Self { sku, category, brand, unit_minor: None, since_us, time_us: changed_us }
    }
}
