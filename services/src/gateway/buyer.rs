//! Waits for a buyer who is to approve a charge, for as long as the order waits. What becomes of it is settled
//! like any answer: approved in time it pays; approved too late it is late money; never approved, it is called
//! off at the gateway.

use onrush_proto::{GatewayResult, OrderState};

use super::approval::{self, Approval, Kept, Stage};
use super::jobs::{self, Tries};
use super::{Charge, Consent, Gateways, Retry, Trouble, decline};
use crate::backend::Backend;
use crate::status::Rejection;

/// What is on record of a charge that an earlier call may have made; `None` if nobody waits for a buyer.
pub(super) async fn remembered(backend: &Backend, charge: &Charge) -> Option<Kept> {
    at_last(|| Kept::find(backend, charge.key)).await
}

/// Puts on record what the buyer is to approve, before anybody is told.
pub(super) async fn remember(backend: &Backend, charge: &Charge, approval: Approval) -> Kept {
    at_last(|| Kept::keep(backend, charge.key, approval.clone())).await
}

/// Does the rest of a charge, until its result is on record.
pub(super) async fn wait_for(
    backend: &Backend,
    gateways: &Gateways,
    charge: &Charge,
    mut kept: Kept,
    mut tries: Tries<'_>,
) {
    tries.sit_down();
    let result = loop {
        let trouble = match step(backend, gateways, charge, &kept).await {
            Ok(Step::Settled(result)) => break result,
            Ok(Step::Moved(moved)) => {
                kept = moved;
                continue;
            }
            Ok(Step::Overtaken) => Trouble::Pending,
            Err(trouble) => trouble,
        };
        tries.pause(trouble).await;
        // Somebody may have given it up.
        kept = remembered(backend, charge).await.unwrap_or(kept);
    };
    // The result first: what is forgotten alone knows the payment's name at the gateway. A crash in between leaves
    // it behind, where nobody is sent to the gateway for an attempt that is over.
    jobs::record(backend, jobs::settle(charge.key, result)).await;
    at_last(|| approval::forget(backend, charge.key)).await;
}

/// What one look came to.
enum Step {
    Settled(GatewayResult),
    Moved(Kept),
    /// The approval was given up meanwhile.
    Overtaken,
}

async fn step(backend: &Backend, gateways: &Gateways, charge: &Charge, kept: &Kept) -> Result<Step, Trouble> {
    let reference = kept.approval.reference.as_str();
    let why = match kept.approval.stage {
        // A call that takes the money may be on its way: only its end settles it.
        Stage::Taking => return gateways.take(charge, reference).await.map(Step::Settled),
        Stage::GivenUp => Some(decline::REPLACED),
        Stage::Awaited => is_closed(backend, charge).await.then_some(decline::ORDER_CLOSED),
    };
    if let Some(why) = why {
        let result = gateways.abandon(charge, reference).await?;
        let code = decline::kept(why);
        let declined = matches!(result, GatewayResult::Declined { .. });
        return Ok(Step::Settled(if declined { GatewayResult::Declined { code } } else { result }));
    }
    match gateways.consent(charge, reference).await? {
        Consent::Settled(result) => Ok(Step::Settled(result)),
        Consent::Awaited => Err(Trouble::Pending),
        Consent::Given => {
            let moved = at_last(|| kept.clone().to(backend, Stage::Taking)).await;
            Ok(moved.map_or(Step::Overtaken, Step::Moved))
        }
    }
}

/// True if the order does not wait for a payment any more.
async fn is_closed(backend: &Backend, charge: &Charge) -> bool {
    backend.order(charge.key.order).await.is_ok_and(|row| row.state != OrderState::Pending)
}

/// Asks the engine until it answers.
async fn at_last<T, F: Future<Output = Result<T, Rejection>>>(ask: impl Fn() -> F) -> T {
    let mut retry = Retry::default();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(error) => tracing::warn!(%error, "expected the engine to keep what a buyer is to approve"),
        }
        tokio::time::sleep(retry.pause()).await;
    }
}
