//! Calls in batches over one stream of gRPC: what waits while one message goes out goes with the next.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_grpc::payment::v1::ProcessRefundResponse;
use onrush_grpc::product::v1::{
    GetProductDetailsRequest, GetProductDetailsResponse, ValidateProductsResponse,
};
use onrush_grpc::session::v1::answer::Answer as Told;
use onrush_grpc::session::v1::call::Call as Asked;
use onrush_grpc::session::v1::session_service_client::SessionServiceClient;
use onrush_grpc::session::v1::{Answer, Call, SessionRequest, SessionResponse};
use onrush_proto::{Command, Refusal, Reply};
use prost::Message as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};
use uuid::Uuid;

use super::staleness::{STALENESS_MAX, most_ms};
use super::whereabouts::Whereabouts;
use super::{CallError, Refused, Retry, answers, calls};

/// Most calls of one message.
const CALLS_MAX: usize = 8_192;
/// Bytes of calls after which a message is full.
const ASKED_BYTES: usize = 256 << 10;
/// Bytes of one call: a server reads messages of one MiB.
const CALL_BYTES_MAX: usize = (1 << 20) - 16;
/// Bytes of one answer message; an order of 10,000 lines is about one MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A command as a call under a tag; refused if no call of a session stands for it. Without a key (0) a change that is
/// asked for again is made again.
pub fn call(tag: u64, key: u128, command: Command, patience_us: u64) -> Result<Call, CallError> {
    let asked = calls::asked(key, command).ok_or_else(calls::unknown_method)?;
    Ok(Call { tag, patience_us, call: Some(asked) })
}

/// The answer to a command.
pub fn reply(answer: Answer) -> Result<Reply, CallError> {
    answers::sound(answer.answer).and_then(answers::reply_of)
}

/// Messages of answers, as they come.
pub type Messages = Streaming<SessionResponse>;

/// A session as it is: messages out, messages back. Whoever drives it keeps the tags.
pub struct Stream {
    asks: mpsc::Sender<SessionRequest>,
    answers: Messages,
}

impl Stream {
    /// Opens a session at the order service, `http://host:port`.
    pub async fn open(address: &str, token: &str, retry: &Retry) -> Result<Self, CallError> {
        Self::open_for(address, (token, None), retry).await
    }

    async fn open_for(address: &str, who: (&str, Option<u32>), retry: &Retry) -> Result<Self, CallError> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|_| CallError::Address(address.to_owned()))?
            .tcp_nodelay(true)
            .connect_timeout(retry.timeout)
            // A server that is gone without a word is found out.
            .http2_keep_alive_interval(retry.timeout)
            .keep_alive_timeout(retry.timeout)
            .keep_alive_while_idle(true)
            .http2_adaptive_window(true);
        let unreachable = |error: tonic::transport::Error| unknown(Code::Unavailable, describe(&error));
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Self::over(channel, who, retry.timeout).await
    }

    async fn over(
        channel: Channel,
        (token, stale_ms_max): (&str, Option<u32>),
        patience: Duration,
    ) -> Result<Self, CallError> {
        let (asks, outgoing) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if !token.is_empty() {
            let bearer: Result<MetadataValue<Ascii>, _> = format!("Bearer {token}").parse();
            let bearer = bearer.map_err(|_| Refused {
                reason: "UNAUTHENTICATED".into(),
                field: Some("token".into()),
                message: "token: expected one that a header can have, found another".into(),
                retry_after: None,
                refusal: None,
                leader_address: None,
            })?;
            request.metadata_mut().insert("authorization", bearer);
        }
        if let Some(most_ms) = stale_ms_max {
            request.metadata_mut().insert(STALENESS_MAX, most_ms.into());
        }
        let mut client = SessionServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        // A server that is there and says nothing must not hold up whoever asks for ever.
        let opened = tokio::time::timeout(patience, client.session(request)).await;
        let opened =
            opened.map_err(|_| unknown(Code::DeadlineExceeded, "expected a session, found silence"))?;
        Ok(Self { asks, answers: opened?.into_inner() })
    }

    /// What sends its messages; when all of them are dropped nothing more is asked.
    pub fn split(self) -> (mpsc::Sender<SessionRequest>, Messages) {
        (self.asks, self.answers)
    }
}

