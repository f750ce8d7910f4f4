//! A connection that is made when somebody asks, and again when it is lost. One task drives it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onrush_proto::frame::{Answer, Verdict, Welcome};
use onrush_proto::{Command, Sku};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::conversation::{Conversation, End, Welcomed};
use super::dialogue::DialogueError;
use super::stream::{Stream, Way};
use crate::client::whereabouts::Whereabouts;
use crate::client::{Described, Retry};

/// What is asked over a link.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// A command.
    Command {
        command: Command,
        /// The idempotency key; 0 = none.
        key: u128,
        /// True if a payment is answered once it is settled.
        settled: bool,
    },
    /// Lines, to be looked up.
    Lines(Arc<[(Sku, i64)]>),
    /// SKUs, whose products are to be told.
    Details(Arc<[Sku]>),
    /// Whether anybody is there.
    Ping,
}

/// What was answered.
#[derive(Debug)]
pub(super) enum Told {
    Answer(Answer),
    Verdicts(Vec<Verdict>),
    Products(Vec<Option<Described>>),
    Pong,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Nobody listens. Nothing was asked.
    #[error("expected a server at {address}: {error}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        error: Arc<std::io::Error>,
    },
    /// The connection ended before the answer.
    #[error("the connection ended before the answer")]
    Closed,
    /// Nothing was heard for too long.
    #[error("the server says nothing any more")]
    Silent,
    /// What the server said, or makes of what we said.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// More bytes than the server reads, or no operation of the protocol.
    #[error(transparent)]
    NotAsked(#[from] super::NotAsked),
}

/// A question and who waits for its answer.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) asked: Asked,
    /// When nobody waits any more.
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Told, Lost>>,
}

impl Call {
    /// True while somebody waits for the answer.
    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        now < self.deadline && !self.answer.is_closed()
    }

    pub(super) fn lose(self, lost: &Lost) {
        // Nobody has to wait for an answer to the end.
        let _ = self.answer.send(Err(lost.clone()));
    }
}

/// Who is called.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// `host:port` of each node.
    pub(super) whereabouts: Arc<Whereabouts>,
    pub(super) way: Way,
    pub(super) token: String,
    /// How stale what is looked up may be at most, in ms; 0 = as it comes.
    pub(super) stale_ms_max: u32,
    /// Pauses between connections that fail, and how long silence may last.
    pub(super) retry: Retry,
}

impl Server {
    /// What a connection begins with: who we are, and what we accept.
    pub(super) fn greeting(&self) -> (&str, u32) {
        (&self.token, self.stale_ms_max)
    }
}

/// Why a call was not taken: as many wait as may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

/// The near end of a connection. The connection ends with its last link.
#[derive(Clone, Debug)]
pub(super) struct Link {
    calls: mpsc::Sender<Call>,
}

impl Link {
    /// A link to an address on which at most `queue_max` calls wait to be asked. `granted` gets what is granted first.
    /// Must be called within a tokio runtime.
    pub(super) fn start(
        server: Server,
        address: Arc<str>,
        queue_max: usize,
        granted: Arc<OnceLock<Welcome>>,
    ) -> Self {
        let (calls, incoming) = mpsc::channel(queue_max.max(1));
        tokio::spawn(run(server, address, incoming, granted));
        Self { calls }
    }

    /// True if both are ends of one connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.calls.same_channel(&other.calls)
    }

    /// Has a question asked.
    pub(super) fn ask(
        &self,
        asked: Asked,
        patience: Duration,
    ) -> Result<oneshot::Receiver<Result<Told, Lost>>, Full> {
        let (answer, told) = oneshot::channel();
        let call = Call { asked, deadline: Instant::now() + patience, answer };
        self.calls.try_send(call).map_err(|_| Full)?;
        Ok(told)
    }
}

/// Connects for the next call, and lives as long as somebody may call.
async fn run(server: Server, address: Arc<str>, mut calls: Receiver<Call>, granted: Arc<OnceLock<Welcome>>) {
    let mut failures = 0;
    // What a connection that was ended in good order did not come to ask.
    let mut left = Vec::new();
    loop {
        if left.is_empty() {
            let Some(call) = calls.recv().await else { return };
            left.push(call);
        }
        let mut conversation = match connect(&server, &address).await {
            Ok(stream) => {
                let welcome = Welcomed::new(&server, &address, &granted);
                Conversation::new(stream, &server, welcome, std::mem::take(&mut left))
            }
            Err(lost) => {
                failures += 1;
                lose(&mut left, &mut calls, &lost);
                pause(&server, failures).await;
                continue;
            }
        };
        let end = conversation.run(&mut calls).await;
        failures = if conversation.is_welcome() { 0 } else { failures + 1 };
        match end {
            End::Finished => return,
            End::Left(unasked) => {
                // It takes a while to go, and may welcome us again until it is gone.
                failures = failures.max(u32::from(!unasked.is_empty()));
                left = unasked;
            }
            End::Lost(lost) => lose(&mut left, &mut calls, &lost),
        }
        if failures > 0 {
            pause(&server, failures).await;
        }
    }
}

pub(super) async fn connect(server: &Server, address: &str) -> Result<Stream, Lost> {
    let Server { way, retry, .. } = server;
    let silent = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connected = tokio::time::timeout(retry.timeout, Stream::connect(address, way)).await;
    let connected = connected.unwrap_or_else(silent);
    connected.map_err(|error| Lost::Connect { address: address.to_owned(), error: Arc::new(error) })
}

/// Tells all that wait.
fn lose(left: &mut Vec<Call>, calls: &mut Receiver<Call>, lost: &Lost) {
    left.drain(..).for_each(|call| call.lose(lost));
    while let Ok(call) = calls.try_recv() {
        call.lose(lost);
    }
}

async fn pause(Server { retry, whereabouts, .. }: &Server, failures: u32) {
    // Who goes round comes by again, and pauses itself.
    let number = if whereabouts.count() > 1 { 1 } else { failures };
    tokio::time::sleep(retry.pause_before(number, Uuid::new_v4().as_u64_pair().1)).await;
}
