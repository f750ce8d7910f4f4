//! What a payment record asks of the gateway, and doing it until there is an answer on record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_proto::{
    Attempt, AttemptState, Command, GatewayResult, Money, OrderRow, OrderState, Outcome, Payment, RecordKind,
    RefundState, Refusal, Request, SettleAttempt, SettleRefund, StartPayment, Text, Topic,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    Charge, Charged, GatewayKey, Gateways, Op, Refunding, Retry, Step, Trouble, buyer, decline, failover,
};
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::dice::Roll;
use crate::status::Rejection;

/// Who asks for the attempts that follow a decline: nobody's id, as it has a control character.
const CALLER: &str = "\0gateway";
/// How often a gateway that waits for a buyer or a bank is asked, at most.
const PENDING_PAUSE: Duration = Duration::from_secs(60);

/// One thing to do at the gateway, or because of what it said.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// Ask for money.
    Charge {
        /// What to ask for.
        charge: Charge,
        /// True if it is on record that an earlier call went unanswered.
        unknown: bool,
    },
    /// Take what is reserved, or a part of it.
    Capture(Step),
    /// Give a reservation back.
    Void(Step),
    /// Give money back.
    Refund(Refunding),
    /// Begin the attempt that follows this one, with the tokens that are left.
    Follow {
        /// The attempt that was declined.
        key: GatewayKey,
        /// The tokens.
        method: Text<47>,
        /// True if authorisation and capture are one step.
        capture: bool,
    },
}

impl Job {
    /// The key at the gateway; `None` for what is not asked of one.
    pub(super) fn key(&self) -> Option<GatewayKey> {
        match self {
            Self::Charge { charge, .. } => Some(charge.key),
            Self::Capture(step) | Self::Void(step) => Some(step.key),
            Self::Refund(refund) => Some(refund.key),
            Self::Follow { .. } => None,
        }
    }

