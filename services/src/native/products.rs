//! What is published of products, straight into the answer.

use onrush_engine::EngineHandle;
use onrush_proto::Refusal;
use onrush_proto::frame::{DETAILS_MAX, DetailsView, ProductStock, put_no_product, put_product};

/// One product per SKU, in their order, or that there is none. All are refused only if there are too many or none.
/// No hop, no lock, no copy but into the answer.
pub(super) fn tell(engine: &EngineHandle, view: &DetailsView<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if view.is_empty() || view.len() > DETAILS_MAX {
        return Err(Refusal::Invalid { field: "skus", expected: "1 to 16 of them" });
    }
    for sku in view.skus() {
        let Some(sku) = sku else {
            put_no_product(out, None);
            continue;
        };
        // A product is published behind its stock, so whoever sees the one sees the other.
        let product = engine.product(&sku);
        match product.row().zip(engine.stock(&sku)) {
            Some((row, stock)) => {
                let stock = ProductStock {
                    available: stock.available,
                    price: stock.price,
                    limit_per_customer: stock.limit_per_customer,
                    active: stock.active,
                    version: stock.version,
                };
                put_product(out, row, &stock);
            }
            None => put_no_product(out, Some(&sku)),
        }
    }
    Ok(())
}
