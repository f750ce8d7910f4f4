//! The client: questions over one connection or one for each shard, tried again while nobody answers.

use std::sync::Arc;
use std::time::Duration;

use onrush_proto::frame::{Answer, DETAILS_MAX, ErrorCode, Rejected, Subscribe, Verdict};
use onrush_proto::{Command, Outcome, Refusal, Reply, Sku};
use tonic::Code;
use uuid::Uuid;

use super::dialogue::DialogueError;
use super::link::{Asked, Full, Link, Lost, Server, Told};
use super::stream::{Transport, Way};
use super::subscription::Subscription;
use crate::client::{CallError, Described, Refused, Retry};

/// Most connections, whatever a server says of its shards.
const CONNECTIONS_MAX: u16 = 256;

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
}

impl Default for NativeOptions {
    fn default() -> Self {
        Self {
            token: String::new(),
            retry: Retry::default(),
            queue_max: 16_384,
            per_shard: false,
            transport: Transport::Tcp,
        }
    }
}

/// A client of the native protocol. Cheap to clone; clones share their connections, which end with the
/// last of them. Dropping the future of a call gives up the answer, not what was asked.
#[derive(Clone, Debug)]
pub struct Native {
    /// By the shard that is asked; one for all if there is one.
    links: Arc<[Link]>,
    server: Arc<Server>,
    retry: Retry,
}

impl Native {
    /// Connects to `host:port`; fails if nobody there welcomes us.
    pub async fn connect(address: &str, options: &NativeOptions) -> Result<Self, CallError> {
        let NativeOptions { token, retry, queue_max, per_shard, transport } = options.clone();
        let way = Way::new(&transport).map_err(|error| CallError::Trust(error.to_string()))?;
        let server = Server { address: address.to_owned(), way, token, retry };
        let first = Link::start(server.clone(), queue_max);
        let links = Arc::new([first.clone()]);
        let alone = Self { links, server: Arc::new(server.clone()), retry };
        alone.told(&first, &Asked::Ping).await?;
        let shards = first.welcome().map_or(1, |welcome| welcome.shards.clamp(1, CONNECTIONS_MAX));
        if !per_shard || shards == 1 {
            return Ok(alone);
        }
        let more = (1..shards).map(|_| Link::start(server.clone(), queue_max));
        Ok(Self { links: std::iter::once(first).chain(more).collect(), ..alone.clone() })
    }

    /// The link to whoever decides the command.
    fn link(&self, command: &Command) -> &Link {
        let owner = || self.links[0].welcome().map(|welcome| welcome.shard(command.slot()));
        let number = if self.links.len() == 1 { 0 } else { owner().map_or(0, |shard| shard.0.into()) };
        self.links.get(number).unwrap_or(&self.links[0])
    }

    /// Has a command done. One that changes something gets a key if it brings none (0), so that it can be
    /// tried again. `settled` has a payment answered once the gateway has settled it.
    pub async fn call(&self, command: Command, key: u128, settled: bool) -> Result<Reply, CallError> {
        let keyless = key == 0 && !command.is_read();
        let key = if keyless { Uuid::new_v4().as_u128() } else { key };
        let link = self.link(&command).clone();
        match self.told(&link, &Asked::Command { command, key, settled }).await? {
            Told::Answer(Answer::Reply(reply)) => Ok(reply),
            told => Err(strange(&told)),
        }
    }

    /// What an order of these lines would meet, line by line, by what was last published.
    pub async fn validate(&self, lines: &[(Sku, i64)]) -> Result<Vec<Verdict>, CallError> {
        match self.told(&self.links[0], &Asked::Lines(lines.into())).await? {
            Told::Verdicts(verdicts) if verdicts.len() == lines.len() => Ok(verdicts),
            told => Err(strange(&told)),
        }
    }

    /// Products as they were last published, SKU by SKU; `None` of one that nobody knows.
    pub async fn products(&self, skus: &[Sku]) -> Result<Vec<Option<Described>>, CallError> {
        let mut found = Vec::with_capacity(skus.len());
        for skus in skus.chunks(DETAILS_MAX) {
            match self.told(&self.links[0], &Asked::Details(skus.into())).await? {
                Told::Products(products) if products.len() == skus.len() => found.extend(products),
                told => return Err(strange(&told)),
            }
        }
        Ok(found)
    }

    /// How many shards there are, as the server said when it was first reached.
    pub fn shards(&self) -> u16 {
        self.links[0].welcome().map_or(1, |welcome| welcome.shards)
    }

    /// Follows the log of a shard, over a connection of its own.
    pub async fn subscribe(&self, wanted: Subscribe) -> Result<Subscription, CallError> {
        Subscription::open((*self.server).clone(), wanted).await
    }

    /// Asks until there is an answer, or no more tries.
    async fn told(&self, link: &Link, asked: &Asked) -> Result<Told, CallError> {
        let (mut number, mut unknown) = (0, None);
        loop {
            let error = match self.try_once(link, asked).await {
                Ok(told) => return Ok(told),
                Err(error) => error,
            };
            if !error.is_open(unknown.is_some()) {
                return Err(error);
            }
            // The first that nobody knows of stands: what came behind it says no more.
            let first = unknown.get_or_insert(error);
            if number == self.retry.retries {
                return Err(first.clone());
            }
            number += 1;
            tokio::time::sleep(self.retry.pause_before(number, Uuid::new_v4().as_u64_pair().1)).await;
        }
    }

    async fn try_once(&self, link: &Link, asked: &Asked) -> Result<Told, CallError> {
        let answer = link.ask(asked.clone(), self.retry.timeout);
        let answer = answer.map_err(|Full| CallError::from(Refusal::Overloaded))?;
        match tokio::time::timeout(self.retry.timeout, answer).await {
            Ok(Ok(Ok(told))) => judged(told),
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
        Self::from(Refused { reason, field: None, message, retry_after: None, refusal: None })
    }
}

impl From<Lost> for CallError {
    fn from(lost: Lost) -> Self {
        let refused = |reason: &str| {
            let (reason, message) = (reason.to_owned(), lost.to_string());
            Self::from(Refused { reason, field: None, message, retry_after: None, refusal: None })
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
