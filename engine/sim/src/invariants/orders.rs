//! Orders move along the declared graph only.

use onrush_proto::{Delivery, OrderRow, OrderState, RecordKind};

use super::Step;
use crate::report::{Verdict, Violation};

const NAME: &str = "orders";

/// The graph of SEMANTICS, written down a second time on purpose.
fn edge(from: OrderState, to: OrderState) -> bool {
    use OrderState::*;
    from == to
        || matches!(
            (from, to),
            (Queued, Reserving | Rejected)
                | (Reserving, Pending | Rejected)
                | (Pending, Paid | Cancelled | Expired)
                | (Expired, Paid)
                | (Paid, Fulfilling | Cancelled | PartiallyRefunded | Refunded)
                | (Fulfilling, Shipped | Cancelled | PartiallyRefunded | Refunded)
                | (Shipped, Delivered | PartiallyRefunded | Refunded)
                | (Delivered, PartiallyRefunded | Refunded)
                | (PartiallyRefunded, Refunded | Fulfilling | Shipped | Delivered | Cancelled)
        )
}

/// Delivery goes on by single steps, says what the state says, and is not undone by refunds. What
/// has left the house is not called off; what is being called off does not move.
fn delivered(before: &OrderRow, after: &OrderRow) -> bool {
    use OrderState::*;
    let steps = [Delivery::Waiting, Delivery::Fulfilling, Delivery::Shipped, Delivery::Delivered];
    let step = |delivery| steps.iter().position(|step| *step == delivery);
    let moved = before.delivery != after.delivery;
    let onward = step(after.delivery) == step(before.delivery).map(|at| at + 1);
    let told = match after.state {
        Fulfilling => after.delivery == Delivery::Fulfilling,
        Shipped => after.delivery == Delivery::Shipped,
        Delivered => after.delivery == Delivery::Delivered,
        Cancelled => matches!(after.delivery, Delivery::Waiting | Delivery::Fulfilling),
        PartiallyRefunded | Refunded => true,
        Queued | Reserving | Rejected | Pending | Paid | Expired => after.delivery == Delivery::Waiting,
    };
    told && (!moved || onward && before.calling_off().is_none())
}

/// The history keeps what it has, and tells of a new state once, with its time.
fn told(before: &OrderRow, after: &OrderRow) -> bool {
    let Some(new) = after.history.strip_prefix(before.history.as_slice()) else { return false };
    match new {
        [] => after.state == before.state || after.state == OrderState::Reserving,
        [change] => {
            before.state != after.state && (change.state, change.at_us) == (after.state, after.changed_us)
        }
        _ => false,
    }
}

/// Checks births, moves, and what may never change.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    for (before, after) in step.orders() {
        match before {
            None => birth(step, after)?,
            Some(before) => step_of(step, before, after)?,
        }
    }
    Ok(())
}

fn birth(step: &Step<'_>, order: &OrderRow) -> Verdict {
    let fits = match step.fact.kind {
        RecordKind::OrderCreated => order.state == OrderState::Pending,
        RecordKind::OrderReserving => order.state.is_unborn(),
        _ => false,
    };
    if !fits || !order.history.is_empty() {
        let got = format!("{:?} in {}", order.state, step.of(order.id));
        return Err(Violation::new(NAME, "a birth as pending, reserving or queued", got));
    }
    if step.mirror.owner(order.id.slot()) != step.shard || order.id.sequence() != step.lsn {
        return Err(Violation::new(NAME, "an id that names its shard and record", step.of(order.id)));
    }
    Ok(())
}

fn step_of(step: &Step<'_>, before: &OrderRow, after: &OrderRow) -> Verdict {
    if !edge(before.state, after.state) {
        let got = format!("{:?} -> {:?} in {}", before.state, after.state, step.of(after.id));
        return Err(Violation::new(NAME, "an edge of the graph", got));
    }
    if !delivered(before, after) {
        let got = format!("{:?} -> {:?} in {}", before.delivery, after.delivery, step.of(after.id));
        return Err(Violation::new(NAME, "delivery to go on from where it stands", got));
    }
    if !told(before, after) {
        let got = format!("{:?} -> {:?} in {}", before.history, after.history, step.of(after.id));
        return Err(Violation::new(NAME, "a history that tells of every state once", got));
    }
    let created = step.fact.kind == RecordKind::OrderCreated;
    if created && before.state != OrderState::Reserving {
        return Err(Violation::new(NAME, "one OrderCreated record per order", step.of(after.id)));
    }
    let priced = created || before.state == OrderState::Queued;
    let same_lines = before.lines.len() == after.lines.len()
        && before.lines.iter().zip(&after.lines).all(|(old, new)| {
            old.sku == new.sku && old.quantity == new.quantity && (priced || old.unit_minor == new.unit_minor)
        });
    let same = before.customer == after.customer
        && before.key == after.key
        && before.body == after.body
        && before.held_until_us == after.held_until_us
        && (priced || before.total == after.total);
    if !same || !same_lines {
        return Err(Violation::new(NAME, format!("{before:?}"), format!("{after:?}")));
    }
    Ok(())
}
