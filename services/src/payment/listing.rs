//! Movements of money of a customer's payments, a page at a time.
//!
//! A page may end inside a payment, so the cursor is an order id and the number of the next posting.

use onrush_grpc::payment::v1::{ListTransactionsRequest, ListTransactionsResponse, Transaction};
use onrush_proto::{OrderId, OrderRow};

use super::message;
use crate::access::Admitted;
use crate::backend::Backend;
use crate::field::FieldError;
use crate::page::{self, Listing};
use crate::status::Rejection;

/// Orders read at once.
const ORDERS_READ: usize = 100;
/// Most orders one page looks at: a customer's unpaid orders have no transactions.
const ORDERS_READ_MAX: usize = 2_000;

#[derive(Clone, Copy)]
struct Cursor {
    order: OrderId,
    /// The posting to go on with, from 1.
    number: u32,
}

pub(super) async fn list(
    backend: &Backend,
    caller: &Admitted,
    body: ListTransactionsRequest,
) -> Result<ListTransactionsResponse, Rejection> {
    let customer = caller.customer(&body.customer_id)?;
    let limit = page::size(body.page_size)?;
    let filters = [customer.as_str()];
    let listing = Listing { name: "transactions", filters: &filters };
    let start = cursor(listing, &body.page_token)?;
    let mut page = Page { limit, transactions: Vec::new(), next: None };

    if let Some(start) = start {
        let row = backend.order(start.order).await?;
        if row.customer != customer {
            return Err(page::bad_token(&body.page_token).into());
        }
        page.take(&row, start.number);
    }
    let mut before = start.map(|start| start.order);
    for _ in 0..ORDERS_READ_MAX / ORDERS_READ {
        if page.next.is_some() {
            break;
        }
        let rows = backend.orders_of(customer, before, ORDERS_READ).await?;
        rows.iter().for_each(|row| page.take(row, 1));
        before = rows.last().map(|row| row.id);
        if rows.len() < ORDERS_READ {
            return Ok(page.answer(listing));
        }
    }
    // Stopped by the bound: go on after the last order that was looked at.
    page.next = page.next.or(before.map(|order| Cursor { order, number: u32::MAX }));
    Ok(page.answer(listing))
}

struct Page {
    limit: usize,
    transactions: Vec<Transaction>,
    next: Option<Cursor>,
}

impl Page {
    fn take(&mut self, row: &OrderRow, from: u32) {
        for transaction in message::transactions(row, from) {
            if self.next.is_some() {
                return;
            }
            if self.transactions.len() == self.limit {
                self.next = Some(Cursor { order: row.id, number: transaction.number });
                return;
            }
            self.transactions.push(transaction);
        }
    }

    fn answer(self, listing: Listing<'_>) -> ListTransactionsResponse {
        let next_page_token = self.next.map(|next| {
            let mut bytes = next.order.0.to_be_bytes().to_vec();
            bytes.extend_from_slice(&next.number.to_be_bytes());
            listing.token(&bytes)
        });
        ListTransactionsResponse {
            transactions: self.transactions,
            next_page_token: next_page_token.unwrap_or_default(),
        }
    }
}

fn cursor(listing: Listing<'_>, token: &str) -> Result<Option<Cursor>, FieldError> {
    let Some(bytes) = listing.cursor(token)? else { return Ok(None) };
    let (order, number) = bytes.split_first_chunk::<16>().ok_or_else(|| page::bad_token(token))?;
    let number = <[u8; 4]>::try_from(number).map_err(|_| page::bad_token(token))?;
    Ok(Some(Cursor { order: OrderId(u128::from_be_bytes(*order)), number: u32::from_be_bytes(number) }))
}
