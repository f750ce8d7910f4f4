//! CreatePayment: show the intent; with a payment method, start an attempt.

use onrush_grpc::payment::v1::{CaptureMethod, CreatePaymentRequest, CreatePaymentResponse};
use onrush_proto::{Command, Receipt, StartPayment};

use super::{message, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::gateway;
use crate::settlements::Settlements;
use crate::status::Rejection;

pub(crate) async fn start(
    backend: &Backend,
    settlements: &Settlements,
    caller: &Admitted,
    deadline: Deadline,
    body: CreatePaymentRequest,
) -> Result<CreatePaymentResponse, Rejection> {
    let order = field::order_id("order_id", &body.order_id)?;
    let capture: CaptureMethod = field::choice("capture_method", body.capture_method)?;
    if body.payment_method.is_empty() {
        let row = backend.order_for(caller, order).await?;
        let payment = Some(message::payment(&row, gateway::awaited(backend, &row).await?));
        return Ok(CreatePaymentResponse { payment, ..Default::default() });
    }
    let command = Command::StartPayment(Box::new(StartPayment {
        order,
        method: field::payment_method("payment_method", &body.payment_method)?,
        capture: capture != CaptureMethod::Manual,
    }));
    backend.must_reach(caller, order).await?;
    let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
    let mut watch = settlements.watch(order);
    let accepted = gateway::start(backend, &mut watch, deadline, keyed.request).await?;
    let Receipt::AttemptStarted { attempt, .. } = accepted.receipt else {
        return Err(wrong_receipt("started attempt", &accepted.receipt));
    };
    let row = backend.order(order).await?;
    let approval = gateway::awaited(backend, &row).await?;
    Ok(CreatePaymentResponse {
        request_id: keyed.request_id,
        replayed: accepted.replayed,
        attempt: attempt.into(),
        payment: Some(message::payment(&row, approval)),
    })
}
