//! A customer's orders a page at a time, newest first.

use onrush_grpc::order::v1::{ListOrdersRequest, ListOrdersResponse};
use onrush_proto::OrderId;

use super::message;
use crate::access::Admitted;
use crate::backend::Backend;
use crate::page::{self, Listing};
use crate::status::Rejection;

pub(super) async fn list(
    backend: &Backend,
    caller: &Admitted,
    body: ListOrdersRequest,
) -> Result<ListOrdersResponse, Rejection> {
    let customer = caller.customer(&body.customer_id)?;
    let limit = page::size(body.page_size)?;
    let filters = [customer.as_str()];
    let listing = Listing { name: "orders", filters: &filters };
    let before = match listing.cursor(&body.page_token)? {
        None => None,
        Some(cursor) => {
            let id = <[u8; 16]>::try_from(cursor).map_err(|_| page::bad_token(&body.page_token))?;
            Some(OrderId(u128::from_be_bytes(id)))
        }
    };
    // One more than the page tells whether there is a next one.
    let mut rows = backend.orders_of(customer, before, limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next_page_token = last.map(|row| listing.token(&row.id.0.to_be_bytes())).unwrap_or_default();
    Ok(ListOrdersResponse {
        orders: rows.iter().map(|row| message::order(row, None)).collect(),
        next_page_token,
    })
}
