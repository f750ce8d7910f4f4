//! A product as it is published, over whichever protocol.

use onrush_grpc::product::v1::Product;
use onrush_proto::frame::ProductEntry;
use onrush_proto::{Money, Sku};

use super::answers;

/// What is told of a product, its price and its stock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described {
    /// What is sold.
    pub sku: Sku,
    /// Its name.
    pub name: String,
    /// A longer text.
    pub description: String,
    /// The category it is listed in.
    pub category: String,
    /// The brand.
    pub brand: String,
    /// The price of one unit.
    pub price: Money,
    /// Units available.
    pub available: i64,
    /// Most units per customer; 0 = no limit.
    pub limit_per_customer: u32,
    /// True if it is on sale.
    pub active: bool,
    /// For the next change of the stock that names it.
    pub stock_version: u64,
    /// Counts changes of the product.
    pub version: u64,
    /// When the product was changed, in us since 1970.
    pub changed_us: u64,
}

impl From<ProductEntry<'_>> for Described {
    fn from(entry: ProductEntry<'_>) -> Self {
        Self {
            sku: entry.sku,
            name: entry.name.into(),
            description: entry.description.into(),
            category: entry.category.to_string(),
            brand: entry.brand.to_string(),
            price: entry.stock.price,
            available: entry.stock.available,
            limit_per_customer: entry.stock.limit_per_customer,
            active: entry.stock.active,
            stock_version: entry.stock.version,
            version: entry.version,
            changed_us: entry.changed_us,
        }
    }
}

/// As gRPC tells it; `None` if that makes no sense.
pub(super) fn described(product: Product) -> Option<Described> {
    Some(Described {
        sku: product.sku.parse().ok()?,
        name: product.name,
        description: product.description,
        category: product.category,
        brand: product.brand,
        price: answers::amount(product.price.as_ref())?,
        available: product.available,
        limit_per_customer: product.limit_per_customer,
        active: product.active,
        stock_version: product.stock_version,
        version: product.product_version,
        changed_us: u64::try_from(product.changed_us).ok()?,
    })
}
