//! CapturePayment: ask the gateway, then record what it took.
//!
//! The gateway takes an attempt's money at most once: a repeated call, after a crash or a lost
//! reply, runs under the same gateway key and gets the first result.

use onrush_grpc::payment::v1::{CapturePaymentRequest, CapturePaymentResponse};
use onrush_proto::{
    AttemptState, CapturePayment, Command, Money, OrderRow, PaymentState, Receipt, Refusal, Request,
};
use tokio::time::timeout_at;

use super::wrong_receipt;
use crate::backend::{Accepted, Backend};
use crate::deadline::Deadline;
use crate::field;
use crate::gateway::{Gateway, GatewayKey, Op};
use crate::status::Rejection;

pub(super) async fn capture(
    backend: &Backend,
    gateway: &Gateway,
    deadline: Deadline,
    body: CapturePaymentRequest,
) -> Result<CapturePaymentResponse, Rejection> {
    let order = field::order_id("payment_id", &body.payment_id)?;
    field::money("amount", body.amount.as_ref())?;
    let row = backend.order(order).await?;
    let amount = field::money_in("amount", body.amount.as_ref(), row.total.currency)?;
    let command = Command::CapturePayment(CapturePayment { order, minor: amount.minor });
    let keyed = backend.keyed(&body.request_id, deadline, command)?;
    // Where nothing is to capture, or not this much, the engine says why; or that it was done before.
    let accepted = match to_capture(&row, amount.minor) {
        None => backend.accept(keyed.request).await?,
        Some(key) => {
            let taken = timeout_at(deadline.answer_at(), gateway.capture_until_answered(key, amount));
            taken.await.map_err(|_| Rejection::GatewaySilent)?;
            record(backend, keyed.request).await?
        }
    };
    let Receipt::Captured { captured, .. } = accepted.receipt else {
        return Err(wrong_receipt("capture", &accepted.receipt));
    };
    Ok(response(keyed.request_id, accepted, body.payment_id, captured))
}

fn response(
    request_id: String,
    accepted: Accepted,
    payment_id: String,
    captured: Money,
) -> CapturePaymentResponse {
    let captured = Some(field::money_message(captured));
    CapturePaymentResponse { request_id, replayed: accepted.replayed, payment_id, captured }
}

/// Records a capture that the gateway made. It happened, so a key that was used for something else
/// cannot keep it out of the books.
async fn record(backend: &Backend, request: Request) -> Result<Accepted, Rejection> {
    let unkeyed = Request::unkeyed(request.command.clone());
    match backend.accept(request).await {
        Err(Rejection::Refused(Refusal::KeyReused | Refusal::DeadlineExceeded)) => {
            backend.accept(unkeyed).await
        }
        answer => answer,
    }
}

fn to_capture(row: &OrderRow, minor: i64) -> Option<GatewayKey> {
    let payment = row.payment.as_ref()?;
    if payment.state != PaymentState::RequiresCapture || !(1..=payment.authorised).contains(&minor) {
        return None;
    }
    let attempt = payment.attempts.iter().find(|attempt| attempt.state == AttemptState::Authorised)?;
    Some(GatewayKey { order: row.id, number: attempt.number, op: Op::Capture })
}
