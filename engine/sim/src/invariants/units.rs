//! Units are conserved: received = available + held + sold, and each held or sold unit is a line.

use std::collections::BTreeMap;

use onrush_proto::{HoldRow, HoldState, OrderRow, OrderState, RecordKind, Row, Sku, StockRow};

use super::Step;
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "units";

/// Units of one SKU that orders and holds account for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Units {
    held: i64,
    sold: i64,
}

/// Checks that stock rows change by exactly what the record's orders and holds change.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    let mut expected: BTreeMap<Sku, Units> = BTreeMap::new();
    for row in &step.fact.rows {
        match row {
            Row::Order(after) => {
                count_order(step, &mut expected, after, 1);
                if let Some(before) = step.book().orders.get(&after.id) {
                    count_order(step, &mut expected, before, -1);
                }
            }
            Row::Hold(after) => {
                count_hold(&mut expected, after, 1);
                if let Some(before) = step.book().holds.get(&after.order) {
                    count_hold(&mut expected, before, -1);
                }
            }
            _ => {}
        }
    }
    for row in &step.fact.rows {
        if let Row::Stock(after) = row {
            let delta = expected.remove(&after.sku).unwrap_or_default();
            stock(step, after, delta)?;
        }
    }
    match expected.into_iter().find(|(_, units)| *units != Units::default()) {
        Some((sku, units)) => Err(Violation::new(
            NAME,
            format!("a stock row of {sku} that changes by {units:?} in {}", step.place()),
            "none",
        )),
        None => Ok(()),
    }
}

fn count_order(step: &Step<'_>, into: &mut BTreeMap<Sku, Units>, order: &OrderRow, sign: i64) {
    use OrderState::*;
    for line in order.lines.iter().filter(|line| step.mirror.owner_of_sku(&line.sku) == step.shard) {
        let units = into.entry(line.sku).or_default();
        match order.state {
            Reserving | Pending => units.held += sign * i64::from(line.quantity),
            Paid | Fulfilling | Shipped | Delivered | PartiallyRefunded | Refunded => {
                units.sold += sign * i64::from(line.quantity);
            }
            Queued | Rejected | Cancelled | Expired => {}
        }
    }
}

fn count_hold(into: &mut BTreeMap<Sku, Units>, hold: &HoldRow, sign: i64) {
    for line in &hold.lines {
        let units = into.entry(line.sku).or_default();
        match hold.state {
            HoldState::Held => units.held += sign * i64::from(line.quantity),
            HoldState::Captured => units.sold += sign * i64::from(line.quantity),
            HoldState::Released | HoldState::Returned => {}
        }
    }
}

fn stock(step: &Step<'_>, after: &StockRow, delta: Units) -> Verdict {
    let zero = Units::default();
    let before = step.book().stock.get(&after.sku);
    let (held, sold, received) = before.map_or((0, 0, 0), |row| (row.held, row.sold, row.received));
    let found = Units { held: after.held - held, sold: after.sold - sold };
    if found != delta {
        let sku = after.sku;
        return Err(Violation::new(
            NAME,
            format!("{sku} to change by {delta:?} in {}", step.place()),
            format!("{found:?}"),
        ));
    }
    if after.received != after.on_hand + after.sold {
        return Err(Violation::new(NAME, "received = on hand + sold", format!("{after:?}")));
    }
    if after.received != received && step.fact.kind != RecordKind::StockUpdated {
        return Err(Violation::new(NAME, format!("{received} units received"), format!("{after:?}")));
    }
    let floor = -i64::from(after.backorder);
    if after.held < 0 || after.sold < 0 || after.available() < floor {
        return Err(Violation::new(
            NAME,
            format!("at least {floor} available, none negative"),
            format!("{after:?}"),
        ));
    }
    debug_assert!(delta == zero || before.is_some());
    Ok(())
}

/// Checks every stock row against all orders and holds.
pub(crate) fn all(mirror: &Mirror) -> Verdict {
    for (shard, book) in mirror.books.iter().enumerate() {
        let mut expected: BTreeMap<Sku, Units> = BTreeMap::new();
        let fact = onrush_proto::Fact::new(RecordKind::StockUpdated, 0);
        let step = Step { mirror, shard, lsn: book.end_lsn, time_us: book.time_us, fact: &fact };
        for order in book.orders.values() {
            count_order(&step, &mut expected, order, 1);
        }
        for hold in book.holds.values() {
            count_hold(&mut expected, hold, 1);
        }
        for row in book.stock.values() {
            let units = expected.get(&row.sku).copied().unwrap_or_default();
            if (Units { held: row.held, sold: row.sold }) != units {
                return Err(Violation::new(NAME, format!("{units:?} of {}", row.sku), format!("{row:?}")));
            }
        }
    }
    Ok(())
}
