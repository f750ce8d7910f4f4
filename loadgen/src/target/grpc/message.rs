//! Requests as calls: each command has its message.

use onrush_grpc::admin::v1 as admin;
use onrush_grpc::money::v1::Money as WireMoney;
use onrush_grpc::order::v1 as order;
use onrush_grpc::product::v1 as product;
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_net::client::CallError;
use onrush_net::client::grpc::Client;
use onrush_proto::{
    Command, CreateOrder, IdempotencyKey, Lsn, Outcome, PutProduct, Refusal, Reply, Request, Sku,
    StartPayment, StockChange, UpdateStock,
};

use super::Page;
use super::reply::{self, Answer};

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
        Asked::Request(request) => call(client, request).await,
        Asked::Page(Page::Product, sku) => details(client, sku).await,
        Asked::Page(Page::Validate, sku) => validate(client, sku).await,
    };
    let (outcome, replayed) =
        answer.unwrap_or_else(|error| (Outcome::Refused(reply::refusal(&error)), false));
    Reply { outcome, replayed, lsn: Lsn(0) }
}

async fn call(client: &Client, request: Request) -> Result<Answer, CallError> {
    let request_id = request_id(request.key);
    match request.command {
        Command::CreateOrder(create) => {
            client.create_order(create_order(request_id, &create)).await.map(reply::order_made)
        }
        Command::StartPayment(start) => {
            client.process_payment(payment(request_id, &start)).await.map(reply::paid)
        }
        Command::CancelOrder(cancel) => {
            let message = order::CancelOrderRequest { request_id, order_id: cancel.order.to_string() };
            client.cancel_order(message).await.map(reply::cancelled)
        }
        Command::GetOrder(id) => {
            let message = order::GetOrderStatusRequest { order_id: id.to_string() };
            client.get_order_status(message).await.map(reply::order_read)
        }
        Command::PutProduct(put) => {
            client.put_product(put_product(request_id, *put)).await.map(reply::product_put)
        }
        Command::UpdateStock(update) => {
            client.update_stock(update_stock(request_id, &update)).await.map(reply::stock_changed)
        }
        Command::GetStock(sku) => {
            let message = admin::GetStockRequest { sku: sku.to_string() };
            client.get_stock(message).await.map(|counted| reply::stock(&counted))
        }
        // The wire has no call for the rest, and no scenario asks for it.
        _ => Ok((Outcome::Refused(Refusal::NotFound), false)),
    }
}

/// A key as its 32 hex digits; the client makes one for a request that has none.
fn request_id(key: IdempotencyKey) -> String {
    if key.is_none() { String::new() } else { format!("{:032x}", key.0) }
}

fn create_order(request_id: String, create: &CreateOrder) -> order::CreateOrderRequest {
    let line = |line: &onrush_proto::OrderLine| order::NewOrderLine {
        sku: line.sku.to_string(),
        quantity: line.quantity,
        max_unit_price: Some(line.max_unit_minor).filter(|minor| *minor != i64::MAX),
    };
    order::CreateOrderRequest {
        request_id,
        customer_id: create.customer.to_string(),
        lines: create.lines.iter().map(line).collect(),
        hold_us: create.hold_us,
    }
}

fn payment(request_id: String, start: &StartPayment) -> order::ProcessPaymentRequest {
    let method = if start.capture { order::CaptureMethod::Automatic } else { order::CaptureMethod::Manual };
    order::ProcessPaymentRequest {
        request_id,
        order_id: start.order.to_string(),
        payment_method: start.method.to_string(),
        capture_method: method.into(),
    }
}

fn put_product(request_id: String, put: PutProduct) -> product::PutProductRequest {
    product::PutProductRequest {
        request_id,
        sku: put.sku.to_string(),
        name: put.name,
        description: put.description,
        category: put.category.to_string(),
        brand: put.brand.to_string(),
        price: Some(WireMoney {
            minor_units: put.price.minor,
            currency_code: put.price.currency.to_string(),
        }),
        limit_per_customer: put.limit_per_customer,
        limit_returns: put.limit_returns,
        backorder: put.backorder,
        hold_us: put.hold_us,
        withdrawn: !put.active,
    }
}

fn update_stock(request_id: String, update: &UpdateStock) -> product::UpdateStockRequest {
    let change = match update.change {
        StockChange::Set(units) => Change::Set(units),
        StockChange::Add(units) => Change::Add(units),
        StockChange::AddIfVersion { add, version } => {
            Change::AddIfVersion(product::AddIfVersion { add, version })
        }
    };
    product::UpdateStockRequest {
        request_id,
        sku: update.sku.to_string(),
        change: Some(change),
        reason: update.reason.to_string(),
    }
}

async fn details(client: &Client, sku: Sku) -> Result<Answer, CallError> {
    let message = product::GetProductDetailsRequest { sku: sku.to_string() };
    client.get_product_details(message).await.map(reply::details)
}

async fn validate(client: &Client, sku: Sku) -> Result<Answer, CallError> {
    let lines = vec![product::ProductLine { sku: sku.to_string(), quantity: 1 }];
    client.validate_products(product::ValidateProductsRequest { lines }).await.map(reply::validated)
}
