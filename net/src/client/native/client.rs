//! The client: questions over one connection or one for each shard, tried again while nobody answers.

use std::sync::Arc;
use std::time::Duration;

use onrush_proto::frame::{Answer, DETAILS_MAX, ErrorCode, Rejected, Subscribe, Verdict};
use onrush_proto::{Command, Outcome, Refusal, Reply, Sku};
use tonic::Code;
use uuid::Uuid;

use super::dialogue::DialogueError;
use super::link::{Asked, Full, Lost, Server, Told};
use super::links::Links;
use super::stream::{Transport, Way};
use super::subscription::Subscription;
use crate::client::staleness::most_ms;
use crate::client::whereabouts::Whereabouts;
use crate::client::{CallError, Described, Refused, Retry};

/// Most shards that have a connection of their own, whatever a server says of its shards.
const CONNECTIONS_MAX: u16 = 256;
/// The shard whose leader is asked what every node may say.
const ANY: u16 = 0;

/// How a client talks.
#[derive(Clone, Debug)]
pub struct NativeOptions {
    /// The access token; empty = none.
    pub token: String,
    /// How a call without an answer is tried again. Its time-out is also the patience that the server is
    /// told, and the silence after which a connection is given up.
    pub retry: Retry,
    /// Most calls that wait to be asked, on each connection; more are refused at once.
    pub queue_max: usize,
    /// True for a connection to each shard, else one for all.
    pub per_shard: bool,
    /// What carries the frames.
    pub transport: Transport,
    /// How stale lines and products may be that a node answers where another one leads, to the next ms; `None` = as it comes.
    pub staleness_max: Option<Duration>,
}

impl Default for NativeOptions {
    fn default() -> Self {
        Self {
            token: String::new(),
            retry: Retry::default(),
            queue_max: 16_384,
            per_shard: false,
            transport: Transport::Tcp,
            staleness_max: None,
        }
    }
}

/// A client of the native protocol. Cheap to clone; clones share their connections, which end with the
/// last of them. Dropping the future of a call gives up the answer, not what was asked.
///
/// A shop may be on several nodes. A call that one refuses since another leads is asked again there under its key, and so
/// is one whose connection is lost; nodes tell where the others are.
#[derive(Clone, Debug)]
pub struct Native {
    links: Arc<Links>,
    retry: Retry,
}

impl Native {
    /// Connects to `host:port`, or to the first of several, with a comma between them, where somebody welcomes us; fails
    /// if nobody does.
    pub async fn connect(addresses: &str, options: &NativeOptions) -> Result<Self, CallError> {
        let NativeOptions { token, retry, queue_max, per_shard, transport, staleness_max } = options.clone();
        let way = Way::new(&transport).map_err(|error| CallError::Trust(error.to_string()))?;
        let whereabouts = Whereabouts::parse("", addresses);
        let whereabouts = whereabouts.ok_or_else(|| CallError::Address(addresses.to_owned()))?;
        // Less than a ms is what only a node that leads can say.
        let stale_ms_max = staleness_max.map_or(0, |most| most_ms(most).max(1));
        let server = Server { whereabouts: Arc::new(whereabouts), way, token, stale_ms_max, retry };
        let client = Self { links: Arc::new(Links::new(server, queue_max, per_shard)), retry };
        client.told(ANY, &Asked::Ping).await?;
        Ok(client)
    }

    /// The shard that decides a command.
    fn shard(&self, command: &Command) -> u16 {
        let owner = self.links.granted.get().map(|welcome| welcome.shard(command.slot()).0);
        owner.filter(|shard| *shard < CONNECTIONS_MAX).unwrap_or(ANY)
    }

    /// Has a command done. One that changes something gets a key if it brings none (0), so that it can be
    /// tried again. `settled` has a payment answered once the gateway has settled it.
    pub async fn call(&self, command: Command, key: u128, settled: bool) -> Result<Reply, CallError> {
        let keyless = key == 0 && !command.is_read();
        let key = if keyless { Uuid::new_v4().as_u128() } else { key };
        let shard = self.shard(&command);
        match self.told(shard, &Asked::Command { command, key, settled }).await? {
            Told::Answer(Answer::Reply(reply)) => Ok(reply),
            told => Err(strange(&told)),
        }
    }

    /// What an order of these lines would meet, line by line, by what was last published.
    pub async fn validate(&self, lines: &[(Sku, i64)]) -> Result<Vec<Verdict>, CallError> {
        match self.told(ANY, &Asked::Lines(lines.into())).await? {
            Told::Verdicts(verdicts) if verdicts.len() == lines.len() => Ok(verdicts),
            told => Err(strange(&told)),
        }
    }

    /// Products as they were last published, SKU by SKU; `None` of one that nobody knows.
    pub async fn products(&self, skus: &[Sku]) -> Result<Vec<Option<Described>>, CallError> {
        let mut found = Vec::with_capacity(skus.len());
        for skus in skus.chunks(DETAILS_MAX) {
            match self.told(ANY, &Asked::Details(skus.into())).await? {
                Told::Products(products) if products.len() == skus.len() => found.extend(products),
                told => return Err(strange(&told)),
            }
        }
        Ok(found)
    }

