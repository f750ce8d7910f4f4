//! ProcessPayment: start an attempt, then wait for what the gateway says.

use onrush_grpc::order::v1::{ProcessPaymentRequest, ProcessPaymentResponse};
use onrush_proto::{Attempt, AttemptState, OrderRow, Receipt};

use super::{command, message, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::gateway::{self, follow_up};
use crate::settlements::Settlements;
use crate::status::Rejection;

pub(super) async fn pay(
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
    let mut watch = settlements.watch(order);
    let accepted = gateway::start(backend, &mut watch, deadline, keyed.request).await?;
    let Receipt::AttemptStarted { attempt: number, amount, .. } = accepted.receipt else {
        return Err(wrong_receipt("started attempt", &accepted.receipt));
    };
    // A decline of the gateway's own leads to another attempt, if the method names another token.
    let done = |row: &OrderRow| follow_up(row, number).is_some_and(is_settled);
    let present = if accepted.replayed { Some(backend.order(order).await?) } else { None };
    let row = match present {
        Some(row) if done(&row) || gateway::awaited(backend, &row).await?.is_some() => row,
        _ => watch.until_asked(backend, deadline, number, done).await?,
    };
    let approval = gateway::awaited(backend, &row).await?;
    let last = follow_up(&row, number);
    Ok(ProcessPaymentResponse {
        request_id: keyed.request_id,
        replayed: accepted.replayed,
        order_id: body.order_id,
        attempt: last.map_or(number, |attempt| attempt.number).into(),
        amount: Some(field::money_message(amount)),
        order_status: message::order_status(row.state).into(),
        payment_status: message::payment_status(&row, approval.as_ref()).into(),
        decline_code: last.map(|attempt| attempt.decline.to_string()).unwrap_or_default(),
        approval_url: approval.map(|approval| approval.link).unwrap_or_default(),
    })
}

/// An unknown outcome is not settled: the reconciler may still settle it before the deadline.
fn is_settled(attempt: &Attempt) -> bool {
    !matches!(attempt.state, AttemptState::Processing | AttemptState::Unknown)
}