/// Over gRPC nobody knows which shard a call is for.
const ANY: u16 = 0;

/// A client that batches by itself. Cheap to clone; clones share their streams, one to each node that is asked, which is
/// opened when somebody asks, and again when it is lost.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    whereabouts: Arc<Whereabouts>,
    token: Arc<str>,
    retry: Retry,
    queue_max: usize,
    /// How stale what is looked up may be at most, in ms; `None` = as it comes.
    stale_ms_max: Option<u32>,
    /// Where calls wait for the stream to an address.
    queues: Mutex<HashMap<Arc<str>, mpsc::Sender<Waiting>>>,
}

/// A call, and who waits for its answer.
struct Waiting {
    asked: Asked,
    answer: oneshot::Sender<Result<Told, CallError>>,
}

impl Session {
    /// A session at the order service, `http://host:port`, or several with a comma between them, on which at most
    /// `queue_max` calls wait to be asked. Fails if an address is none. Must be used within a tokio runtime.
    pub fn new(addresses: &str, token: &str, retry: Retry, queue_max: usize) -> Result<Self, CallError> {
        let whereabouts = Whereabouts::parse("http://", addresses);
        let whereabouts = whereabouts.ok_or_else(|| CallError::Address(addresses.to_owned()))?;
        let (whereabouts, token, queues) = (Arc::new(whereabouts), token.into(), Mutex::default());
        let stale_ms_max = None;
        Ok(Self { shared: Arc::new(Shared { whereabouts, token, retry, queue_max, stale_ms_max, queues }) })
    }

    /// A session of its own to the same addresses, whose lines and products are answered by what is no staler than this, in
    /// whole ms; `None` = as it comes.
    pub fn accepting(&self, staleness_max: Option<Duration>) -> Self {
        let Shared { whereabouts, token, retry, queue_max, .. } = &*self.shared;
        let (whereabouts, token, queues) = (whereabouts.clone(), token.clone(), Mutex::default());
        let (retry, queue_max, stale_ms_max) = (*retry, *queue_max, staleness_max.map(most_ms));
        Self { shared: Arc::new(Shared { whereabouts, token, retry, queue_max, stale_ms_max, queues }) }
    }

    /// What takes calls for an address.
    fn queue(&self, address: &Arc<str>) -> mpsc::Sender<Waiting> {
        let Shared { whereabouts, token, retry, queue_max, stale_ms_max, queues } = &*self.shared;
        let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(address) {
            return queue.clone();
        }
        queues.retain(|address, _| whereabouts.knows(address));
        let (queue, waiting) = mpsc::channel((*queue_max).max(1));
        let (address, token) = (address.clone(), token.clone());
        let (whereabouts, retry, stale_ms_max) = (whereabouts.clone(), *retry, *stale_ms_max);
        let server = Server { whereabouts, address: address.clone(), token, stale_ms_max, retry };
        tokio::spawn(run(server, waiting));
        queues.insert(address, queue.clone());
        queue
    }

    /// Has a command done, as [`Client::ask`](super::grpc::Client::ask) does. One that changes something gets a key if it
    /// brings none (0).
    pub async fn ask(&self, key: u128, command: Command) -> Result<Reply, CallError> {
        let key = if key == 0 && !command.is_read() { Uuid::new_v4().as_u128() } else { key };
        let asked = calls::asked(key, command).ok_or_else(calls::unknown_method)?;
        answers::reply_of(self.told(asked).await?)
    }

    /// Whether lines could be ordered now.
    pub(super) async fn validate(
        &self,
        message: onrush_grpc::product::v1::ValidateProductsRequest,
    ) -> Result<ValidateProductsResponse, CallError> {
        match self.told(Asked::ValidateProducts(Box::new(message))).await? {
            Told::ValidateProducts(validated) => Ok(*validated),
            _ => answers::sound(None),
        }
    }

    /// A product as it was last published.
    pub(super) async fn product_details(
        &self,
        message: GetProductDetailsRequest,
    ) -> Result<GetProductDetailsResponse, CallError> {
        match self.told(Asked::GetProductDetails(Box::new(message))).await? {
            Told::GetProductDetails(told) => Ok(*told),
            _ => answers::sound(None),
        }
    }

