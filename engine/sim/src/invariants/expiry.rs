//! Deadlines: nothing expires early, nothing is honoured late, and no refusal rests on the dead.

use onrush_engine::shard::Shard;
use onrush_proto::{OrderState, Outcome, RecordKind, Refusal, Reply};

use super::Step;
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
            RecordKind::OrderCancelled | RecordKind::PaymentAuthorised | RecordKind::PaymentStarted => {
                Some(true)
            }
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

/// Checks after a turn that a refusal for want of stock left no dead order holding stock.
pub(crate) fn turn<'a>(shard: &Shard, mut replies: impl Iterator<Item = &'a Reply>) -> Verdict {
    let short = |reply: &Reply| {
        matches!(reply.outcome, Outcome::Refused(Refusal::OutOfStock { .. } | Refusal::LimitExceeded { .. }))
    };
    if !replies.any(short) {
        return Ok(());
    }
    let now_us = shard.now_us();
    let dead = shard
        .state()
        .orders
        .iter()
        .find(|entry| entry.row.state == OrderState::Pending && entry.row.held_until_us <= now_us);
    match dead {
        Some(entry) => Err(Violation::new(
            NAME,
            "dead orders swept before stock is refused",
            format!("order {} dead since {} at {now_us}", entry.key, entry.row.held_until_us),
        )),
        None => Ok(()),
    }
}
