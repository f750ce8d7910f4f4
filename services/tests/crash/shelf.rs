//! What is on sale: one hot SKU per cycle, which sells out, and cold ones, which never do.

use onrush_grpc::money::v1::Money;
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_grpc::product::v1::{PutProductRequest, UpdateStockRequest};
use onrush_net::client::grpc::Client;

use crate::answer::given;

/// Cold SKUs: enough to lie on every shard.
pub(crate) const COLD: usize = 32;
/// Units of each cold SKU.
pub(crate) const COLD_UNITS: i64 = 1_000_000;
/// Units of each hot SKU.
pub(crate) const HOT_UNITS: i64 = 100;

pub(crate) fn hot(cycle: u64) -> String {
    format!("hot-{cycle}")
}

pub(crate) fn cold(index: usize) -> String {
    format!("cold-{}", index % COLD)
}

/// The price follows from the name, so that a client knows the total of its basket.
pub(crate) fn price_minor(sku: &str) -> i64 {
    sku.bytes().fold(7, |sum, byte| (sum * 31 + i64::from(byte)) % 10_007)
}

/// Puts a SKU on sale, each step under a key of its own.
pub(crate) async fn put(client: &Client, sku: &str, units: i64) {
    let product = PutProductRequest {
        request_id: format!("product-{sku}"),
        sku: sku.into(),
        name: format!("The {sku}"),
        price: Some(Money { minor_units: price_minor(sku), currency_code: "EUR".into() }),
        ..Default::default()
    };
    given(|| client.put_product(product.clone())).await;
    let stock = UpdateStockRequest {
        request_id: format!("stock-{sku}"),
        sku: sku.into(),
        change: Some(Change::Set(units)),
        ..Default::default()
    };
    given(|| client.update_stock(stock.clone())).await;
}
