//! A payment from its start to what the gateway says of it.

use onrush_proto::{Attempt, AttemptState, Money, OrderId, OrderRow, PaymentState, Receipt, Request};

use super::{Approval, awaited, follow_up, start as begin};
use crate::backend::{Accepted, Backend};
use crate::deadline::Deadline;
use crate::settlements::Settlements;
use crate::status::Rejection;

/// A payment that was started, as far as it is settled when nobody waits any longer.
pub(crate) struct Settled {
    /// The attempt's acceptance.
    pub(crate) accepted: Accepted,
    /// How much.
    pub(crate) amount: Money,
    /// The order.
    pub(crate) row: OrderRow,
    /// What its buyer is to approve.
    pub(crate) approval: Option<Approval>,
    /// The attempt that was started.
    number: u16,
}

impl Settled {
    /// Starts an attempt and waits until it is settled, until the buyer is to approve it, or until the deadline.
    pub(crate) async fn start(
        backend: &Backend,
        settlements: &Settlements,
        order: OrderId,
        deadline: Deadline,
        request: Request,
    ) -> Result<Self, Rejection> {
        let mut watch = settlements.watch(order);
        let accepted = begin(backend, &mut watch, deadline, request).await?;
        let Receipt::AttemptStarted { attempt: number, amount, .. } = accepted.receipt else {
            let found = accepted.receipt;
            let message = format!("expected a receipt of a started attempt of the engine, found {found:?}");
            return Err(Rejection::Internal(message));
        };
        // A decline of the gateway's own leads to another attempt, if the method names another token.
        let done = |row: &OrderRow| follow_up(row, number).is_some_and(is_settled);
        let settled = async {
            let present = if accepted.replayed { Some(backend.order(order).await?) } else { None };
            let row = match present {
                Some(row) if done(&row) || awaited(backend, &row).await?.is_some() => row,
                _ => watch.until_asked(backend, deadline, number, done).await?,
            };
            let approval = awaited(backend, &row).await?;
            Ok::<_, Rejection>((row, approval))
        };
        let (row, approval) = settled.await.map_err(Rejection::behind_acceptance)?;
        Ok(Self { accepted, amount, row, approval, number })
    }

    /// The attempt that it came to; `None` if the order does not have it yet.
    pub(crate) fn last(&self) -> Option<&Attempt> {
        follow_up(&self.row, self.number)
    }

    /// The number of that attempt.
    pub(crate) fn attempt(&self) -> u16 {
        self.last().map_or(self.number, |attempt| attempt.number)
    }

    /// How the payment stands.
    pub(crate) fn payment_state(&self) -> PaymentState {
        match (&self.approval, &self.row.payment) {
            (Some(_), _) => PaymentState::RequiresAction,
            (None, Some(payment)) => payment.state,
            (None, None) => PaymentState::RequiresPaymentMethod,
        }
    }
}

/// An unknown outcome is not settled: the reconciler may still settle it before the deadline.
fn is_settled(attempt: &Attempt) -> bool {
    !matches!(attempt.state, AttemptState::Processing | AttemptState::Unknown)
}
