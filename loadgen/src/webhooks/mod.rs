//! Pushes of a gateway that has bad days, over HTTP to a whole server: doubled, out of order, after the hold
//! expired, forged and stale. Who stands in for Stripe keeps books, which must be the server's in the end.

mod till;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{Notify, oneshot};

use crate::cli::Scenario;
use crate::conduct::{ConductError, conclude, drive, engine_options, link_options};
use crate::figures::Figure;
use crate::journal::Violations;
use crate::number::grouped;
use crate::random::Random;
use crate::report::Summary;
use crate::target::{GatewaySetup, Grpc, StandIn, Target};
use till::Books;

/// Shares of the intents whose pushes go like this.
const DOUBLED: f64 = 0.10;
const REORDERED: f64 = 0.10;
const LATE: f64 = 0.03;
const FORGED: f64 = 0.01;
const STALE: f64 = 0.01;
/// Share of the intents that the bank declines.
const DECLINED: f64 = 0.05;
/// The bank takes at most this long.
const BANK_S: f64 = 0.4;
/// Late money comes this long after its hold expired.
const LATE_S: f64 = 1.0;
/// A signature is good for 300 s; this one is older.
const STALE_S: u64 = 400;
/// What signs the pushes of this run.
const SECRET: &str = "whsec_loadgen";
/// How long one call to the stand-in may take.
const CALL_MAX: Duration = Duration::from_secs(5);
/// A push that is to come again comes again so often, after such a pause.
const PUSH_TRIES: u32 = 100;
const PUSH_PAUSE: Duration = Duration::from_millis(100);
/// How long after the run the last pushes may take.
const PUSHED_WITHIN: Duration = Duration::from_secs(30);

