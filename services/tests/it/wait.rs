//! Waiting for what comes in its own time. There is a bound, and a test that reaches it fails.

use std::fmt::Debug;
use std::time::Duration;

const ASKED_MAX: usize = 3_000;
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is good. Else the test fails by what it waited for and what it saw last.
pub(crate) async fn until<T, E: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut last = None;
    for _ in 0..ASKED_MAX {
        match ask().await {
            Ok(found) => return found,
            Err(seen) => last = Some(seen),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("expected {what}, found {last:#?}");
}

/// Asks until there is an answer.
pub(crate) async fn found<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    until(what, async || ask().await.ok_or("nothing")).await
}

/// Waits until it is so.
pub(crate) async fn seen(what: &str, mut so: impl FnMut() -> bool) {
    found(what, async || so().then_some(())).await;
}
