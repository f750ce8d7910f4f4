//! Rows as messages.

use onrush_grpc::order::v1::{Order, OrderLine, OrderPaymentStatus, OrderStatus, OrderStatusChange};
use onrush_proto::{Money, OrderRow, OrderState, PaymentState};

use crate::field;
use crate::gateway::Approval;

/// An order; `approval` is what its buyer is to approve.
pub(crate) fn order(row: &OrderRow, approval: Option<Approval>) -> Order {
    let payment = row.payment.as_deref();
    Order {
        order_id: row.id.to_string(),
        customer_id: row.customer.to_string(),
        lines: row
            .lines
            .iter()
            .map(|line| OrderLine {
                sku: line.sku.to_string(),
                quantity: line.quantity,
                unit_price: Some(field::money_message(Money::new(line.unit_minor, row.total.currency))),
            })
            .collect(),
        total: Some(field::money_message(row.total)),
        status: order_status(row.state).into(),
        held_until_us: field::time_us(row.held_until_us),
        created_us: field::time_us(row.id.time_us()),
        changed_us: field::time_us(row.changed_us),
        payment_status: payment_status(row, approval.as_ref()).into(),
        captured_minor_units: payment.map_or(0, |payment| payment.captured),
        refunded_minor_units: payment.map_or(0, |payment| payment.refunded),
        approval_url: approval.map(|approval| approval.link).unwrap_or_default(),
        history: row
            .states()
            .map(|change| OrderStatusChange {
                status: order_status(change.state).into(),
                at_us: field::time_us(change.at_us),
            })
            .collect(),
    }
}

pub(super) fn order_status(state: OrderState) -> OrderStatus {
    match state {
        OrderState::Queued | OrderState::Reserving => OrderStatus::Reserving,
        OrderState::Rejected => OrderStatus::Rejected,
        OrderState::Pending => OrderStatus::Pending,
        OrderState::Paid => OrderStatus::Paid,
        OrderState::Fulfilling => OrderStatus::Fulfilling,
        OrderState::Shipped => OrderStatus::Shipped,
        OrderState::Delivered => OrderStatus::Delivered,
        OrderState::Cancelled => OrderStatus::Cancelled,
        OrderState::Expired => OrderStatus::Expired,
        OrderState::PartiallyRefunded => OrderStatus::PartiallyRefunded,
        OrderState::Refunded => OrderStatus::Refunded,
    }
}

/// An order without a payment row has an intent without attempts.
pub(super) fn payment_status(row: &OrderRow, approval: Option<&Approval>) -> OrderPaymentStatus {
    if approval.is_some() {
        return OrderPaymentStatus::RequiresAction;
    }
    match row.payment.as_ref().map_or(PaymentState::RequiresPaymentMethod, |payment| payment.state) {
        PaymentState::RequiresPaymentMethod => OrderPaymentStatus::RequiresPaymentMethod,
        PaymentState::RequiresAction => OrderPaymentStatus::RequiresAction,
        PaymentState::Processing => OrderPaymentStatus::Processing,
        PaymentState::RequiresCapture => OrderPaymentStatus::RequiresCapture,
        PaymentState::Succeeded => OrderPaymentStatus::Succeeded,
        PaymentState::Canceled => OrderPaymentStatus::Canceled,
    }
}
