//! GetOrderStatus: an order as its owner has it.

use onrush_grpc::order::v1::{GetOrderStatusRequest, GetOrderStatusResponse};

use super::message;
use crate::access::Admitted;
use crate::backend::Backend;
use crate::field;
use crate::gateway::awaited;
use crate::status::Rejection;

pub(crate) async fn read(
    backend: &Backend,
    caller: &Admitted,
    body: &GetOrderStatusRequest,
) -> Result<GetOrderStatusResponse, Rejection> {
    let order = field::order_id("order_id", &body.order_id)?;
    let row = backend.order_for(caller, order).await?;
    let approval = awaited(backend, &row).await?;
    Ok(GetOrderStatusResponse { order: Some(message::order(&row, approval)) })
}
