//! Published rows as messages.

use onrush_engine::StockView;
use onrush_grpc::product::v1::Product;
use onrush_proto::ProductRow;

use crate::field;

pub(super) fn product(row: &ProductRow, stock: Option<StockView>) -> Product {
    Product {
        sku: row.sku.to_string(),
        name: row.name.clone(),
        description: row.description.clone(),
        category: row.category.to_string(),
        brand: row.brand.to_string(),
        price: stock.map(|stock| field::money_message(stock.price)),
        available: stock.map_or(0, |stock| stock.available.max(0)),
        limit_per_customer: stock.map_or(0, |stock| stock.limit_per_customer),
        active: stock.is_some_and(|stock| stock.active),
        stock_version: stock.map_or(0, |stock| stock.version),
        product_version: row.version,
        changed_us: field::time_us(row.changed_us),
    }
}
