//! Products a page at a time, in the order of their SKUs.

use onrush_grpc::product::v1::{ListProductsRequest, ListProductsResponse};
use onrush_proto::Sku;

use super::message;
use crate::backend::{Backend, ProductFilter};
use crate::field::{self, FieldError, shown};
use crate::page::{self, Listing};
use crate::status::Rejection;

/// Most bytes of a search text.
const QUERY_BYTES_MAX: usize = 200;
/// Products that are looked at together for what is on sale.
const CHUNK: usize = 500;
/// Products after which a page of what is on sale ends, full or not.
const LOOKED_AT_MAX: usize = 1_000;

pub(super) async fn list(
    backend: &Backend,
    body: ListProductsRequest,
) -> Result<ListProductsResponse, Rejection> {
    let limit = page::size(body.page_size)?;
    let filter = filter(&body)?;
    let on_sale = if body.on_sale { "on sale" } else { "" };
    let filters = [body.query.as_str(), body.category.as_str(), on_sale];
    let listing = Listing { name: "products", filters: &filters };
    let mut after = after(listing, &body.page_token)?;

    // Each look walks the catalogue: one for a page, few for what is on sale, however small the page.
    let chunk = if body.on_sale { limit.max(CHUNK) } else { limit };
    let (mut products, mut looked_at) = (Vec::new(), 0);
    loop {
        // One more than the page tells whether there is a next one.
        let rows = backend.products(after, chunk + 1, filter.clone()).await?;
        let shelf = backend.shelf(rows.iter().map(|row| row.sku)).await?;
        let mut left = rows.iter();
        after = None;
        for row in left.by_ref().take(chunk) {
            let stock = shelf.stock(&row.sku);
            if !body.on_sale || stock.is_some_and(|stock| stock.is_on_sale()) {
                products.push(message::product(row, stock));
            }
            after = Some(row.sku);
            if products.len() == limit {
                break;
            }
        }
        looked_at += rows.len();
        let more = left.next().is_some();
        if !more || products.len() == limit || looked_at >= LOOKED_AT_MAX {
            let last = after.filter(|_| more);
            let next_page_token = last.map(|sku| listing.token(sku.as_bytes())).unwrap_or_default();
            return Ok(ListProductsResponse { products, next_page_token });
        }
    }
}

fn after(listing: Listing<'_>, token: &str) -> Result<Option<Sku>, FieldError> {
    let Some(cursor) = listing.cursor(token)? else { return Ok(None) };
    let sku = std::str::from_utf8(&cursor).ok().and_then(|text| Sku::new(text).ok());
    sku.map(Some).ok_or_else(|| page::bad_token(token))
}

fn filter(body: &ListProductsRequest) -> Result<ProductFilter, FieldError> {
    if body.query.len() > QUERY_BYTES_MAX {
        let expected = format!("at most {QUERY_BYTES_MAX} bytes");
        return Err(FieldError::invalid("query", expected, shown(&body.query)));
    }
    field::text::<63>("category", &body.category)?;
    Ok(ProductFilter { query: body.query.to_lowercase(), category: body.category.clone() })
}
