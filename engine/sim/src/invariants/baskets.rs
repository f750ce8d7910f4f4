//! Orders over several shards: all or none.

use onrush_proto::{HoldRow, HoldState, Line, OrderId, OrderRow, OrderState, RecordKind, Row};

use super::Step;
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "baskets";

/// Checks acceptances against the participants' holds, and holds against their home.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    if step.fact.kind == RecordKind::OrderCreated {
        for (_, order) in step.orders().filter(|(_, order)| judged(step.mirror, order)) {
            parts(step.mirror, order, &|hold| hold.state == HoldState::Held)?;
        }
    }
    for row in &step.fact.rows {
        if let Row::Hold(hold) = row {
            resolved(step, hold)?;
        }
    }
    Ok(())
}

/// True if the order has parts elsewhere, and no disk lost what was known of it.
fn judged(mirror: &Mirror, order: &OrderRow) -> bool {
    mirror.is_spread(order) && !mirror.lost.has_order(order.id)
}

/// Checks that each participant has the order's lines in a hold that `fits`.
fn parts(mirror: &Mirror, order: &OrderRow, fits: &dyn Fn(&HoldRow) -> bool) -> Verdict {
    let home = mirror.owner(order.id.slot());
    for (shard, book) in mirror.books.iter().enumerate().filter(|(shard, _)| *shard != home) {
        let lines: Vec<Line> =
            order.lines.iter().filter(|line| mirror.owner_of_sku(&line.sku) == shard).copied().collect();
        if lines.is_empty() {
            continue;
        }
        let hold = book.holds.get(&order.id);
        if !hold.is_some_and(|hold| hold.lines.as_slice() == lines && fits(hold)) {
            let expected = format!("{lines:?} of {:?} order {} on shard {shard}", order.state, order.id);
            return Err(Violation::new(NAME, expected, format!("{hold:?}")));
        }
    }
    Ok(())
}

fn resolved(step: &Step<'_>, hold: &HoldRow) -> Verdict {
    use OrderState::*;
    if step.mirror.lost.has_order(hold.order) {
        return Ok(());
    }
    let before = step.book().holds.get(&hold.order).map(|hold| hold.state);
    let home = home_state(step.mirror, hold.order);
    let fits = match (before, hold.state) {
        (None, HoldState::Held) => home.is_some(),
        (None, HoldState::Released) => hold.lines.is_empty() && home == Some(Rejected),
        (Some(HoldState::Held), HoldState::Released) => {
            matches!(home, Some(Rejected | Cancelled | Expired))
        }
        (Some(HoldState::Held), HoldState::Captured) => {
            home.is_some_and(|state| state.is_sold() || state == Cancelled)
        }
        (Some(HoldState::Captured), HoldState::Returned) => home == Some(Cancelled),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let got = format!("{before:?} -> {:?} while home has {home:?} in {}", hold.state, step.of(hold.order));
    Err(Violation::new(NAME, "a hold resolved once, as home says", got))
}

fn home_state(mirror: &Mirror, order: OrderId) -> Option<OrderState> {
    mirror.order(order).map(|order| order.state)
}

/// When nothing moves any more: each part stands as its order does.
pub(crate) fn settled(mirror: &Mirror) -> Verdict {
    for book in &mirror.books {
        for order in book.orders.values().filter(|order| judged(mirror, order)) {
            if order.state.is_sold() {
                parts(mirror, order, &|hold| hold.state == HoldState::Captured)?;
            }
        }
        for hold in book.holds.values().filter(|hold| !mirror.lost.has_order(hold.order)) {
            let sold = home_state(mirror, hold.order).is_some_and(OrderState::is_sold);
            let fits = match hold.state {
                HoldState::Held => false,
                HoldState::Captured => sold,
                HoldState::Released | HoldState::Returned => !sold,
            };
            if !fits {
                let expected = format!("a hold that ended as its order: {:?}", mirror.order(hold.order));
                return Err(Violation::new(NAME, expected, format!("{hold:?}")));
            }
        }
    }
    Ok(())
}