    /// How many shards there are, as the server said when it was first reached.
    pub fn shards(&self) -> u16 {
        self.links.granted.get().map_or(1, |welcome| welcome.shards)
    }

    /// Follows the log of a shard, over a connection of its own.
    pub async fn subscribe(&self, wanted: Subscribe) -> Result<Subscription, CallError> {
        Subscription::open(self.links.server.clone(), wanted).await
    }

    /// Asks until there is an answer, or no more tries.
    async fn told(&self, shard: u16, asked: &Asked) -> Result<Told, CallError> {
        let whereabouts = &self.links.server.whereabouts;
        self.retry.until_answered((whereabouts, shard), |at| self.try_once(shard, at, asked)).await
    }

    async fn try_once(&self, shard: u16, at: Arc<str>, asked: &Asked) -> Result<Told, CallError> {
        let link = self.links.to(shard, Arc::clone(&at));
        let answer = link.ask(asked.clone(), self.retry.timeout);
        let answer = answer.map_err(|Full| CallError::from(Refusal::Overloaded))?;
        match tokio::time::timeout(self.retry.timeout, answer).await {
            Ok(Ok(Ok(told))) => judged(told).inspect_err(|error| {
                // It joined after this connection was welcomed, which is when nodes tell of each other.
                if self.links.server.whereabouts.has_no_place_of(error.leader()) {
                    self.links.forget(shard, at, &link);
                }
            }),
            Ok(Ok(Err(lost))) => Err(lost.into()),
            // What drove the connection is gone.
            Ok(Err(_)) => Err(Lost::Closed.into()),
            Err(_) => Err(unknown(Code::DeadlineExceeded, "the client stopped waiting")),
        }
    }
}

fn unknown(code: Code, message: impl Into<String>) -> CallError {
    CallError::Unknown { code, message: message.into() }
}

fn strange(told: &Told) -> CallError {
    unknown(Code::Internal, format!("expected an answer to what was asked, found {told:?}"))
}

/// An answer that is a refusal is an error.
fn judged(told: Told) -> Result<Told, CallError> {
    match told {
        Told::Answer(Answer::Reply(Reply { outcome: Outcome::Refused(refusal), .. })) => Err(refusal.into()),
        Told::Answer(Answer::Rejected(rejected)) => Err(rejected.into()),
        told => Ok(told),
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            // They say themselves that nobody knows.
            Refusal::Stopped | Refusal::Unreachable => unknown(Code::Unavailable, refusal.to_string()),
            refusal => Self::from(Refused {
                reason: refusal.reason().0.into(),
                field: refusal.field(),
                message: refusal.to_string(),
                retry_after: (refusal == Refusal::Overloaded).then_some(Duration::from_millis(100)),
                refusal: Some(refusal),
                leader_address: None,
            }),
        }
    }
}

/// Reasons of the edge after which nobody knows what was done.
const UNKNOWN_REASONS: [&str; 4] = ["INTERNAL", "GATEWAY_UNAVAILABLE", "ENGINE_UNREACHABLE", "SHARD_STOPPED"];

impl From<Rejected> for CallError {
    fn from(rejected: Rejected) -> Self {
        let Rejected { reason, message } = rejected;
        if UNKNOWN_REASONS.contains(&reason.as_str()) {
            return unknown(Code::Unavailable, message);
        }
        Self::from(Refused {
            reason,
            field: None,
            message,
            retry_after: None,
            refusal: None,
            leader_address: None,
        })
    }
}

impl From<Lost> for CallError {
    fn from(lost: Lost) -> Self {
        let refused = |reason: &str| {
            let (reason, message) = (reason.to_owned(), lost.to_string());
            Self::from(Refused {
                reason,
                field: None,
                message,
                retry_after: None,
                refusal: None,
                leader_address: None,
            })
        };
        match &lost {
            Lost::Dialogue(DialogueError::Peer(error)) if error.code == ErrorCode::Unauthenticated => {
                refused("UNAUTHENTICATED")
            }
            Lost::Dialogue(DialogueError::Peer(error)) if error.code == ErrorCode::Version => {
                refused("UNSUPPORTED_VERSION")
            }
            Lost::Dialogue(DialogueError::Version { .. }) => refused("UNSUPPORTED_VERSION"),
            Lost::NotAsked(super::dialogue::NotAsked::Unknown) => refused("UNKNOWN_METHOD"),
            Lost::NotAsked(_) => refused("MESSAGE_TOO_LARGE"),
            Lost::Dialogue(_) => unknown(Code::Internal, lost.to_string()),
            Lost::Connect { .. } | Lost::Closed | Lost::Silent => {
                unknown(Code::Unavailable, lost.to_string())
            }
        }
    }
}