/// Why there is nobody to stand in for the gateway.
#[derive(Debug, thiserror::Error)]
#[error("the stand-in for the gateway does not start: {0}")]
pub(crate) struct TillError(#[from] std::io::Error);

/// What was pushed.
#[derive(Default)]
struct Pushes {
    heard: AtomicU64,
    doubled: AtomicU64,
    reordered: AtomicU64,
    late: AtomicU64,
    forged: AtomicU64,
    stale: AtomicU64,
    /// Told to come again, and come again.
    again: AtomicU64,
    /// Under way: intents whose pushes are not all done.
    open: AtomicU64,
    violations: Mutex<Violations>,
}

/// What the stand-in and its pushes have in common.
struct Shared {
    books: Mutex<Books>,
    pushes: Pushes,
    /// An intent was made.
    news: Notify,
    /// Where pushes go, once the server is there.
    url: OnceLock<String>,
    http: reqwest::Client,
    seed: u64,
    hold_s: f64,
}

/// The stand-in on a thread of its own; ends when dropped.
struct Till {
    shared: Arc<Shared>,
    base: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Runs the scenario against a server whose gateway is the stand-in.
pub(crate) fn conduct(scenario: &Scenario) -> Result<Summary, ConductError> {
    let plan = scenario.plan()?;
    let common = scenario.common();
    let till = Till::start(plan.seed, plan.hold_us as f64 / 1e6).map_err(TillError)?;
    let gateway = GatewaySetup::StandIn(till.stand_in());
    let target = Grpc::boot(&engine_options(scenario, gateway), &link_options(common))?;
    // Nobody pays before the catalogue is loaded, and nobody is told before somebody pays.
    let _ = till.shared.url.set(format!("{}/webhooks/stripe", target.payment_address()));
    let (mut target, ran, summary) = drive(common, &plan, Box::new(target))?;
    let mut violations = till.wait();
    till.check(target.as_mut(), &mut violations);
    let mut summary = conclude(target, &plan, ran, summary)?;
    summary.figures.extend(till.figures());
    summary.findings.lines.push(till.line());
    summary.findings.violations.extend(violations.into_lines());
    Ok(summary)
}

impl Till {
    fn start(seed: u64, hold_s: f64) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let base = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            books: Mutex::default(),
            pushes: Pushes::default(),
            news: Notify::new(),
            url: OnceLock::new(),
            http: reqwest::Client::new(),
            seed,
            hold_s,
        });
        let (stop, stopped) = oneshot::channel();
        let work = {
            let shared = Arc::clone(&shared);
            move || runtime.block_on(run(shared, listener, stopped))
        };
        let thread = std::thread::Builder::new().name("loadgen-till".into()).spawn(work)?;
        Ok(Self { shared, base, stop: Some(stop), thread: Some(thread) })
    }

    fn stand_in(&self) -> StandIn {
        StandIn { base: self.base.clone(), webhook_secret: SECRET, call_max: CALL_MAX }
    }

    /// Waits until every push was made; what was wrong with them.
    fn wait(&self) -> Violations {
        let until = Instant::now() + PUSHED_WITHIN;
        let open = || self.shared.pushes.open.load(Ordering::Relaxed);
        while open() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
        let mut violations = self.shared.pushes.violations().clone();
        if open() > 0 {
            violations.note(|| format!("every push is made: expected all within 30 s, {} were not", open()));
        }
        violations
    }

    /// Both books must come to the same.
    fn check(&self, target: &mut dyn Target, violations: &mut Violations) {
        let until = Instant::now() + PUSHED_WITHIN;
        let money = loop {
            match target.money() {
                Ok(Some(money)) if money.open() > 0 && Instant::now() < until => sleep(PUSH_PAUSE),
                Ok(Some(money)) => break money.sums(),
                Ok(None) => return,
                Err(error) => return violations.note(|| error.to_string()),
            }
        };
        let books = self.shared.books();
        let (received, refunded, _) = books.sums();
        if money != (received, refunded) {
            violations.note(|| {
                format!(
                    "both books agree: expected {received} taken and {refunded} given back as the gateway has it, found {} and {}",
                    money.0, money.1
                )
            });
        }
        let doubled = books.doubled();
        if doubled > 0 {
            violations.note(|| {
                format!("one charge per attempt: expected none twice at the gateway, found {doubled}")
            });
        }
    }

    fn line(&self) -> String {
        let (received, refunded, intents) = self.shared.books().sums();
        format!(
            "the gateway's books say the same: {} charges, {} minor units taken, {} given back",
            grouped(intents as i64),
            grouped(received),
            grouped(refunded)
        )
    }

    fn figures(&self) -> Vec<Figure> {
        let Pushes { heard, doubled, reordered, late, forged, stale, again, .. } = &self.shared.pushes;
        let [heard, doubled, reordered, late, forged, stale, again] =
            [heard, doubled, reordered, late, forged, stale, again]
                .map(|count| count.load(Ordering::Relaxed));
        let text = |count: u64| grouped(count as i64);
        vec![
            Figure::new(
                "pushes",
                "pushes heard",
                json!({"heard": heard, "doubled": doubled, "reordered": reordered, "late": late, "came_again": again}),
                format!(
                    "{}; {} doubled, {} out of order, {} after the hold expired, {} told to come again",
                    text(heard),
                    text(doubled),
                    text(reordered),
                    text(late),
                    text(again)
                ),
            ),
            Figure::new(
                "pushes_refused",
                "pushes not believed",
                json!({"forged": forged, "stale": stale}),
                format!("{} forged, {} stale, each refused", text(forged), text(stale)),
            ),
        ]
    }
}

