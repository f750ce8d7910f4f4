//! Commands as calls of gRPC: each has its message.

use onrush_grpc::admin::v1 as admin;
use onrush_grpc::money::v1 as money;
use onrush_grpc::order::v1 as order;
use onrush_grpc::product::v1 as product;
use onrush_grpc::product::v1::update_stock_request::Change;
use onrush_grpc::session::v1::answer::Answer as Told;
use onrush_grpc::session::v1::call::Call as Asked;
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
        if let Command::GetStock(sku) = command {
            let message = admin::GetStockRequest { sku: sku.to_string() };
            return self.get_stock(message).await.and_then(|counted| answers::stock(&counted));
        }
        let told = match asked(key, command).ok_or_else(unknown_method)? {
            Asked::CreateOrder(message) => Told::CreateOrder(Box::new(self.create_order(*message).await?)),
            Asked::ProcessPayment(message) => {
                Told::ProcessPayment(Box::new(self.process_payment(*message).await?))
            }
            Asked::CancelOrder(message) => Told::CancelOrder(Box::new(self.cancel_order(*message).await?)),
            Asked::GetOrderStatus(message) => {
                Told::GetOrderStatus(Box::new(self.get_order_status(*message).await?))
            }
            Asked::PutProduct(message) => Told::PutProduct(Box::new(self.put_product(*message).await?)),
            Asked::UpdateStock(message) => Told::UpdateStock(Box::new(self.update_stock(*message).await?)),
            _ => return Err(unknown_method().into()),
        };
        answers::reply_of(told)
    }
}

/// The call that stands for a command; `None` if none does.
pub(super) fn asked(key: u128, command: Command) -> Option<Asked> {
    let request_id = if key == 0 { String::new() } else { request_id(key) };
    Some(match command {
        Command::CreateOrder(create) => Asked::CreateOrder(Box::new(create_order(request_id, &create))),
        Command::StartPayment(start) => Asked::ProcessPayment(Box::new(payment(request_id, &start))),
        Command::CancelOrder(cancel) => {
            let order_id = cancel.order.to_string();
            Asked::CancelOrder(Box::new(order::CancelOrderRequest { request_id, order_id }))
        }
        Command::GetOrder(id) => {
            Asked::GetOrderStatus(Box::new(order::GetOrderStatusRequest { order_id: id.to_string() }))
        }
        Command::PutProduct(put) => Asked::PutProduct(Box::new(put_product(request_id, *put))),
        Command::UpdateStock(update) => Asked::UpdateStock(Box::new(update_stock(request_id, &update))),
        _ => return None,
    })
}

/// What no call stands for.
pub(super) fn unknown_method() -> Refused {
    Refused {
        reason: "UNKNOWN_METHOD".into(),
        field: None,
        message: "expected a command that a call of gRPC stands for".into(),
        retry_after: None,
        refusal: None,
        leader_address: None,
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
