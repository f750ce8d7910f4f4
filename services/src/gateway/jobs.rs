//! What a payment record asks of the gateway, and doing it until there is an answer on record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_proto::{
    AttemptState, Command, GatewayResult, Money, OrderRow, Outcome, RecordKind, RefundState, Refusal,
    Request, SettleAttempt, SettleRefund, Topic,
};
use tokio::sync::Notify;

use super::{Charge, Gateway, GatewayKey, NoAnswer, Op, Retry};
use crate::backend::Backend;

/// How long one call may take before nobody knows.
const CALL_MAX: Duration = Duration::from_secs(30);

/// One thing to do at the gateway.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Ask for money.
    Charge {
        /// What to ask for.
        charge: Charge,
        /// True if an earlier call went unanswered.
        unknown: bool,
    },
    /// Take what is reserved, or a part of it.
    Capture(GatewayKey, Money),
    /// Give a reservation back.
    Void(GatewayKey, Money),
    /// Give money back.
    Refund(GatewayKey, Money),
}

impl Job {
    pub(super) fn key(&self) -> GatewayKey {
        match self {
            Self::Charge { charge, .. } => charge.key,
            Self::Capture(key, _) | Self::Void(key, _) | Self::Refund(key, _) => *key,
        }
    }

    /// True if records of this kind can ask for something. An order that is called off, expires or
    /// is paid by another attempt gives its reservations of money back.
    pub(super) fn is_asked_by(kind: RecordKind) -> bool {
        use RecordKind::{OrderCancelled, OrderExpired, PaymentCaptured};
        kind.is_in(Topic::PaymentStarted) || matches!(kind, OrderCancelled | OrderExpired | PaymentCaptured)
    }

    /// What a record of this kind asks for, as the order stands in `row`.
    pub(super) fn of(kind: RecordKind, row: &OrderRow) -> Vec<Self> {
        let Some(payment) = &row.payment else { return Vec::new() };
        let key = |number, op| GatewayKey { order: row.id, number, op };
        let money = |minor| Money::new(minor, row.total.currency);
        let attempts = payment.attempts.iter();
        match kind {
            RecordKind::PaymentStarted => attempts
                .filter(|each| matches!(each.state, AttemptState::Processing | AttemptState::Unknown))
                .map(|each| Self::Charge {
                    charge: Charge {
                        key: key(each.number, Op::Charge),
                        amount: money(each.minor),
                        method: each.method,
                        capture: each.capture,
                    },
                    unknown: each.state == AttemptState::Unknown,
                })
                .collect(),
            RecordKind::CaptureStarted => attempts
                .filter(|each| each.state == AttemptState::Capturing)
                .map(|each| Self::Capture(key(each.number, Op::Capture), money(each.capture_minor)))
                .collect(),
            RecordKind::PaymentVoided
            | RecordKind::OrderCancelled
            | RecordKind::OrderExpired
            | RecordKind::PaymentCaptured => attempts
                .filter(|each| each.state == AttemptState::Voided)
                .map(|each| Self::Void(key(each.number, Op::Void), money(each.minor)))
                .collect(),
            RecordKind::RefundStarted => payment
                .refunds
                .iter()
                .filter(|each| each.state == RefundState::Pending)
                .map(|each| Self::Refund(key(each.number, Op::Refund), money(each.minor)))
                .collect(),
            _ => Vec::new(),
        }
    }
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

    /// Wakes the job a webhook is about, if it is still open.
    pub(super) fn wake(&self, key: GatewayKey) {
        if let Some(news) = self.lock().get(&key) {
            news.notify_one();
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
    news: Arc<Notify>,
}

impl Drop for OpenJob {
    fn drop(&mut self) {
        self.jobs.lock().remove(&self.key);
    }
}

/// Does a job until its result is on record.
pub(super) async fn run(backend: &Backend, gateway: &Gateway, job: Job, open: &OpenJob) {
    match job {
        Job::Charge { charge, unknown } => {
            charge_until_settled(backend, gateway, charge, unknown, open).await
        }
        Job::Capture(key, amount) => {
            let mut retry = Retry::default();
            let result = loop {
                match take(gateway, key, amount, retry.call).await {
                    Ok(result) => break result,
                    Err(NoAnswer) => pause(&mut retry, open).await,
                }
            };
            record(backend, settle(key, result)).await;
        }
        Job::Void(key, amount) => {
            let mut retry = Retry::default();
            while answered(gateway.void(key, amount, retry.call)).await.is_err() {
                pause(&mut retry, open).await;
            }
        }
        Job::Refund(key, amount) => {
            let mut retry = Retry::default();
            let succeeded = loop {
                match answered(gateway.refund(key, amount, retry.call)).await {
                    Ok(succeeded) => break succeeded,
                    Err(NoAnswer) => pause(&mut retry, open).await,
                }
            };
            let settle = SettleRefund { order: key.order, refund: key.number, succeeded };
            record(backend, Command::SettleRefund(settle)).await;
        }
    }
}

/// An unanswered charge is recorded as unknown, then settled by query under the same key. What the
/// gateway never heard of is asked again, under the same key too.
async fn charge_until_settled(
    backend: &Backend,
    gateway: &Gateway,
    charge: Charge,
    unknown: bool,
    open: &OpenJob,
) {
    let mut on_record = unknown;
    let mut retry = Retry { call: u32::from(unknown) };
    loop {
        if let Ok(result) = ask(gateway, charge, retry.call).await {
            return record(backend, settle(charge.key, result)).await;
        }
        if !on_record {
            record(backend, settle(charge.key, GatewayResult::Unknown)).await;
            on_record = true;
        }
        pause(&mut retry, open).await;
    }
}

async fn ask(gateway: &Gateway, charge: Charge, call: u32) -> Result<GatewayResult, NoAnswer> {
    if call > 0
        && let Some(result) = answered(gateway.query(charge.key, call)).await?
    {
        return Ok(result);
    }
    answered(gateway.charge(charge, call)).await
}

/// Takes a reservation. What an unanswered call did is asked under the same key; a capture that the
/// gateway never heard of is made again, under the same key too.
async fn take(
    gateway: &Gateway,
    key: GatewayKey,
    amount: Money,
    call: u32,
) -> Result<GatewayResult, NoAnswer> {
    if call > 0
        && let Some(result) = answered(gateway.query(key, call)).await?
    {
        return Ok(result);
    }
    answered(gateway.capture(key, amount, call)).await
}

fn settle(key: GatewayKey, result: GatewayResult) -> Command {
    Command::SettleAttempt(Box::new(SettleAttempt { order: key.order, attempt: key.number, result }))
}

async fn answered<T>(call: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    tokio::time::timeout(CALL_MAX, call).await.unwrap_or(Err(NoAnswer))
}

async fn pause(retry: &mut Retry, open: &OpenJob) {
    tokio::select! {
        () = tokio::time::sleep(retry.pause()) => {}
        () = open.news.notified() => {}
    }
}

/// Records a result. The command names the attempt and its result, so saying it twice is harmless;
/// what the engine cannot take now it is told again.
async fn record(backend: &Backend, command: Command) {
    let mut retry = Retry::default();
    loop {
        match backend.call(Request::unkeyed(command.clone())).await.outcome {
            Outcome::Refused(Refusal::Overloaded | Refusal::Stopped | Refusal::DeadlineExceeded) => {
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
