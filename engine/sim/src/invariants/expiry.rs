//! Deadlines: nothing expires early, nothing is honoured late, and no refusal rests on the dead.

use onrush_engine::shard::Shard;
use onrush_proto::{Command, OrderRow, OrderState, Outcome, RecordKind, Refusal, Reply, Request, Sku};

use super::Step;
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "expiry";

/// Checks the record's time against its orders' deadlines.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    for (before, after) in step.orders() {
        if after.changed_us != step.time_us {
            let expected = format!("shard time {} in {}", step.time_us, step.of(after.id));
            return Err(Violation::new(NAME, expected, after.changed_us.to_string()));
        }
        let dead = after.held_until_us <= step.time_us;
        let was = before.map(|order| order.state);
        let honoured = match step.fact.kind {
            RecordKind::OrderExpired => Some(false),
            RecordKind::OrderCancelled
            | RecordKind::PaymentAuthorised
            | RecordKind::PaymentStarted
            | RecordKind::CaptureStarted => Some(true),
            RecordKind::OrderCreated if was == Some(OrderState::Reserving) => Some(true),
            RecordKind::PaymentCaptured => Some(was == Some(OrderState::Pending)),
            _ => None,
        };
        if honoured == Some(dead) {
            let got = format!("{} at {}", step.of(after.id), step.time_us);
            return Err(Violation::new(NAME, format!("the deadline {} kept", after.held_until_us), got));
        }
    }
    Ok(())
}

/// Checks after a turn that a refusal for want of stock left no dead order holding that stock.
/// `refused` are the SKUs that were refused here; refusals of other shards pass through as well.
pub(crate) fn turn(shard: &Shard, refused: &[Sku]) -> Verdict {
    let now_us = shard.now_us();
    let holds = |order: &OrderRow| order.lines.iter().any(|line| refused.contains(&line.sku));
    let dead = |order: &OrderRow| order.state == OrderState::Pending && order.held_until_us <= now_us;
    match shard.state().orders.iter().find(|entry| dead(&entry.row) && holds(&entry.row)) {
        Some(entry) => Err(Violation::new(
            NAME,
            format!("dead orders swept before one of {refused:?} is refused"),
            format!("order {} dead since {} at {now_us}", entry.key, entry.row.held_until_us),
        )),
        None => Ok(()),
    }
}

/// The SKU that a reply refuses for want of stock, if `shard` itself decided so.
pub(crate) fn refused_here(mirror: &Mirror, shard: usize, request: &Request, reply: &Reply) -> Option<Sku> {
    let (Command::CreateOrder(create), Outcome::Refused(refusal)) = (&request.command, &reply.outcome) else {
        return None;
    };
    let line = match refusal {
        Refusal::OutOfStock { line, .. } | Refusal::LimitExceeded { line, .. } => usize::from(*line),
        _ => return None,
    };
    let sku = create.lines.get(line)?.sku;
    let here = mirror.owner(request.command.slot()) == shard && mirror.owner_of_sku(&sku) == shard;
    here.then_some(sku)
}
