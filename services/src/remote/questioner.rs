//! The side that asks.

use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onrush_grpc::engine::v1::HelloRequest;
use onrush_grpc::engine::v1::engine_service_client::EngineServiceClient;
use onrush_proto::{KeyHasher, Lsn, Refusal, ShardId, SlotMap};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::feed::{self, RemoteFeed};
use super::message::{Answer, Question};
use super::session::{Pending, Session};
use super::silence::Silence;
use super::{EngineAddress, EngineToken, OPEN_MAX, RELEASE, TOKEN_HEADER};
use crate::breaker::{Breaker, BreakerState};
use crate::deadline::{self, WAIT_DEFAULT};
use crate::retry::Retry;

/// How long an engine may take to come up when a process starts.
const START_PATIENCE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection on which nothing comes back for this long is dead.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Why an engine elsewhere cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It refused us.
    #[error("engine at {address}: {message}")]
    Refused {
        /// Where it is.
        address: EngineAddress,
        /// What it said.
        message: String,
    },
    /// Nobody is there.
    #[error("engine at {address}: expected an answer within {} s, found: {message}", START_PATIENCE.as_secs())]
    Silent {
        /// Where it should be.
        address: EngineAddress,
        /// What came instead.
        message: String,
    },
    /// A thread cannot be had.
    #[error("expected to start the thread that speaks to the engine, found: {0}")]
    Thread(std::io::Error),
}

/// How to speak to one engine.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) address: EngineAddress,
    channel: Channel,
    token: MetadataValue<Ascii>,
}

impl Line {
    /// To where nobody is.
    #[cfg(test)]
    pub(super) fn nowhere(token: &EngineToken) -> Option<Self> {
        let address: EngineAddress = "127.0.0.1:1".parse().ok()?;
        let channel = Endpoint::from_shared(address.uri().to_owned()).ok()?.connect_lazy();
        Some(Self { address, channel, token: token.header()? })
    }

    pub(super) fn client(&self) -> EngineServiceClient<Channel> {
        EngineServiceClient::new(self.channel.clone())
    }

    /// A call that brings the token.
    pub(super) fn authorised<T>(&self, body: T) -> Request<T> {
        let mut request = Request::new(body);
        request.metadata_mut().insert(TOKEN_HEADER, self.token.clone());
        request
    }
}

/// An engine in another process. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    map: SlotMap,
    hasher: KeyHasher,
    asked: mpsc::Sender<Pending>,
    line: Line,
    /// Where streams live.
    runtime: Handle,
    breaker: Breaker,
    silence: Arc<Silence>,
}