    /// Gives money back and waits for it.
    pub(super) async fn process_refund(
        &self,
        message: onrush_grpc::payment::v1::ProcessRefundRequest,
    ) -> Result<ProcessRefundResponse, CallError> {
        match self.told(Asked::ProcessRefund(Box::new(message))).await? {
            Told::ProcessRefund(refunded) => Ok(*refunded),
            _ => answers::sound(None),
        }
    }

    async fn told(&self, asked: Asked) -> Result<Told, CallError> {
        let Shared { whereabouts, retry, .. } = &*self.shared;
        retry.until_answered((whereabouts, ANY), |at| self.try_once(at, asked.clone())).await
    }

    async fn try_once(&self, at: Arc<str>, asked: Asked) -> Result<Told, CallError> {
        let (answer, told) = oneshot::channel();
        self.queue(&at).try_send(Waiting { asked, answer }).map_err(|error| match error {
            TrySendError::Full(_) => CallError::from(Refusal::Overloaded),
            TrySendError::Closed(_) => unknown(Code::Unavailable, "what drove the session is gone"),
        })?;
        match tokio::time::timeout(self.shared.retry.timeout, told).await {
            Ok(Ok(Ok(Told::Failure(failure)))) => Err((*failure).into()),
            Ok(Ok(told)) => told,
            Ok(Err(_)) => Err(unknown(Code::Unavailable, "what drove the session is gone")),
            Err(_) => Err(unknown(Code::DeadlineExceeded, "the client stopped waiting")),
        }
    }
}

fn unknown(code: Code, message: impl Into<String>) -> CallError {
    CallError::Unknown { code, message: message.into() }
}

/// An error with what is behind it.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Who is called.
struct Server {
    whereabouts: Arc<Whereabouts>,
    address: Arc<str>,
    token: Arc<str>,
    stale_ms_max: Option<u32>,
    retry: Retry,
}

/// Opens a stream for the next call, and lives as long as somebody may call.
async fn run(server: Server, mut queue: Receiver<Waiting>) {
    let mut failures = 0;
    while let Some(first) = queue.recv().await {
        let who = (&*server.token, server.stale_ms_max);
        let lost = match Stream::open_for(&server.address, who, &server.retry).await {
            Ok(stream) => {
                failures = 0;
                match drive(stream, first, &mut queue, &server.retry).await {
                    None => return,
                    Some(lost) => lost,
                }
            }
            Err(error) => {
                let _ = first.answer.send(Err(error.clone()));
                error
            }
        };
        // What came meanwhile would have met the same; who asks again does so later.
        while let Ok(waiting) = queue.try_recv() {
            let _ = waiting.answer.send(Err(lost.clone()));
        }
        failures += 1;
        // Who goes round comes by again, and pauses itself.
        let number = if server.whereabouts.count() > 1 { 1 } else { failures };
        let pause = server.retry.pause_before(number, Uuid::new_v4().as_u64_pair().1);
        tokio::time::sleep(pause).await;
    }
}

/// Calls that wait to be sent, in their order.
#[derive(Default)]
struct Outgoing {
    calls: VecDeque<Call>,
}

impl Outgoing {
    /// The next message: as many as fit.
    fn message(&mut self) -> SessionRequest {
        let (mut calls, mut bytes) = (Vec::new(), 0);
        while calls.len() < CALLS_MAX
            && let Some(call) =
                self.calls.pop_front_if(|call| bytes == 0 || bytes + size(call) <= ASKED_BYTES)
        {
            bytes += size(&call);
            calls.push(call);
        }
        SessionRequest { calls }
    }
}

/// Bytes of a call within a message.
fn size(call: &Call) -> usize {
    // A tag and the length in front of it.
    call.encoded_len() + 6
}

