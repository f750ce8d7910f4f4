//! A customer's count is what the orders say, and never above the limit.

use std::collections::BTreeMap;

use onrush_proto::{CustomerId, HoldRow, HoldState, Line, OrderRow, OrderState, Row};

use super::Step;
use crate::report::{Verdict, Violation};

const NAME: &str = "limits";

/// What a customer's units count for the limit of a SKU that has one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Always,
    UnlessReturned,
    Never,
}

/// Checks that counts change by exactly what the record's orders and holds change.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    let mut expected: BTreeMap<u128, i64> = BTreeMap::new();
    for row in &step.fact.rows {
        match row {
            Row::Order(after) => {
                add(step, &mut expected, (&after.customer, &after.lines), of_order(after), 1);
                if let Some(before) = step.book().orders.get(&after.id) {
                    add(step, &mut expected, (&before.customer, &before.lines), of_order(before), -1);
                }
            }
            Row::Hold(after) => {
                add(step, &mut expected, (&after.customer, &after.lines), of_hold(step, after), 1);
                if let Some(before) = step.book().holds.get(&after.order) {
                    let counts = of_hold(step, before);
                    add(step, &mut expected, (&before.customer, &before.lines), counts, -1);
                }
            }
            _ => {}
        }
    }
    for row in &step.fact.rows {
        let Row::Limit(row) = row else { continue };
        let before = step.book().limits.get(&row.hash).map_or(0, |(units, _)| *units);
        let (delta, found) =
            (expected.remove(&row.hash).unwrap_or(0), i64::from(row.units) - i64::from(before));
        if delta != found || (found > 0 && row.units > row.limit) {
            return Err(Violation::new(
                NAME,
                format!("a count of {before} to change by {delta} in {}", step.place()),
                format!("{row:?}"),
            ));
        }
    }
    match expected.into_iter().find(|(_, delta)| *delta != 0) {
        Some((hash, delta)) => {
            let before = step.book().limits.get(&hash);
            let expected = format!("count {before:?} to change by {delta} in {}", step.place());
            Err(Violation::new(NAME, expected, format!("no change; {:?}", step.fact.rows)))
        }
        None => Ok(()),
    }
}

fn of_order(order: &OrderRow) -> Counts {
    match order.state {
        OrderState::Queued | OrderState::Rejected => Counts::Never,
        OrderState::Cancelled | OrderState::Expired => Counts::UnlessReturned,
        _ => Counts::Always,
    }
}

fn of_hold(step: &Step<'_>, hold: &HoldRow) -> Counts {
    let rejected = step.mirror.order(hold.order).is_none_or(|order| order.state == OrderState::Rejected);
    match hold.state {
        HoldState::Held | HoldState::Captured => Counts::Always,
        HoldState::Released if rejected => Counts::Never,
        HoldState::Released | HoldState::Returned => Counts::UnlessReturned,
    }
}

fn add(
    step: &Step<'_>,
    into: &mut BTreeMap<u128, i64>,
    (customer, lines): (&CustomerId, &[Line]),
    counts: Counts,
    sign: i64,
) {
    for line in lines.iter().filter(|line| step.mirror.owner_of_sku(&line.sku) == step.shard) {
        let Some(stock) = step.book().stock.get(&line.sku) else { continue };
        let counted = stock.limit_per_customer > 0
            && (counts == Counts::Always || (counts == Counts::UnlessReturned && !stock.limit_returns));
        if counted {
            let hash = step.mirror.hasher.pair(line.sku.as_bytes(), customer.as_bytes());
            *into.entry(hash).or_default() += sign * i64::from(line.quantity);
        }
    }
}
