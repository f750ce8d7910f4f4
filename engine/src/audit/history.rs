//! Histories: an order goes along its graph only, forward in time, and its last state is the one it is in.

use onrush_proto::OrderRow;

use super::AuditReport;

pub(super) fn check(order: &OrderRow, report: &mut AuditReport) {
    let states: Vec<_> = order.states().collect();
    for pair in states.windows(2) {
        let ([before, after], id) = ([pair[0], pair[1]], order.id);
        if !before.state.may_become(after.state) {
            report.violate(format!(
                "history: {id}: expected an edge of the order's graph, found {:?} -> {:?}",
                before.state, after.state
            ));
        }
        if before.at_us > after.at_us {
            report.violate(format!(
                "history: {id}: expected times that rise, found {:?} at {} us behind {} us",
                after.state, after.at_us, before.at_us
            ));
        }
    }
    let last = states.last().map(|change| change.state);
    // What is being priced does not show in the history.
    if last != Some(order.state) && !order.state.is_unborn() {
        let (id, state) = (order.id, order.state);
        report.violate(format!("history: {id}: expected {state:?} at its end, found {last:?}"));
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::{
        Currency, CustomerId, Delivery, IdempotencyKey, Lines, Money, OrderId, OrderState, Slot, StateChange,
    };

    use super::*;

    const BORN_US: u64 = 1_700_000_000_000_000;

    fn violations(state: OrderState, history: &[(OrderState, u64)]) -> Vec<String> {
        let change =
            |(state, after_us): &(OrderState, u64)| StateChange { state: *state, at_us: BORN_US + after_us };
        let order = OrderRow {
            id: OrderId::new(Slot(3), BORN_US, 0, 9),
            customer: CustomerId::default(),
            lines: Lines::new(),
            total: Money::new(0, Currency::EUR),
            state,
            delivery: Delivery::Waiting,
            held_until_us: 0,
            changed_us: 0,
            key: IdempotencyKey::NONE,
            body: 0,
            history: history.iter().map(change).collect(),
            payment: None,
        };
        let mut report = AuditReport::default();
        check(&order, &mut report);
        report.violations
    }

    #[test]
    fn what_is_no_way_of_an_order_is_told() {
        use OrderState::*;
        for (state, history, found) in [
            (Pending, &[][..], ""),
            (Queued, &[], ""),
            (Paid, &[(Expired, 1), (Paid, 2)], ""),
            (Rejected, &[(Rejected, 1)], ""),
            (Shipped, &[(Paid, 1), (Shipped, 2)], "found Paid -> Shipped"),
            (Paid, &[(Cancelled, 1), (Paid, 2)], "found Cancelled -> Paid"),
            (Fulfilling, &[(Paid, 2), (Fulfilling, 1)], "expected times that rise"),
            (Cancelled, &[(Paid, 1)], "expected Cancelled at its end"),
        ] {
            let violations = violations(state, history);
            match found {
                "" => assert!(violations.is_empty(), "{state:?} {history:?}: {violations:?}"),
                _ => assert!(violations.len() == 1 && violations[0].contains(found), "{violations:?}"),
            }
        }
    }
}
