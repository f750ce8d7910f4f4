//! ProcessPayment: start an attempt, then wait for what the gateway says.

use onrush_grpc::order::v1::{ProcessPaymentRequest, ProcessPaymentResponse};

use super::{command, message};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::gateway::Settled;
use crate::settlements::Settlements;
use crate::status::Rejection;

pub(crate) async fn pay(
    backend: &Backend,
    settlements: &Settlements,
    caller: &Admitted,
    deadline: Deadline,
    body: ProcessPaymentRequest,
) -> Result<ProcessPaymentResponse, Rejection> {
    let order = field::order_id("order_id", &body.order_id)?;
    let command = command::start_payment(order, &body)?;
    backend.must_reach(caller, order).await?;
    let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
    let settled = Settled::start(backend, settlements, order, deadline, keyed.request).await?;
    Ok(ProcessPaymentResponse {
        request_id: keyed.request_id,
        replayed: settled.accepted.replayed,
        order_id: body.order_id,
        attempt: settled.attempt().into(),
        amount: Some(field::money_message(settled.amount)),
        order_status: message::order_status(settled.row.state).into(),
        payment_status: message::payment_status(&settled.row, settled.approval.as_ref()).into(),
        decline_code: settled.last().map(|attempt| attempt.decline.to_string()).unwrap_or_default(),
        approval_url: settled.approval.map(|approval| approval.link).unwrap_or_default(),
    })
}
