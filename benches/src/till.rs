//! The till: has orders accepted and paid through a port, a group at a time.

use std::time::Duration;

use onrush_engine::Port;
use onrush_proto::{
    Command, GatewayResult, IdempotencyKey, OrderId, Outcome, Receipt, Request, SettleAttempt, StartPayment,
    Text,
};

use crate::Failure;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has all requests accepted.
pub fn answers(port: &mut Port, requests: Vec<Request>) -> Result<Vec<Receipt>, Failure> {
    for request in requests {
        if port.submit(0, request).is_err() {
            return Err(Failure::unexpected("a port with room", port.in_flight()));
        }
    }
    port.flush();
    let (mut receipts, mut refused) = (Vec::new(), None);
    while port.in_flight() > 0 {
        let answered = port.drain(|_, reply| match reply.outcome {
            Outcome::Accepted(receipt) => receipts.push(receipt),
            other => refused = Some(other),
        });
        if answered == 0 && !port.wait(PATIENCE) {
            return Err(Failure::unexpected("an answer in time", PATIENCE));
        }
    }
    refused.map_or(Ok(receipts), |outcome| Err(Failure::unexpected("an acceptance", outcome)))
}

/// The payment of an order that was accepted.
pub fn start(created: &Receipt) -> Option<Request> {
    let Receipt::Order { order, .. } = created else { return None };
    let method = Text::new("pm_card_visa").unwrap_or_default();
    let start = StartPayment { order: *order, method, capture: true };
    Some(Request::new(key(*order, 1), Command::StartPayment(Box::new(start))))
}

/// What the gateway says of it.
pub fn settle(started: &Receipt) -> Option<Request> {
    let Receipt::AttemptStarted { order, attempt, .. } = started else { return None };
    let result = GatewayResult::Captured { reference: Text::new("ch_0123456789abcdef").unwrap_or_default() };
    let settle = SettleAttempt { order: *order, attempt: *attempt, result };
    Some(Request::new(key(*order, 2), Command::SettleAttempt(Box::new(settle))))
}

fn key(order: OrderId, step: u128) -> IdempotencyKey {
    IdempotencyKey(order.0.rotate_left(64) ^ step)
}
