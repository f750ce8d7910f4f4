//! CreateOrder: hold the stock of all lines, or change nothing.

use onrush_grpc::order::v1::{CreateOrderRequest, CreateOrderResponse};
use onrush_proto::Receipt;

use super::{command, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::status::Rejection;

pub(crate) async fn create(
    backend: &Backend,
    caller: &Admitted,
    deadline: Deadline,
    body: CreateOrderRequest,
) -> Result<CreateOrderResponse, Rejection> {
    let command = command::create_order(caller, &body)?;
    let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
    let accepted = backend.accept(keyed.request).await?;
    let Receipt::Order { order, total, held_until_us } = accepted.receipt else {
        return Err(wrong_receipt("order", &accepted.receipt));
    };
    Ok(CreateOrderResponse {
        request_id: keyed.request_id,
        replayed: accepted.replayed,
        order_id: order.to_string(),
        total: Some(field::money_message(total)),
        held_until_us: field::time_us(held_until_us),
    })
}
