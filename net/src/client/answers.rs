//! Answers of gRPC as replies. One that makes no sense is no answer: what was asked may have been done.

use onrush_grpc::admin::v1::GetStockResponse;
use onrush_grpc::money::v1 as money;
use onrush_grpc::order::v1 as order;
use onrush_grpc::order::v1::{OrderPaymentStatus, OrderStatus};
use onrush_grpc::product::v1 as product;
use onrush_grpc::session::v1::answer::Answer as Told;
use onrush_proto::{
    Currency, CustomerId, Delivery, IdempotencyKey, Line, Lsn, Money, OrderId, OrderRow, OrderState, Outcome,
    Payment, PaymentState, Receipt, Reply, Sku, StateChange, StockRow,
};
use tonic::Code;

use super::CallError;

/// gRPC does not tell the position in the log.
fn reply(outcome: Outcome, replayed: bool) -> Reply {
    Reply { outcome, replayed, lsn: Lsn(0) }
}

/// An answer, or that it is garbled.
pub(super) fn sound<T>(found: Option<T>) -> Result<T, CallError> {
    let message = || "expected an answer of this interface, found a garbled one".to_owned();
    found.ok_or_else(|| CallError::Unknown { code: Code::Internal, message: message() })
}

/// What was answered to a command, as a reply.
pub(super) fn reply_of(told: Told) -> Result<Reply, CallError> {
    match told {
        Told::Failure(failure) => Err((*failure).into()),
        Told::CreateOrder(made) => order_made(*made),
        Told::ProcessPayment(message) => paid(*message),
        Told::CancelOrder(message) => cancelled(*message),
        Told::GetOrderStatus(read) => order_read(*read),
        Told::PutProduct(put) => Ok(product_put(*put)),
        Told::UpdateStock(changed) => Ok(stock_changed(*changed)),
        _ => sound(None),
    }
}

/// An order was accepted.
fn order_made(made: order::CreateOrderResponse) -> Result<Reply, CallError> {
    let receipt = || {
        let order: OrderId = made.order_id.parse().ok()?;
        let held_until_us = u64::try_from(made.held_until_us).ok()?;
        Some(Receipt::Order { order, total: amount(made.total.as_ref())?, held_until_us })
    };
    Ok(reply(Outcome::Accepted(sound(receipt())?), made.replayed))
}

/// A payment came to its end, or waits for its gateway or its buyer.
fn paid(paid: order::ProcessPaymentResponse) -> Result<Reply, CallError> {
    let receipt = || {
        Some(Receipt::AttemptSettled {
            order: paid.order_id.parse().ok()?,
            attempt: u16::try_from(paid.attempt).ok()?,
            order_state: order_state(paid.order_status)?,
            payment_state: payment_state(paid.payment_status)?,
        })
    };
    Ok(reply(Outcome::Accepted(sound(receipt())?), paid.replayed))
}

/// An order was called off.
fn cancelled(cancelled: order::CancelOrderResponse) -> Result<Reply, CallError> {
    let receipt = || {
        let (order, state) = (cancelled.order_id.parse().ok()?, order_state(cancelled.status)?);
        Some(Receipt::OrderMoved { order, state })
    };
    Ok(reply(Outcome::Accepted(sound(receipt())?), cancelled.replayed))
}

/// An order was read. Attempts, refunds and postings are the payment service's, and not in it.
fn order_read(read: order::GetOrderStatusResponse) -> Result<Reply, CallError> {
    let row = read.order.and_then(|found| order_row(&found));
    Ok(reply(Outcome::Order(Box::new(sound(row)?)), false))
}

fn order_row(found: &order::Order) -> Option<OrderRow> {
    let total = amount(found.total.as_ref())?;
    let line = |line: &order::OrderLine| {
        let unit_minor = line.unit_price.as_ref()?.minor_units;
        Some(Line { sku: line.sku.parse().ok()?, quantity: line.quantity, unit_minor })
    };
    let change = |change: &order::OrderStatusChange| {
        Some(StateChange { state: order_state(change.status)?, at_us: change.at_us.try_into().ok()? })
    };
    // The first state is what the order was born as.
    let history: Vec<StateChange> = found.history.iter().skip(1).map(change).collect::<Option<_>>()?;
    let delivery = history.iter().filter_map(|change| Delivery::of(change.state)).max();
    let payment = match payment_state(found.payment_status)? {
        PaymentState::RequiresPaymentMethod => None,
        state => Some(Box::new(Payment {
            state,
            captured: found.captured_minor_units,
            refunded: found.refunded_minor_units,
            ..Payment::new()
        })),
    };
    Some(OrderRow {
        id: found.order_id.parse().ok()?,
        customer: CustomerId::new(&found.customer_id).ok()?,
        lines: found.lines.iter().map(line).collect::<Option<_>>()?,
        total,
        state: order_state(found.status)?,
        delivery: delivery.unwrap_or_default(),
        held_until_us: u64::try_from(found.held_until_us).ok()?,
        changed_us: u64::try_from(found.changed_us).ok()?,
        key: IdempotencyKey::NONE,
        body: 0,
        history: history.into(),
        payment,
    })
}