    /// What it is called in a trace.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Charge { .. } => "charge",
            Self::Capture(_) => "capture",
            Self::Void(_) => "void",
            Self::Refund(_) => "refund",
            Self::Follow { .. } => "fail over",
        }
    }

    /// True if records of this kind can ask for something. An order that is called off, expires or
    /// is paid by another attempt gives its reservations of money back.
    pub(super) fn is_asked_by(kind: RecordKind) -> bool {
        use RecordKind::{OrderCancelled, OrderExpired, PaymentCaptured, PaymentDeclined};
        let closes = matches!(kind, OrderCancelled | OrderExpired | PaymentCaptured | PaymentDeclined);
        kind.is_in(Topic::PaymentStarted) || closes
    }

    /// What a record of this kind asks for, as the order stands in `row`.
    pub(super) fn of(kind: RecordKind, row: &OrderRow) -> Vec<Self> {
        let Some(payment) = &row.payment else { return Vec::new() };
        let attempts = payment.attempts.iter();
        match kind {
            RecordKind::PaymentStarted => attempts
                .filter(|each| matches!(each.state, AttemptState::Processing | AttemptState::Unknown))
                .map(|each| Self::charge(row, each))
                .collect(),
            RecordKind::CaptureStarted => attempts
                .filter(|each| each.state == AttemptState::Capturing)
                .map(|each| Self::Capture(step(row, each, Op::Capture, each.capture_minor)))
                .collect(),
            RecordKind::PaymentVoided
            | RecordKind::OrderCancelled
            | RecordKind::OrderExpired
            | RecordKind::PaymentCaptured => attempts
                .filter(|each| each.state == AttemptState::Voided)
                .map(|each| Self::Void(step(row, each, Op::Void, each.minor)))
                .collect(),
            RecordKind::RefundStarted => refunds(row, payment),
            RecordKind::PaymentDeclined => {
                attempts.last().and_then(|last| Self::follow(row, last)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn charge(row: &OrderRow, attempt: &Attempt) -> Self {
        let charge = Charge {
            key: GatewayKey { order: row.id, number: attempt.number, op: Op::Charge },
            amount: Money::new(attempt.minor, row.total.currency),
            method: attempt.method,
            capture: attempt.capture,
            started_us: attempt.started_us,
        };
        Self::Charge { charge, unknown: attempt.state == AttemptState::Unknown }
    }

    fn follow(row: &OrderRow, attempt: &Attempt) -> Option<Self> {
        let method = failover::tokens_after(attempt).filter(|_| failover::is_open(row))?;
        let key = GatewayKey { order: row.id, number: attempt.number, op: Op::Charge };
        Some(Self::Follow { key, method, capture: attempt.capture })
    }
}

fn step(row: &OrderRow, attempt: &Attempt, op: Op, minor: i64) -> Step {
    let key = GatewayKey { order: row.id, number: attempt.number, op };
    Step { key, reference: attempt.reference, amount: Money::new(minor, row.total.currency) }
}

fn refunds(row: &OrderRow, payment: &Payment) -> Vec<Job> {
    let pending = payment.refunds.iter().filter(|each| each.state == RefundState::Pending);
    let refund = |minor: i64, number| Refunding {
        key: GatewayKey { order: row.id, number, op: Op::Refund },
        amount: Money::new(minor, row.total.currency),
        charges: payment
            .attempts
            .iter()
            .filter(|each| each.state == AttemptState::Captured && taken(each) >= minor)
            .map(|each| each.reference)
            .collect(),
    };
    pending.map(|each| Job::Refund(refund(each.minor, each.number))).collect()
}

/// What a captured attempt brought.
fn taken(attempt: &Attempt) -> i64 {
    if attempt.capture_minor > 0 { attempt.capture_minor } else { attempt.minor }
}

/// The jobs under way, each with what a webhook wakes.
#[derive(Clone, Default)]
pub(super) struct OpenJobs(Arc<Mutex<HashMap<GatewayKey, Arc<Notify>>>>);

impl OpenJobs {
    /// Enters a job; `None` if one with this key is under way.
    pub(super) fn enter(&self, key: GatewayKey) -> Option<OpenJob> {
        let news = Arc::new(Notify::new());
        let mut open = self.lock();
        if open.contains_key(&key) {
            return None;
        }
        open.insert(key, news.clone());
        Some(OpenJob { jobs: self.clone(), key, news })
    }

    /// Wakes the job a webhook is about; false if none is open.
    pub(super) fn wake(&self, key: GatewayKey) -> bool {
        match self.lock().get(&key) {
            Some(news) => {
                news.notify_one();
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GatewayKey, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's place among the open ones; dropping it leaves.
pub(super) struct OpenJob {
    jobs: OpenJobs,
    key: GatewayKey,
    pub(super) news: Arc<Notify>,
}

impl Drop for OpenJob {
    fn drop(&mut self) {
        self.jobs.lock().remove(&self.key);
    }
}

/// A place among the jobs under way, or, where a buyer takes time, on a bench that is longer: those who wait
/// for buyers do not keep others from paying.
pub(super) struct Place {
    held: OwnedSemaphorePermit,
    bench: Option<Arc<Semaphore>>,
}

impl Place {
    /// A place among the jobs, with the bench.
    pub(super) fn new(held: OwnedSemaphorePermit, bench: Arc<Semaphore>) -> Self {
        Self { held, bench: Some(bench) }
    }
}

/// Does a job until its result is on record. `old` says that a process before this one may have begun.
pub(super) async fn run(
    backend: &Backend,
    gateways: &Gateways,
    job: Job,
    old: bool,
    (news, place): (&Notify, Place),
) {
    let mut tries = Tries { retry: Retry::default(), asked: old, key: job.key(), news, place };
    match job {
        Job::Charge { charge, unknown } => {
            tries.asked |= unknown;
            charge_until_settled(backend, gateways, charge, unknown, tries).await;
        }
        Job::Capture(step) => {
            let result = loop {
                match gateways.capture(&step, tries.asked, tries.retry.call).await {
                    Ok(result) => break result,
                    Err(trouble) => tries.pause(trouble).await,
                }
            };
            record(backend, settle(step.key, result)).await;
        }
        Job::Void(step) => {
            while let Err(trouble) = gateways.void(&step, tries.asked, tries.retry.call).await {
                tries.pause(trouble).await;
            }
        }
        Job::Refund(refund) => {
            let succeeded = loop {
                match gateways.refund(&refund, tries.asked, tries.retry.call).await {
                    Ok(succeeded) => break succeeded,
                    Err(trouble) => tries.pause(trouble).await,
                }
            };
            let GatewayKey { order, number, .. } = refund.key;
            record(backend, Command::SettleRefund(SettleRefund { order, refund: number, succeeded })).await;
        }
        Job::Follow { key, method, capture } => follow(backend, key, method, capture).await,
    }
}

/// Calls under one key.
pub(super) struct Tries<'a> {
    retry: Retry,
    /// True if a call may have arrived.
    asked: bool,
    key: Option<GatewayKey>,
    news: &'a Notify,
    place: Place,
}

impl Tries<'_> {
    /// Leaves the place to others, if there is room on the bench.
    pub(super) fn sit_down(&mut self) {
        if let Some(seat) = self.place.bench.take().and_then(|bench| bench.try_acquire_owned().ok()) {
            self.place.held = seat;
        }
    }

    /// Waits before the next call, or until there is news. Pauses differ from key to key, so that a
    /// gateway that comes back is not met by all at once.
    pub(super) async fn pause(&mut self, trouble: Trouble) {
        self.asked |= !matches!(trouble, Trouble::Untouched(_));
        let step = self.retry.pause();
        let pause = match trouble {
            Trouble::NoAnswer => step,
            Trouble::Untouched(least) => least.max(step),
            // It doubles on, for as long as a buyer or a bank takes.
            Trouble::Pending => (step * self.retry.call).min(PENDING_PAUSE),
        };
        let roll = self.key.map_or(0.5, |key| Roll::new(self.retry.call.into(), &key.to_string()).share());
        let jittered = match trouble {
            Trouble::Untouched(_) => pause.mul_f64(1.0 + roll / 2.0),
            Trouble::NoAnswer | Trouble::Pending => pause.mul_f64(1.0 - roll / 4.0),
        };
        tokio::select! {
            () = tokio::time::sleep(jittered) => {}
            () = self.news.notified() => {}
        }
    }
}

/// An unanswered charge is recorded as unknown, then settled by query under the same key. What the
/// gateway never heard of is asked again, under the same key too. What certainly never arrived may go
/// elsewhere, and is not asked any more once its order is gone.
async fn charge_until_settled(
    backend: &Backend,
    gateways: &Gateways,
    charge: Charge,
    mut on_record: bool,
    mut tries: Tries<'_>,
) {
    if tries.asked
        && let Some(kept) = buyer::remembered(backend, &charge).await
    {
        return buyer::wait_for(backend, gateways, &charge, kept, tries).await;
    }
    loop {
        let trouble = match gateways.charge(&charge, tries.asked, tries.retry.call).await {
            Ok(Charged::Done(result)) => return record(backend, settle(charge.key, result)).await,
            Ok(Charged::Action(approval)) => {
                let kept = buyer::remember(backend, &charge, approval).await;
                return buyer::wait_for(backend, gateways, &charge, kept, tries).await;
            }
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Untouched(_) if !tries.asked => {
                if let Some(code) = instead(backend, gateways, &charge).await {
                    return record(backend, settle(charge.key, GatewayResult::Declined { code })).await;
                }
            }
            Trouble::NoAnswer if !on_record => {
                record(backend, settle(charge.key, GatewayResult::Unknown)).await;
                on_record = true;
            }
            Trouble::NoAnswer | Trouble::Pending | Trouble::Untouched(_) => {}
        }
        tries.pause(trouble).await;
    }
}

/// What to decline a charge with that never reached its gateway; `None` = it waits for it.
async fn instead(backend: &Backend, gateways: &Gateways, charge: &Charge) -> Option<Text<31>> {
    if let Some(code) = gateways.elsewhere(charge) {
        return Some(code);
    }
    let closed = backend.order(charge.key.order).await.is_ok_and(|row| row.state != OrderState::Pending);
    closed.then(|| decline::kept(decline::ORDER_CLOSED))
}

/// Begins the next attempt, once: its key is that of the attempt before.
async fn follow(backend: &Backend, key: GatewayKey, method: Text<47>, capture: bool) {
    let start = StartPayment { order: key.order, method, capture };
    let command = Command::StartPayment(Box::new(start));
    let Ok(keyed) = backend.keyed(CALLER, &format!("follow:{key}"), Deadline::unstated(), command) else {
        return;
    };
    let mut retry = Retry::default();
    loop {
        match backend.accept(keyed.request.clone()).await {
            Err(Rejection::Refused(
                Refusal::Overloaded
                | Refusal::Stopped
                | Refusal::NotLeader { .. }
                | Refusal::DeadlineExceeded
                | Refusal::KeyInProgress,
            )) => tokio::time::sleep(retry.pause()).await,
            // Somebody else began another attempt, or the order is gone.
            Err(error) => return tracing::debug!(%error, %key, "no attempt follows"),
            Ok(_) => return,
        }
    }
}

pub(super) fn settle(key: GatewayKey, result: GatewayResult) -> Command {
    Command::SettleAttempt(Box::new(SettleAttempt { order: key.order, attempt: key.number, result }))
}

/// Records a result. The command names the attempt and its result, so saying it twice is harmless;
/// what the engine cannot take now it is told again.
pub(super) async fn record(backend: &Backend, command: Command) {
    let mut retry = Retry::default();
    loop {
        match backend.call(Request::unkeyed(command.clone())).await.outcome {
            Outcome::Refused(
                Refusal::Overloaded
                | Refusal::Stopped
                | Refusal::NotLeader { .. }
                | Refusal::Unreachable
                | Refusal::DeadlineExceeded,
            ) => {
                tokio::time::sleep(retry.pause()).await;
            }
            Outcome::Refused(refusal) => {
                tracing::debug!(%refusal, ?command, "the engine had this result already");
                return;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::OrderId;

    use super::*;

    #[test]
    fn a_key_has_one_job_at_a_time() {
        let jobs = OpenJobs::default();
        let key = GatewayKey { order: OrderId(1), number: 1, op: Op::Charge };
        let first = jobs.enter(key).unwrap();
        assert!(jobs.enter(key).is_none());
        drop(first);
        assert!(jobs.enter(key).is_some());
    }
}
