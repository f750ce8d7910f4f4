//! Requests as commands.

use onrush_grpc::order::v1::{CaptureMethod, CreateOrderRequest, NewOrderLine, ProcessPaymentRequest};
use onrush_proto::command::MAX_LINES;
use onrush_proto::{Command, CreateOrder, OrderId, OrderLine, Refusal, StartPayment};
use smallvec::SmallVec;

use crate::access::Admitted;
use crate::field::{self, FieldError};
use crate::status::Rejection;

pub(super) fn create_order(caller: &Admitted, body: &CreateOrderRequest) -> Result<Command, Rejection> {
    let customer = caller.customer(&body.customer_id)?;
    if body.lines.len() > MAX_LINES {
        return Err(Refusal::TooManyLines { found: body.lines.len() }.into());
    }
    let lines: Result<SmallVec<[OrderLine; 1]>, FieldError> =
        body.lines.iter().enumerate().map(|(index, line)| order_line(index, line)).collect();
    Ok(Command::CreateOrder(CreateOrder { customer, lines: lines?, hold_us: body.hold_us }))
}

fn order_line(index: usize, line: &NewOrderLine) -> Result<OrderLine, FieldError> {
    let sku = match field::name("sku", &line.sku) {
        Ok(sku) => sku,
        // The path is written only when it is needed.
        Err(error) => return Err(FieldError { path: format!("lines[{index}].sku"), ..error }),
    };
    Ok(OrderLine { sku, quantity: line.quantity, max_unit_minor: line.max_unit_price.unwrap_or(i64::MAX) })
}

pub(super) fn start_payment(order: OrderId, body: &ProcessPaymentRequest) -> Result<Command, FieldError> {
    let method: CaptureMethod = field::choice("capture_method", body.capture_method)?;
    Ok(Command::StartPayment(Box::new(StartPayment {
        order,
        method: field::payment_method("payment_method", &body.payment_method)?,
        capture: method != CaptureMethod::Manual,
    })))
}
