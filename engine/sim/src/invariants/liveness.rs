//! When faults and load end, everything comes to an end.

use onrush_proto::HoldState;

use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "liveness";

/// Checks that nothing is open any more.
pub(crate) fn at_rest(mirror: &Mirror) -> Verdict {
    for (shard, book) in mirror.books.iter().enumerate() {
        if let Some(order) = book.orders.values().find(|order| order.state.is_open()) {
            return Err(Violation::new(
                NAME,
                format!("no open order on shard {shard}"),
                format!("{order:?}"),
            ));
        }
        if let Some(hold) = book.holds.values().find(|hold| hold.state == HoldState::Held) {
            return Err(Violation::new(NAME, format!("no open hold on shard {shard}"), format!("{hold:?}")));
        }
        if let Some(stock) = book.stock.values().find(|stock| stock.held != 0) {
            return Err(Violation::new(NAME, format!("nothing held on shard {shard}"), format!("{stock:?}")));
        }
    }
    if let Some(due) = mirror.attempts_due.first().or(mirror.refunds_due.first()) {
        return Err(Violation::new(NAME, "every attempt and refund settled", format!("{due:?}")));
    }
    Ok(())
}

/// What a phase that must end did not end.
pub(crate) fn stuck(what: &str, got: impl std::fmt::Debug) -> Violation {
    Violation::new(NAME, what, format!("{got:?}"))
}