/// Asks and hears until the stream is lost, or `None` once nobody can ask any more and all is answered.
async fn drive(
    stream: Stream,
    first: Waiting,
    queue: &mut Receiver<Waiting>,
    retry: &Retry,
) -> Option<CallError> {
    let (asks, mut answers) = stream.split();
    // Dropped once nobody can ask any more, or the server takes no more.
    let mut asks = Some(asks);
    let (mut closed, mut ended) = (false, false);
    let patience_us = retry.timeout.as_micros() as u64;
    let (mut open, mut next_tag) = (HashMap::new(), 0u64);
    let (mut came, mut outgoing) = (vec![first], Outgoing::default());
    loop {
        for Waiting { asked, answer } in came.drain(..).filter(|waiting| !waiting.answer.is_closed()) {
            let call = Call { tag: next_tag, patience_us, call: Some(asked) };
            if size(&call) > CALL_BYTES_MAX {
                // The server would end the session for it.
                let _ = answer.send(Err(too_large(size(&call)).into()));
                continue;
            }
            outgoing.calls.push_back(call);
            open.insert(next_tag, answer);
            next_tag += 1;
        }
        let waits = !outgoing.calls.is_empty();
        tokio::select! {
            heard = answers.message() => match heard {
                Ok(Some(message)) => hear(&mut open, message),
                Ok(None) if closed && open.is_empty() => return None,
                Ok(None) => return Some(lose(open, "the session ended before the answer")),
                Err(status) => return Some(lose(open, status.message())),
            },
            permit = reserve(&asks), if waits && !ended => match permit {
                Some(permit) => permit.send(outgoing.message()),
                // What it answered is still to be heard.
                None => ended = true,
            },
            count = queue.recv_many(&mut came, CALLS_MAX), if !closed && !ended && outgoing.calls.len() < CALLS_MAX => {
                closed = count == 0;
            },
        }
        if ended || closed && outgoing.calls.is_empty() {
            asks = None;
        }
    }
}

async fn reserve(asks: &Option<mpsc::Sender<SessionRequest>>) -> Option<mpsc::Permit<'_, SessionRequest>> {
    asks.as_ref()?.reserve().await.ok()
}

fn too_large(bytes: usize) -> Refused {
    Refused {
        reason: "MESSAGE_TOO_LARGE".into(),
        field: None,
        message: format!("expected a call of at most {CALL_BYTES_MAX} bytes, found {bytes}"),
        retry_after: None,
        refusal: None,
        leader_address: None,
    }
}

type Open = HashMap<u64, oneshot::Sender<Result<Told, CallError>>>;

fn hear(open: &mut Open, message: SessionResponse) {
    for Answer { tag, answer } in message.answers {
        // An answer to nothing open is none; nobody has to wait for one to the end.
        if let Some(waiting) = open.remove(&tag) {
            let _ = waiting.send(answers::sound(answer));
        }
    }
}

/// Tells all that wait: nobody knows what became of their calls, whatever ended the stream.
fn lose(open: Open, why: &str) -> CallError {
    let lost = unknown(Code::Unavailable, why);
    for waiting in open.into_values() {
        let _ = waiting.send(Err(lost.clone()));
    }
    lost
}

#[cfg(test)]
mod tests {
    use onrush_grpc::product::v1::PutProductRequest;

    use super::*;

    fn put(bytes: usize) -> Call {
        let message = PutProductRequest { description: "x".repeat(bytes), ..Default::default() };
        Call { tag: 1, patience_us: 5_000_000, call: Some(Asked::PutProduct(Box::new(message))) }
    }

    /// A server ends a session for a message that is too long, and with it every call that is open.
    #[test]
    fn messages_are_bounded_by_calls_and_by_bytes() {
        let sizes = |outgoing: &mut Outgoing| {
            std::iter::from_fn(|| Some(outgoing.message()).filter(|message| !message.calls.is_empty()))
                .map(|message| (message.calls.len(), message.encoded_len()))
                .collect::<Vec<_>>()
        };
        let mut small = Outgoing { calls: (0..20_000).map(|_| put(0)).collect() };
        let counts: Vec<usize> = sizes(&mut small).iter().map(|(calls, _)| *calls).collect();
        assert_eq!(counts, [8_192, 8_192, 3_616]);
        let mut large = Outgoing { calls: (0..20).map(|_| put(100_000)).collect() };
        assert!(sizes(&mut large).iter().all(|(calls, bytes)| *calls == 2 && *bytes <= ASKED_BYTES));
        let mut huge = Outgoing { calls: [put(1_000_000), put(1), put(1_000_000)].into() };
        let found = sizes(&mut huge);
        assert_eq!(found.iter().map(|(calls, _)| *calls).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(found.iter().all(|(_, bytes)| *bytes <= 1 << 20), "{found:?}");
    }
}
