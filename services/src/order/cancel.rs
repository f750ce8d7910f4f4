//! CancelOrder: give the stock back, and first the money if there is any.

use onrush_grpc::order::v1::{CancelOrderRequest, CancelOrderResponse};
use onrush_proto::{CancelOrder, Command, Receipt};

use super::{message, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::status::Rejection;

pub(crate) async fn cancel(
    backend: &Backend,
    caller: &Admitted,
    deadline: Deadline,
    body: CancelOrderRequest,
) -> Result<CancelOrderResponse, Rejection> {
    let order = field::order_id("order_id", &body.order_id)?;
    backend.must_reach(caller, order).await?;
    let command = Command::CancelOrder(CancelOrder { order });
    let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
    let accepted = backend.accept(keyed.request).await?;
    let state = match accepted.receipt {
        Receipt::OrderMoved { state, .. } => state,
        // Paid money goes back first; the order is called off when it is there.
        Receipt::Refund { order, .. } => backend.order(order).await?.state,
        other => return Err(wrong_receipt("moved order or refund", &other)),
    };
    Ok(CancelOrderResponse {
        request_id: keyed.request_id,
        replayed: accepted.replayed,
        order_id: body.order_id,
        status: message::order_status(state).into(),
    })
}
