//! Answers as tables write them.

use onrush_proto::{Currency, GroupStanding, Money, Outcome, Receipt, Refusal, Reply};

pub(crate) fn render(reply: &Reply) -> String {
    let text = match &reply.outcome {
        Outcome::Accepted(receipt) => accepted(receipt),
        Outcome::Refused(refusal) => refused(refusal),
        Outcome::Order(order) => match &order.payment {
            None => format!("{:?}", order.state),
            Some(payment) => format!(
                "{:?} {:?} authorised {} captured {} refunded {}",
                order.state, payment.state, payment.authorised, payment.captured, payment.refunded
            ),
        },
        Outcome::Stock(stock) => {
            format!("on_hand {} held {} sold {} v{}", stock.on_hand, stock.held, stock.sold, stock.version)
        }
        Outcome::Document(row) => {
            format!("v{} {}", row.version, String::from_utf8_lossy(row.value.as_deref().unwrap_or_default()))
        }
        Outcome::Name(row) if row.confirmed => format!("owner {} confirmed", row.owner),
        Outcome::Name(row) => format!("owner {}", row.owner),
        Outcome::Offset(lsn) => format!("at {}", lsn.0),
        Outcome::Groups(groups) => groups.iter().map(standing).collect::<Vec<_>>().join(", "),
    };
    if reply.replayed { text + " (replay)" } else { text }
}

fn money(money: Money) -> String {
    match money.currency {
        Currency::EUR => money.minor.to_string(),
        _ => money.to_string(),
    }
}

fn accepted(receipt: &Receipt) -> String {
    match receipt {
        Receipt::Order { total, .. } => format!("accepted total {}", money(*total)),
        Receipt::OrderMoved { state, .. } => format!("now {state:?}"),
        Receipt::AttemptStarted { attempt, amount, .. } => {
            format!("attempt {attempt} for {}", money(*amount))
        }
        Receipt::AttemptSettled { order_state, payment_state, .. } => {
            format!("order {order_state:?} payment {payment_state:?}")
        }
        Receipt::CaptureStarted { attempt, amount, .. } => {
            format!("capture of {} from attempt {attempt}", money(*amount))
        }
        Receipt::Refund { refund, amount, state, .. } => {
            format!("refund {refund} of {} {state:?}", money(*amount))
        }
        Receipt::Stock { on_hand, held, version } => format!("on_hand {on_hand} held {held} v{version}"),
        Receipt::Product { version } => format!("product v{version}"),
        Receipt::Document { version } => format!("v{version}"),
        Receipt::Name { confirmed: true } => "confirmed".into(),
        Receipt::Name { confirmed: false } => "done".into(),
        Receipt::Offset { lsn } => format!("at {lsn}"),
        Receipt::Rejected { tries, dead: false } => format!("try {tries}"),
        Receipt::Rejected { tries, dead: true } => format!("dead after {tries}"),
    }
}

fn standing(group: &GroupStanding) -> String {
    let at = group.lsn.map_or("nowhere".into(), |lsn| format!("at {lsn}"));
    let tried =
        if group.tried == 0 { String::new() } else { format!(" tried {} x{}", group.tried, group.tries) };
    format!("{} {at} generation {}{tried}", group.group, group.generation)
}

fn refused(refusal: &Refusal) -> String {
    let reason = refusal.reason().0;
    match refusal {
        Refusal::IllegalTransition { from, to } => format!("{reason} {from:?} -> {to:?}"),
        Refusal::IllegalPayment { state } => format!("{reason} {state:?}"),
        other => match other.field() {
            Some(field) => format!("{reason} {field}"),
            None => reason.into(),
        },
    }
}
