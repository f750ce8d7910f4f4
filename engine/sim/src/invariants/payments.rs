//! Money of one order: 0 <= refunded <= captured <= authorised, pending refunds included.

use onrush_proto::{
    Account, Attempt, AttemptState, OrderRow, OrderState, Payment, PaymentState, RefundState,
};

use super::Step;
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "payments";

/// Checks the payments of the record's orders.
pub(crate) fn record(step: &Step<'_>) -> Verdict {
    for (before, after) in step.orders() {
        let old = before.and_then(|order| order.payment.as_deref());
        match (old, after.payment.as_deref()) {
            (Some(_), None) => return Err(Violation::new(NAME, "a payment that stays", step.of(after.id))),
            (_, Some(payment)) => {
                if after.state.is_sold() && payment.state != PaymentState::Succeeded {
                    let got = format!("{:?} in {}", payment.state, step.of(after.id));
                    return Err(Violation::new(NAME, "a paid order's payment to have succeeded", got));
                }
                sums(payment).map_err(|expected| {
                    Violation::new(
                        NAME,
                        format!("{expected} in {}", step.of(after.id)),
                        format!("{payment:?}"),
                    )
                })?;
                history(old, payment).map_err(|expected| {
                    Violation::new(
                        NAME,
                        format!("{expected} in {}", step.of(after.id)),
                        format!("{payment:?}"),
                    )
                })?;
            }
            (None, None) => {}
        }
    }
    Ok(())
}

fn posted(payment: &Payment, from: Account, to: Account) -> i64 {
    let of = payment.postings.iter().filter(|posting| posting.from == from && posting.to == to);
    of.map(|posting| posting.minor).sum()
}

fn sums(payment: &Payment) -> Result<(), &'static str> {
    let Payment { authorised, captured, refunded, refunds, .. } = payment;
    let refunds_of = |states: &[RefundState]| -> i64 {
        let of = refunds.iter().filter(|refund| states.contains(&refund.state));
        of.map(|refund| refund.minor).sum()
    };
    let open = refunds_of(&[RefundState::Pending, RefundState::Succeeded]);
    let voided = posted(payment, Account::Authorised, Account::Customer);
    match () {
        () if !(0 <= *refunded && refunded <= captured && captured <= authorised) => {
            Err("0 <= refunded <= captured <= authorised")
        }
        () if open > *captured => Err("refunds, pending included, within what was captured"),
        () if *refunded != refunds_of(&[RefundState::Succeeded]) => Err("refunded = refunds that succeeded"),
        () if *authorised != posted(payment, Account::Customer, Account::Authorised) => {
            Err("authorised = what was posted")
        }
        () if *captured != posted(payment, Account::Authorised, Account::Captured) => {
            Err("captured = what was posted")
        }
        () if *refunded != posted(payment, Account::Captured, Account::Refunded) => {
            Err("refunded = what was posted")
        }
        () if payment.attempts.iter().any(capture_is_odd) => {
            Err("a capture of at most what the attempt asked for")
        }
        () if captured + voided > *authorised => Err("captured + voided within what was authorised"),
        () => Ok(()),
    }
}

fn capture_is_odd(attempt: &Attempt) -> bool {
    let capturing = attempt.state == AttemptState::Capturing;
    !(i64::from(capturing)..=attempt.minor).contains(&attempt.capture_minor)
}

/// Attempts, refunds and postings are added, never taken away.
fn history(before: Option<&Payment>, after: &Payment) -> Result<(), &'static str> {
    let numbered = after.attempts.iter().zip(1..).all(|(attempt, number)| attempt.number == number)
        && after.refunds.iter().zip(1..).all(|(refund, number)| refund.number == number);
    if !numbered {
        return Err("attempts and refunds numbered from 1");
    }
    let Some(before) = before else { return Ok(()) };
    if !after.postings.starts_with(&before.postings) {
        return Err("postings that are only added to");
    }
    let settled = before.refunds.iter().zip(&after.refunds).all(|(old, new)| {
        old.minor == new.minor && (old.state == RefundState::Pending || old.state == new.state)
    });
    if !settled || after.refunds.len() < before.refunds.len() || after.attempts.len() < before.attempts.len()
    {
        return Err("refunds and attempts that stay, and stay settled");
    }
    Ok(())
}

/// When every gateway has answered: no reserved money is left on an order that does not wait for it.
pub(crate) fn settled(mirror: &Mirror) -> Verdict {
    let stuck = |order: &&OrderRow| {
        order.state != OrderState::Pending
            && order.payment.as_ref().is_some_and(|payment| {
                payment.attempts.iter().any(|attempt| attempt.state == AttemptState::Authorised)
            })
    };
    let orders = mirror.books.iter().flat_map(|book| book.orders.values());
    match orders.into_iter().find(stuck) {
        Some(order) => Err(Violation::new(NAME, "reserved money captured or voided", format!("{order:?}"))),
        None => Ok(()),
    }
}
