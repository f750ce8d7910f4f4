//! Commands as calls of gRPC: each has its message.

use onrush_grpc::admin::v1 as admin;
use onrush_grpc::money::v1 as money;
use onrush_grpc::order::v1 as order;
use onrush_grpc::product::v1 as product;
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_proto::{
    Command, CreateOrder, Money, OrderLine, PutProduct, Reply, StartPayment, StockChange, UpdateStock,
};

use super::grpc::Client;
use super::{CallError, Refused, answers};

impl Client {
    /// Has a command done by the call that stands for it: creating, reading, paying and calling off orders,
    /// putting products, changing and reading stock. A payment is answered once it is settled or waits for
    /// its buyer. A key (0 = a fresh one) travels as its 32 hex digits.
    pub async fn ask(&self, key: u128, command: Command) -> Result<Reply, CallError> {
        let request_id = if key == 0 { String::new() } else { request_id(key) };
        match command {
            Command::CreateOrder(create) => {
                self.create_order(create_order(request_id, &create)).await.and_then(answers::order_made)
            }
            Command::StartPayment(start) => {
                self.process_payment(payment(request_id, &start)).await.and_then(answers::paid)
            }
            Command::CancelOrder(cancel) => {
                let message = order::CancelOrderRequest { request_id, order_id: cancel.order.to_string() };
                self.cancel_order(message).await.and_then(answers::cancelled)
            }
            Command::GetOrder(id) => {
                let message = order::GetOrderStatusRequest { order_id: id.to_string() };
                self.get_order_status(message).await.and_then(answers::order_read)
            }
            Command::PutProduct(put) => {
                self.put_product(put_product(request_id, *put)).await.map(answers::product_put)
            }
            Command::UpdateStock(update) => {
                self.update_stock(update_stock(request_id, &update)).await.map(answers::stock_changed)
            }
            Command::GetStock(sku) => {
                let message = admin::GetStockRequest { sku: sku.to_string() };
                self.get_stock(message).await.and_then(|counted| answers::stock(&counted))
            }
            _ => Err(unknown_method().into()),
        }
    }
}

/// What no call stands for.
fn unknown_method() -> Refused {
    Refused {
        reason: "UNKNOWN_METHOD".into(),
        field: None,
        message: "expected a command that a call of gRPC stands for".into(),
        retry_after: None,
        refusal: None,
    }
}

/// A key as it travels.
pub(super) fn request_id(key: u128) -> String {
    format!("{key:032x}")
}

/// An amount as it travels.
pub(super) fn amount(amount: Money) -> money::Money {
    money::Money { minor_units: amount.minor, currency_code: amount.currency.to_string() }
}

fn create_order(request_id: String, create: &CreateOrder) -> order::CreateOrderRequest {
    let line = |line: &OrderLine| order::NewOrderLine {
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
        price: Some(amount(put.price)),
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