impl Drop for Till {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Pushes {
    fn violations(&self) -> MutexGuard<'_, Violations> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a body under a signature of that time; the status, 0 if nobody answers.
    async fn push(&self, body: &str, secret: &str, at_s: u64) -> u16 {
        let Some(url) = self.url.get() else { return 0 };
        let request = self.http.post(url).header("Stripe-Signature", signature(secret, at_s, body));
        request.body(body.to_owned()).send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// Pushes until it is heard.
    async fn tell(&self, body: &str) {
        let mut status = 0;
        for _ in 0..PUSH_TRIES {
            status = self.push(body, SECRET, now_s()).await;
            match status {
                204 => {
                    self.pushes.heard.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                0 | 429 | 503 => {
                    self.pushes.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PUSH_PAUSE).await;
                }
                _ => break,
            }
        }
        self.pushes
            .violations()
            .note(|| format!("a signed push is heard: expected 204, found {status}: {body}"));
    }

    /// Pushes what nobody may believe.
    async fn deceive(&self, body: &str, secret: &str, at_s: u64, count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
        let status = self.push(body, secret, at_s).await;
        if status != 401 {
            self.pushes
                .violations()
                .note(|| format!("a push that is not signed now is refused: expected 401, found {status}"));
        }
    }

    /// What becomes of an intent, and how it is told.
    async fn follow(&self, at: usize, key: &str) {
        let purpose = key.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let mut dice = Random::new(self.seed, purpose);
        let [doubled, reordered, late, forged, stale, declined] =
            [DOUBLED, REORDERED, LATE, FORGED, STALE, DECLINED].map(|share| dice.chance(share));
        let bank_s = if late { self.hold_s + LATE_S } else { dice.unit() * BANK_S };
        let event = |number: u32, kind: &str| event(&format!("evt_{at}_{number}"), kind, at);
        let pushes = &self.pushes;
        if !reordered {
            self.tell(&event(1, "payment_intent.processing")).await;
        }
        if forged {
            let body = event(2, "payment_intent.succeeded");
            self.deceive(&body, "whsec_of_somebody_else", now_s(), &pushes.forged).await;
        }
        tokio::time::sleep(Duration::from_secs_f64(bank_s)).await;
        self.books().settle(at, !declined);
        pushes.late.fetch_add(late.into(), Ordering::Relaxed);
        let kind = if declined { "payment_intent.payment_failed" } else { "payment_intent.succeeded" };
        let body = event(3, kind);
        if stale {
            self.deceive(&body, SECRET, now_s() - STALE_S, &pushes.stale).await;
        }
        if doubled {
            pushes.doubled.fetch_add(1, Ordering::Relaxed);
            tokio::join!(self.tell(&body), self.tell(&body));
        } else {
            self.tell(&body).await;
        }
        if reordered {
            pushes.reordered.fetch_add(1, Ordering::Relaxed);
            self.tell(&event(1, "payment_intent.processing")).await;
        }
    }
}

/// Answers the server and pushes to it until the run is over.
async fn run(shared: Arc<Shared>, listener: TcpListener, stopped: oneshot::Receiver<()>) {
    let answer = {
        let shared = Arc::clone(&shared);
        Arc::new(move |call: &wire::Call| {
            let answer = shared.books().answer(call);
            shared.news.notify_one();
            answer
        })
    };
    let follow = async {
        loop {
            shared.news.notified().await;
            let fresh = shared.books().fresh();
            for (at, key) in fresh {
                shared.pushes.open.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    shared.follow(at, &key).await;
                    shared.pushes.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
    };
    tokio::select! {
        () = wire::serve(listener, answer) => {}
        () = follow => {}
        _ = stopped => {}
    }
}

/// An event about an intent.
fn event(id: &str, kind: &str, at: usize) -> String {
    let intent = json!({"id": format!("pi_{}", at + 1), "object": "payment_intent"});
    json!({"id": id, "object": "event", "type": kind, "data": {"object": intent}}).to_string()
}

/// Stripe's signature: an HMAC-SHA256 over time and body.
fn signature(secret: &str, at_s: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{at_s}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at_s},v1={hex}")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of Stripe's own documentation of the scheme, as this house keeps it.
    #[test]
    fn pushes_are_signed_as_stripe_signs_them() {
        let body = r#"{"id":"evt_1","object":"event"}"#;
        let expected = "t=1700000000,v1=4c15fb2a43f93ef61eaa3e0893866d57cad9cad4223242cfb96f362480cb4021";
        assert_eq!(signature("whsec_test", 1_700_000_000, body), expected);
    }
}