impl Remote {
    /// Waits until the engine answers, for at most a minute.
    pub fn open(address: &EngineAddress, token: &EngineToken) -> Result<Self, RemoteError> {
        let (opened, open) = std::sync::mpsc::sync_channel(1);
        let (address, token) = (address.clone(), token.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(RemoteError::Thread)?;
        let work = move || {
            runtime.block_on(async move {
                let session = match connect(address, &token).await {
                    Ok((remote, session)) => {
                        let _ = opened.send(Ok(remote));
                        session
                    }
                    Err(error) => return drop(opened.send(Err(error))),
                };
                session.run().await;
            });
            runtime.shutdown_background();
        };
        Builder::new().name("onrush-remote".into()).spawn(work).map_err(RemoteError::Thread)?;
        open.recv().unwrap_or_else(|error| Err(RemoteError::Thread(std::io::Error::other(error))))
    }

    /// Which shard owns which slot.
    pub fn slot_map(&self) -> SlotMap {
        self.shared.map
    }

    /// What hashes the keys of its data directory.
    pub fn hasher(&self) -> KeyHasher {
        self.shared.hasher
    }

    /// Where the breaker in front of it stands.
    pub fn breaker(&self) -> BreakerState {
        self.shared.breaker.state(Instant::now())
    }

    /// Asks. A question that was under way when the connection broke is asked again if that does no harm.
    pub async fn ask(&self, question: &Question) -> Result<Answer, Refusal> {
        let start = Instant::now();
        let until = start + wait_of(question);
        let pass = self.shared.breaker.admit(start).map_err(|_| Refusal::Unreachable)?;
        let bytes = question.encode().map_err(|_| Refusal::Unreachable)?.into_vec();
        let (answer, answered) = oneshot::channel();
        let pending = Pending { bytes, again: question.bears_repetition(), until, answer };
        // A full line says nothing about who is at its other end.
        self.shared.asked.try_send(pending).map_err(|_| Refusal::Overloaded)?;
        let answer = match timeout_at(until, answered).await {
            Ok(Ok(answer)) => answer,
            // Its time was up before it left.
            Ok(Err(_)) if Instant::now() >= until => Err(Refusal::DeadlineExceeded),
            Ok(Err(_)) => Err(Refusal::Unreachable),
            Err(_) => Err(Refusal::DeadlineExceeded),
        };
        let now = Instant::now();
        // Who waits for less than an answer takes learns nothing of the engine.
        if answer != Err(Refusal::DeadlineExceeded) || self.shared.silence.is_long(now) {
            pass.tell(now, answer.is_ok());
        }
        answer
    }

    /// A shard's committed records, from a position on.
    pub fn subscribe(&self, shard: ShardId, from: Lsn) -> RemoteFeed {
        let after = Lsn(from.0.saturating_sub(1));
        let (sender, batches) = mpsc::channel(feed::BATCHES_AHEAD);
        self.shared.runtime.spawn(feed::follow(self.shared.line.clone(), shard, after, sender));
        RemoteFeed::new(self.clone(), shard, after, batches)
    }
}

/// How long an answer is waited for: less than the caller waits, so that it hears why there is none, and the breaker
/// hears that there was none.
fn wait_of(question: &Question) -> Duration {
    let Question::Call(request) = question else { return WAIT_DEFAULT };
    if request.deadline_us == 0 {
        return WAIT_DEFAULT;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_micros(request.deadline_us).saturating_sub(now);
    left.saturating_sub(deadline::margin(left))
}

async fn connect(address: EngineAddress, token: &EngineToken) -> Result<(Remote, Session), RemoteError> {
    let refused = |message: String| RemoteError::Refused { address: address.clone(), message };
    let endpoint = Endpoint::from_shared(address.uri().to_owned())
        .map_err(|error| refused(error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let token = token.header().ok_or_else(|| refused("expected a token of visible ASCII".into()))?;
    let line = Line { address: address.clone(), channel: endpoint.connect_lazy(), token };
    let (map, hasher) = hello(&line).await?;
    let (asked, questions) = mpsc::channel(OPEN_MAX);
    let silence = Arc::new(Silence::default());
    let session = Session::new(line.clone(), questions, silence.clone());
    let (runtime, breaker) = (Handle::current(), Breaker::new());
    let shared = Shared { map, hasher, asked, line, runtime, breaker, silence };
    Ok((Remote { shared: Arc::new(shared) }, session))
}

/// Says hello until somebody answers.
async fn hello(line: &Line) -> Result<(SlotMap, KeyHasher), RemoteError> {
    let address = line.address.clone();
    let (start, mut retry) = (Instant::now(), Retry::default());
    loop {
        let call = line.authorised(HelloRequest { release: RELEASE.into() });
        let message = match timeout(CONNECT_TIMEOUT, line.client().hello(call)).await {
            Ok(Ok(found)) => {
                let found = found.into_inner();
                let secret = <[u8; 16]>::try_from(found.key_secret.as_slice()).ok();
                let map = u16::try_from(found.shards).ok().and_then(SlotMap::new);
                let message = "expected shards and a secret, found something else".into();
                let (secret, map) =
                    secret.zip(map).ok_or(RemoteError::Refused { address: address.clone(), message })?;
                let [first, second] = [&secret[..8], &secret[8..]]
                    .map(|half| u64::from_le_bytes(half.try_into().unwrap_or_default()));
                return Ok((map, KeyHasher::new([first, second])));
            }
            Ok(Err(status)) => match status.code() {
                Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown => {
                    status.message().to_owned()
                }
                _ => return Err(RemoteError::Refused { address, message: status.message().into() }),
            },
            Err(_) => "no answer".into(),
        };
        if start.elapsed() > START_PATIENCE {
            return Err(RemoteError::Silent { address, message });
        }
        tokio::time::sleep(retry.pause().min(Duration::from_secs(1))).await;
    }
}
