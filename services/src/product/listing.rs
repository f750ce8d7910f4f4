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

pub(super) async fn list(
    backend: &Backend,
    body: ListProductsRequest,
) -> Result<ListProductsResponse, Rejection> {
    let limit = page::size(body.page_size)?;
    let filter = filter(&body)?;
    let filters = [body.query.as_str(), body.category.as_str()];
    let listing = Listing { name: "products", filters: &filters };
    let after = after(listing, &body.page_token)?;

    // One more than the page tells whether there is a next one.
    let mut rows = backend.products(after, limit + 1, filter).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next_page_token = last.map(|row| listing.token(row.sku.as_bytes())).unwrap_or_default();
    let shelf = backend.shelf(rows.iter().map(|row| row.sku)).await?;
    let products = rows.iter().map(|row| message::product(row, shelf.stock(&row.sku))).collect();
    Ok(ListProductsResponse { products, next_page_token })
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
