//! CapturePayment: record the capture, then wait for what the gateway says.

use onrush_grpc::payment::v1::{CapturePaymentRequest, CapturePaymentResponse};
use onrush_proto::{Attempt, AttemptState, CapturePayment, Command, Money, OrderRow, Receipt};

use super::{message, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::settlements::Settlements;
use crate::status::Rejection;

pub(crate) async fn capture(
    backend: &Backend,
    settlements: &Settlements,
    caller: &Admitted,
    deadline: Deadline,
    body: CapturePaymentRequest,
) -> Result<CapturePaymentResponse, Rejection> {
    let order = field::order_id("payment_id", &body.payment_id)?;
    field::money("amount", body.amount.as_ref())?;
    let currency = backend.order_for(caller, order).await?.total.currency;
    let amount = field::money_in("amount", body.amount.as_ref(), currency)?;
    let command = Command::CapturePayment(CapturePayment { order, minor: amount.minor });
    let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
    let mut watch = settlements.watch(order);
    let accepted = backend.accept(keyed.request).await?;
    let Receipt::CaptureStarted { attempt: number, .. } = accepted.receipt else {
        return Err(wrong_receipt("started capture", &accepted.receipt));
    };
    let done = |row: &OrderRow| find(row, number).is_some_and(|one| one.state != AttemptState::Capturing);
    let present = if accepted.replayed {
        Some(backend.order(order).await.map_err(Rejection::behind_acceptance)?)
    } else {
        None
    };
    let row = match present.filter(&done) {
        Some(row) => row,
        None => watch.until(backend, deadline, done).await?,
    };
    let attempt = find(&row, number);
    let taken = attempt.filter(|attempt| attempt.state == AttemptState::Captured);
    let captured = Money::new(taken.map_or(0, |attempt| attempt.capture_minor), currency);
    Ok(CapturePaymentResponse {
        request_id: keyed.request_id,
        replayed: accepted.replayed,
        payment_id: body.payment_id,
        captured: Some(field::money_message(captured)),
        payment_status: message::payment_status(&row).into(),
        decline_code: attempt.map(|attempt| attempt.decline.to_string()).unwrap_or_default(),
    })
}

fn find(row: &OrderRow, number: u16) -> Option<&Attempt> {
    row.payment.as_ref()?.attempts.iter().find(|attempt| attempt.number == number)
}
