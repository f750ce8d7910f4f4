//! Requests as calls. The client has a message for each command; pages of the shop are asked for here.

use onrush_grpc::money::v1::Money;
use onrush_grpc::payment::v1 as payment;
use onrush_grpc::product::v1 as product;
use onrush_net::client::CallError;
use onrush_net::client::grpc::Client;
use onrush_proto::{Command, Lsn, Outcome, RefundPayment, Reply, Request, Sku};

use super::Page;
use crate::plan::CURRENCY;
use crate::target::reply;

/// What a client asks.
pub(super) enum Asked {
    /// A command.
    Request(Request),
    /// A page of the shop.
    Page(Page, Sku),
}

/// Asks, and turns whatever comes into a reply.
pub(super) async fn ask(client: &Client, asked: Asked) -> Reply {
    let answer = match asked {
        Asked::Request(Request { key, command: Command::RefundPayment(back), .. }) => {
            refund(client, key.0, &back).await
        }
        Asked::Request(request) => client.ask(request.key.0, request.command).await,
        Asked::Page(Page::Product, sku) => details(client, sku).await.map(reply::of_page),
        Asked::Page(Page::Validate, sku) => validate(client, sku).await.map(reply::of_page),
    };
    reply::settled(answer.unwrap_or_else(|error| Reply {
        outcome: Outcome::Refused(reply::refusal(&error)),
        replayed: false,
        lsn: Lsn(0),
    }))
}

/// A refund is a call of the payment service, answered once the gateway was asked or patience ends.
async fn refund(client: &Client, key: u128, back: &RefundPayment) -> Result<Reply, CallError> {
    client.process_refund(process_refund(key, back)).await.map(refunded)
}

/// A refund as a message.
pub(super) fn process_refund(key: u128, back: &RefundPayment) -> payment::ProcessRefundRequest {
    payment::ProcessRefundRequest {
        request_id: format!("{key:032x}"),
        payment_id: back.order.to_string(),
        amount: Some(Money { minor_units: back.minor, currency_code: CURRENCY.to_string() }),
    }
}

/// What came of it.
pub(super) fn refunded(made: payment::ProcessRefundResponse) -> Reply {
    Reply { outcome: reply::refunded(&made), replayed: made.replayed, lsn: Lsn(0) }
}

/// A look at a SKU as a message.
pub(super) fn validate_products(sku: &Sku) -> product::ValidateProductsRequest {
    let lines = vec![product::ProductLine { sku: sku.to_string(), quantity: 1 }];
    product::ValidateProductsRequest { lines }
}

async fn details(client: &Client, sku: Sku) -> Result<Outcome, CallError> {
    let message = product::GetProductDetailsRequest { sku: sku.to_string() };
    client.get_product_details(message).await.map(reply::details)
}

async fn validate(client: &Client, sku: Sku) -> Result<Outcome, CallError> {
    client.validate_products(validate_products(&sku)).await.map(reply::validated)
}
