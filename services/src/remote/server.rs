//! The side that answers.

use std::pin::Pin;
use std::sync::Arc;

use onrush_engine::{Batch, SubscribeError};
use onrush_grpc::engine::v1::engine_service_server::{EngineService, EngineServiceServer};
use onrush_grpc::engine::v1::subscribe_response::Next;
use onrush_grpc::engine::v1::{
    Answer as Sent, HelloRequest, HelloResponse, OutOfRange, SessionRequest, SessionResponse,
    SubscribeRequest, SubscribeResponse,
};
use onrush_proto::{Lsn, Outcome, Reply, ShardId};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::message::{Answer, Question, ROWS_MAX};
use super::{EngineToken, MESSAGE_BYTES_MAX, OPEN_MAX, RELEASE};
use crate::backend::{Backend, Feed, ProductFilter, off_front};
use crate::field::FieldError;
use crate::status::Rejection;
use crate::traces;

/// Answers that leave in one message.
const TOGETHER_MAX: usize = 256;
/// Messages that wait for the stream.
const MESSAGES_WAITING: usize = 16;

/// The handlers.
pub(crate) struct EngineServer {
    backend: Backend,
    token: EngineToken,
}

type Sending<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl EngineServer {
    /// The service, ready to be served.
    pub(crate) fn server(backend: Backend, token: EngineToken) -> EngineServiceServer<Self> {
        EngineServiceServer::new(Self { backend, token })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl EngineService for EngineServer {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        self.token.check(request.metadata())?;
        let found = &request.get_ref().release;
        if found != RELEASE {
            return Err(FieldError::invalid("release", RELEASE, found.clone()).into());
        }
        let key_secret = self.backend.hasher().secret().map(u64::to_le_bytes).concat();
        let shards = u32::from(self.backend.shards());
        Ok(Response::new(HelloResponse { release: RELEASE.into(), shards, key_secret }))
    }

    type SessionStream = Sending<SessionResponse>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.token.check(request.metadata())?;
        let (answered, answers) = mpsc::channel(OPEN_MAX);
        let (sender, responses) = mpsc::channel(MESSAGES_WAITING);
        tokio::spawn(hear(self.backend.clone(), request.into_inner(), answered));
        tokio::spawn(gather(answers, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    type SubscribeStream = Sending<SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.token.check(request.metadata())?;
        let SubscribeRequest { shard, after } = *request.get_ref();
        let shards = self.backend.shards();
        let known = u16::try_from(shard).ok().filter(|shard| *shard < shards);
        let Some(known) = known else {
            let expected = format!("a shard below {shards}");
            return Err(FieldError::invalid("shard", expected, shard.to_string()).into());
        };
        let feed = self.backend.subscribe(ShardId(known), Lsn(after + 1));
        let (sender, batches) = mpsc::channel(MESSAGES_WAITING);
        tokio::spawn(send_batches(feed, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(batches))))
    }
}

/// Takes questions as long as there is room for their answers, each in a task of its own.
async fn hear(backend: Backend, mut questions: Streaming<SessionRequest>, answered: mpsc::Sender<Sent>) {
    let room = Arc::new(Semaphore::new(OPEN_MAX));
    while let Ok(Some(message)) = questions.message().await {
        for question in message.questions {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let (backend, answered) = (backend.clone(), answered.clone());
            tokio::spawn(async move {
                let answer = answer(&backend, &question.question).await;
                let bytes = answer.encode().map(|bytes| bytes.into_vec()).unwrap_or_default();
                // Nobody listens any more if this fails.
                let _ = answered.send(Sent { tag: question.tag, answer: bytes }).await;
                drop(place);
            });
        }
    }
}

/// Sends together what was answered together.
async fn gather(mut answers: mpsc::Receiver<Sent>, sender: mpsc::Sender<Result<SessionResponse, Status>>) {
    loop {
        let mut together = Vec::new();
        if answers.recv_many(&mut together, TOGETHER_MAX).await == 0 {
            return;
        }
        if sender.send(Ok(SessionResponse { answers: together })).await.is_err() {
            return;
        }
    }
}

async fn answer(backend: &Backend, bytes: &[u8]) -> Answer {
    let question = match Question::decode(bytes) {
        Ok(question) => question,
        Err(error) => {
            return Answer::Failed(format!("expected a question of release {RELEASE}, found: {error}"));
        }
    };
    match ask(backend, question).await {
        Ok(answer) => answer,
        Err(rejection) => Answer::Failed(rejection.to_string()),
    }
}

async fn ask(backend: &Backend, question: Question) -> Result<Answer, Rejection> {
    let bounded = |limit: u32| limit.min(ROWS_MAX) as usize;
    Ok(match question {
        Question::Call(request) => Answer::Reply(call(backend, request).await),
        Question::Stocks(skus) => {
            let shelf = backend.shelf(skus.iter().copied()).await?;
            Answer::Stocks(skus.iter().map(|sku| shelf.stock(sku)).collect())
        }
        Question::Product(sku) => {
            Answer::Product(backend.product(&sku).await?.map(|product| (*product).clone()))
        }
        Question::Products { after, limit, query, category } => {
            let found = backend.products(after, bounded(limit), ProductFilter { query, category }).await?;
            Answer::Products(found.iter().map(|product| (**product).clone()).collect())
        }
        Question::OrdersOf { customer, before, limit } => {
            Answer::Orders(backend.orders_of(customer, before, bounded(limit)).await?)
        }
        Question::Documents { prefix, after, limit } => {
            Answer::Documents(backend.documents(&prefix, after, bounded(limit)).await?)
        }
        Question::StockChanges { sku, after, limit } => {
            Answer::StockChanges(backend.stock_changes(sku, after, bounded(limit)).await?)
        }
        Question::Ends => Answer::Ends(backend.ends().await?),
        Question::Condition => Answer::Condition { stopped_shards: backend.stopped_shards().await? },
    })
}

/// A command of another process, with what it belongs to in the lines of the log about it here.
async fn call(backend: &Backend, request: onrush_proto::Request) -> Reply {
    let Some(cause) = request.cause.as_deref().copied() else { return backend.call(request).await };
    let work = async {
        let reply = backend.call(request).await;
        let accepted = matches!(reply.outcome, Outcome::Accepted(_));
        tracing::debug!(accepted, lsn = reply.lsn.0, "another process was answered");
        reply
    };
    work.instrument(traces::log("command", cause)).await
}

/// Sends committed batches until nobody reads any more. Files are read off the front's thread.
async fn send_batches(mut feed: Feed, sender: mpsc::Sender<Result<SubscribeResponse, Status>>) {
    loop {
        tokio::select! {
            () = feed.ready() => {}
            () = sender.closed() => return,
        }
        let read = off_front(move || {
            let batch = feed.next_batch();
            (feed, batch)
        });
        let batch = match read.await {
            Ok((back, batch)) => {
                feed = back;
                batch
            }
            Err(rejection) => return drop(sender.send(Err(rejection.into())).await),
        };
        let (message, last) = match batch {
            Ok(None) => continue,
            Ok(Some(batch)) => (Ok(Next::Batch(Batch::bytes(&batch).to_vec())), false),
            Err(SubscribeError::OutOfRange { first, found }) => {
                (Ok(Next::OutOfRange(OutOfRange { first, found })), true)
            }
            Err(error) => (Err(Status::from(Rejection::Internal(error.to_string()))), true),
        };
        let message = message.map(|next| SubscribeResponse { next: Some(next) });
        if sender.send(message).await.is_err() || last {
            return;
        }
    }
}
