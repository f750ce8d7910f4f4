//! ProcessRefund: record the refund, then wait for what the gateway says.

use onrush_grpc::payment::v1::{ProcessRefundRequest, ProcessRefundResponse};
use onrush_proto::{Command, OrderRow, Receipt, Refund, RefundPayment, RefundState};

use super::{message, wrong_receipt};
use crate::access::Admitted;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::field;
use crate::settlements::Settlements;
use crate::status::Rejection;

pub(crate) async fn refund(
    backend: &Backend,
    settlements: &Settlements,
    caller: &Admitted,
    deadline: Deadline,
    body: ProcessRefundRequest,
) -> Result<ProcessRefundResponse, Rejection> {
    let order = field::order_id("payment_id", &body.payment_id)?;
    field::money("amount", body.amount.as_ref())?;
    let currency = backend.order_for(caller, order).await?.total.currency;
    let amount = field::money_in("amount", body.amount.as_ref(), currency)?;
    let command = Command::RefundPayment(RefundPayment { order, minor: amount.minor });
    let keyed = backend.keyed(caller.name(), &body.request_id, deadline, command)?;
    let mut watch = settlements.watch(order);
    let accepted = backend.accept(keyed.request).await?;
    let Receipt::Refund { refund: number, .. } = accepted.receipt else {
        return Err(wrong_receipt("refund", &accepted.receipt));
    };
    let done = |row: &OrderRow| find(row, number).is_some_and(|refund| refund.state != RefundState::Pending);
    let present = if accepted.replayed {
        Some(backend.order(order).await.map_err(Rejection::behind_acceptance)?)
    } else {
        None
    };
    let row = match present.filter(&done) {
        Some(row) => row,
        None => watch.until(backend, deadline, done).await?,
    };
    Ok(ProcessRefundResponse {
        request_id: keyed.request_id,
        replayed: accepted.replayed,
        payment_id: body.payment_id,
        refund: find(&row, number).map(message::refund),
        payment_status: message::payment_status(&row).into(),
    })
}

fn find(row: &OrderRow, number: u16) -> Option<&Refund> {
    row.payment.as_ref()?.refunds.iter().find(|refund| refund.number == number)
}