/// A product was put.
fn product_put(put: product::PutProductResponse) -> Reply {
    reply(Outcome::Accepted(Receipt::Product { version: put.version }), put.replayed)
}

/// Stock was changed.
fn stock_changed(changed: product::UpdateStockResponse) -> Reply {
    let product::UpdateStockResponse { on_hand, held, version, replayed, .. } = changed;
    reply(Outcome::Accepted(Receipt::Stock { on_hand, held, version }), replayed)
}

/// Stock was counted by its owner. What is not counted is zero here.
pub(super) fn stock(counted: &GetStockResponse) -> Result<Reply, CallError> {
    let row = |sku: Sku| StockRow {
        sku,
        on_hand: counted.on_hand,
        held: counted.held,
        sold: counted.sold,
        received: counted.received,
        version: counted.version,
        price: Money::new(0, Currency::USD),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    };
    Ok(reply(Outcome::Stock(Box::new(row(sound(counted.sku.parse().ok())?))), false))
}

/// An amount that came.
pub(super) fn amount(amount: Option<&money::Money>) -> Option<Money> {
    let amount = amount?;
    Some(Money::new(amount.minor_units, amount.currency_code.parse().ok()?))
}

fn order_state(status: i32) -> Option<OrderState> {
    Some(match OrderStatus::try_from(status).ok()? {
        OrderStatus::Unspecified => return None,
        OrderStatus::Reserving => OrderState::Reserving,
        OrderStatus::Rejected => OrderState::Rejected,
        OrderStatus::Pending => OrderState::Pending,
        OrderStatus::Paid => OrderState::Paid,
        OrderStatus::Fulfilling => OrderState::Fulfilling,
        OrderStatus::Shipped => OrderState::Shipped,
        OrderStatus::Delivered => OrderState::Delivered,
        OrderStatus::Cancelled => OrderState::Cancelled,
        OrderStatus::Expired => OrderState::Expired,
        OrderStatus::PartiallyRefunded => OrderState::PartiallyRefunded,
        OrderStatus::Refunded => OrderState::Refunded,
    })
}

fn payment_state(status: i32) -> Option<PaymentState> {
    Some(match OrderPaymentStatus::try_from(status).ok()? {
        OrderPaymentStatus::Unspecified => return None,
        OrderPaymentStatus::RequiresPaymentMethod => PaymentState::RequiresPaymentMethod,
        OrderPaymentStatus::RequiresAction => PaymentState::RequiresAction,
        OrderPaymentStatus::Processing => PaymentState::Processing,
        OrderPaymentStatus::RequiresCapture => PaymentState::RequiresCapture,
        OrderPaymentStatus::Succeeded => PaymentState::Succeeded,
        OrderPaymentStatus::Canceled => PaymentState::Canceled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_garbled_answer_is_none() {
        let empty = order::CreateOrderResponse::default();
        assert!(matches!(order_made(empty), Err(CallError::Unknown { code: Code::Internal, .. })));
        let empty = order::GetOrderStatusResponse { order: Some(order::Order::default()) };
        assert!(order_read(empty).is_err());
    }

    #[test]
    fn an_order_is_read_with_its_lines_and_states() {
        let price = |minor_units| Some(money::Money { minor_units, currency_code: "EUR".into() });
        let change = |status: OrderStatus, at_us| order::OrderStatusChange { status: status.into(), at_us };
        let found = order::Order {
            order_id: "0".repeat(31) + "7",
            customer_id: "ada".into(),
            lines: vec![order::OrderLine { sku: "tea".into(), quantity: 2, unit_price: price(450) }],
            total: price(900),
            status: OrderStatus::PartiallyRefunded.into(),
            payment_status: OrderPaymentStatus::Succeeded.into(),
            captured_minor_units: 900,
            refunded_minor_units: 100,
            history: vec![
                change(OrderStatus::Pending, 1),
                change(OrderStatus::Paid, 2),
                change(OrderStatus::Fulfilling, 3),
                change(OrderStatus::PartiallyRefunded, 4),
            ],
            ..order::Order::default()
        };
        let row = order_row(&found).unwrap();
        assert_eq!((row.id, row.total.minor, row.lines[0].quantity), (OrderId(7), 900, 2));
        assert_eq!((row.delivery, row.history.len()), (Delivery::Fulfilling, 3));
        assert_eq!(row.payment.map(|payment| (payment.captured, payment.refunded)), Some((900, 100)));
    }
}
