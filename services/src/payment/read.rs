//! GetPaymentStatus: a payment as its owner has it.

use onrush_grpc::payment::v1::{GetPaymentStatusRequest, GetPaymentStatusResponse};

use super::message;
use crate::access::Admitted;
use crate::backend::Backend;
use crate::field;
use crate::gateway::awaited;
use crate::status::Rejection;

pub(crate) async fn read(
    backend: &Backend,
    caller: &Admitted,
    body: &GetPaymentStatusRequest,
) -> Result<GetPaymentStatusResponse, Rejection> {
    let order = field::order_id("payment_id", &body.payment_id)?;
    let row = backend.order_for(caller, order).await?;
    let approval = awaited(backend, &row).await?;
    Ok(GetPaymentStatusResponse { payment: Some(message::payment(&row, approval)) })
}
