//! What a call came to, as its client sees it.

use std::time::{Duration, Instant};

use onrush_net::client::CallError;

/// How long a call may go without an answer once the server is back.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Refusals that decide nothing about the key: an earlier call under it may still be accepted.
const UNDECIDED: [&str; 4] =
    ["IDEMPOTENCY_KEY_IN_PROGRESS", "OVERLOADED", "DEADLINE_EXCEEDED", "ResourceExhausted"];

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Given(T),
    /// Refused, with the reason.
    Refused(String),
    /// It may have worked.
    Unknown,
}

impl<T> From<Result<T, CallError>> for Answer<T> {
    fn from(result: Result<T, CallError>) -> Self {
        match result {
            Ok(given) => Self::Given(given),
            Err(CallError::Refused(refused)) if !UNDECIDED.contains(&refused.reason.as_str()) => {
                Self::Refused(refused.reason)
            }
            Err(CallError::Address(address)) => panic!("expected an address, found {address}"),
            Err(_) => Self::Unknown,
        }
    }
}

/// Calls until there is an answer.
pub(crate) async fn answered<T, F>(call: impl Fn() -> F) -> Answer<T>
where
    F: Future<Output = Result<T, CallError>>,
{
    let start = Instant::now();
    loop {
        let result = call().await;
        let said = result.as_ref().err().map(ToString::to_string);
        match Answer::from(result) {
            Answer::Unknown => assert!(start.elapsed() < ANSWER_MAX, "expected an answer, found {said:?}"),
            answer => return answer,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Calls until there is an answer, which must not be a refusal.
pub(crate) async fn given<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, CallError>>,
{
    match answered(call).await {
        Answer::Given(given) => given,
        Answer::Refused(reason) => panic!("expected an acceptance, found {reason}"),
        Answer::Unknown => unreachable!("answered() waits for an answer"),
    }
}
