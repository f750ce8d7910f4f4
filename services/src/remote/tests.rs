//! Calls to an engine that fails on command: deadlines, second tries, the breaker.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_grpc::engine::v1::engine_service_server::{EngineService, EngineServiceServer};
use onrush_grpc::engine::v1::{
    Answer as Sent, HelloRequest, HelloResponse, SessionRequest, SessionResponse, SubscribeRequest,
    SubscribeResponse,
};
use onrush_proto::{CancelOrder, Command, Lsn, OrderId, Outcome, Refusal, Text};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{advance, pause, resume};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::backend::Backend;
use crate::breaker::BreakerState;
use crate::clock::now_us;
use crate::deadline::Deadline;

/// How the engine answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// As it should.
    Answers,
    /// By bytes that are no answer.
    Garbles,
    /// It hears a message, and the stream breaks.
    BreaksOff,
    /// Not at all.
    Silent,
}

/// An engine behind a real socket.
#[derive(Clone)]
struct StandIn {
    mood: Arc<Mutex<Mood>>,
    /// Each question with when it came, by the wall clock.
    heard: Arc<Mutex<Vec<(Question, u64)>>>,
}

impl StandIn {
    /// Starts to listen on a thread of its own; somebody who asks it.
    async fn listen(mood: Mood) -> (Self, Remote) {
        let this = Self { mood: Arc::new(Mutex::new(mood)), heard: Arc::default() };
        let served = this.clone();
        let (told, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap().to_string()).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let server =
                    tonic::transport::Server::builder().add_service(EngineServiceServer::new(served));
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        let remote = spawn_blocking(move || {
            let address: EngineAddress = address.recv().unwrap().parse().unwrap();
            Remote::open(&address, &EngineToken::random()).unwrap()
        });
        (this, remote.await.unwrap())
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn heard(&self) -> Vec<(Question, u64)> {
        self.heard.lock().unwrap().clone()
    }

    /// What it answers to a message; `None` if the stream breaks.
    fn hears(&self, message: SessionRequest) -> Option<Vec<Sent>> {
        let mood = *self.mood.lock().unwrap();
        let mut answers = Vec::new();
        for question in message.questions {
            let asked = Question::decode(&question.question).unwrap();
            self.heard.lock().unwrap().push((asked, now_us()));
            let answer = match mood {
                Mood::Answers => Answer::Ends(vec![Lsn(7)]).encode().unwrap().into_vec(),
                Mood::Garbles => vec![1],
                Mood::BreaksOff | Mood::Silent => continue,
            };
            answers.push(Sent { tag: question.tag, answer });
        }
        (mood != Mood::BreaksOff).then_some(answers)
    }
}

type Sending<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl EngineService for StandIn {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let found = HelloResponse { release: RELEASE.into(), shards: 1, key_secret: vec![0; 16] };
        Ok(Response::new(found))
    }

    type SessionStream = Sending<SessionResponse>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (this, mut questions) = (self.clone(), request.into_inner());
        let (sender, responses) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(message)) = questions.message().await {
                let answer = match this.hears(message) {
                    Some(answers) => Ok(SessionResponse { answers }),
                    None => Err(Status::unavailable("it breaks off")),
                };
                let broken = answer.is_err();
                if sender.send(answer).await.is_err() || broken {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    type SubscribeStream = Sending<SubscribeResponse>;

    async fn subscribe(
        &self,
        _: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("it has no log"))
    }
}

/// A keyed command of a caller that waits this long.
fn called(backend: &Backend, timeout: Option<&'static str>) -> onrush_proto::Request {
    let mut metadata = MetadataMap::new();
    if let Some(timeout) = timeout {
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
    }
    let command = Command::CancelOrder(CancelOrder { order: OrderId(1) });
    backend.keyed("ada", "once", Deadline::of(&metadata), command).unwrap().request
}

#[tokio::test]
async fn the_deadline_of_the_caller_reaches_the_engine_and_nobody_waits_beyond_it() {
    let (engine, remote) = StandIn::listen(Mood::Answers).await;
    let backend = Backend::Remote(remote);
    let begun = now_us();
    backend.call(called(&backend, Some("3000S"))).await;
    backend.call(called(&backend, None)).await;
    let heard = engine.heard();
    let deadlines: Vec<(u64, u64)> = heard
        .into_iter()
        .map(|(question, at)| match question {
            Question::Call(request) => (request.deadline_us, at),
            other => panic!("expected a call, found {other:?}"),
        })
        .collect();
    // The longest wait is a minute, whatever the caller says; what is left has become less on the way.
    let [(stated, at), (unstated, _)] = deadlines[..] else { panic!("{deadlines:?}") };
    let wait = crate::deadline::WAIT_MAX.as_micros() as u64;
    assert!(stated > begun && stated - at.min(stated) <= wait, "{stated} of {begun}");
    assert_eq!(unstated, 0, "who does not say waits as long as it takes here");

    engine.becomes(Mood::Silent);
    let reply = backend.call(called(&backend, Some("20m"))).await;
    assert_eq!(reply.outcome, Outcome::Refused(Refusal::DeadlineExceeded));
}

#[tokio::test]
async fn an_engine_that_breaks_off_is_asked_again_within_a_budget() {
    const ASKED: usize = 1_000;
    let (engine, remote) = StandIn::listen(Mood::BreaksOff).await;
    let mut asking = JoinSet::new();
    for number in 0..ASKED {
        let remote = remote.clone();
        let sku = Text::new(&format!("sku-{number}")).unwrap();
        asking.spawn(async move { remote.ask(&Question::Product(sku)).await });
    }
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap(), Err(Refusal::Unreachable));
    }
    let mut times: HashMap<String, usize> = HashMap::new();
    for (question, _) in engine.heard() {
        let Question::Product(sku) = question else { panic!("expected a product, found {question:?}") };
        *times.entry(sku.to_string()).or_default() += 1;
    }
    let again: usize = times.values().map(|heard| heard - 1).sum();
    // The budget is 100, and each question earns a tenth.
    assert!(again <= 100 + ASKED / 10, "{again} of {ASKED} were asked again");
}

#[tokio::test]
async fn a_dead_engine_is_left_alone_then_tried_and_taken_back() {
    let (engine, remote) = StandIn::listen(Mood::Garbles).await;
    let ask = async || remote.ask(&Question::Ends).await;
    for _ in 0..10 {
        assert_eq!(remote.breaker(), BreakerState::Closed);
        assert_eq!(ask().await, Err(Refusal::Unreachable));
    }
    assert_eq!(remote.breaker(), BreakerState::Open);
    for _ in 0..100 {
        assert_eq!(ask().await, Err(Refusal::Unreachable));
    }
    assert_eq!(engine.heard().len(), 10, "while it is open nobody asks");

    // The clock is the test's own: a second, then two, since the first probe fails.
    let later = async |wait: Duration| {
        pause();
        advance(wait).await;
        resume();
    };
    later(Duration::from_secs(1)).await;
    assert_eq!(remote.breaker(), BreakerState::HalfOpen);
    assert_eq!(ask().await, Err(Refusal::Unreachable));
    assert_eq!((remote.breaker(), engine.heard().len()), (BreakerState::Open, 11));
    later(Duration::from_secs(2)).await;
    engine.becomes(Mood::Answers);
    for _ in 0..3 {
        assert_eq!(remote.breaker(), BreakerState::HalfOpen);
        assert_eq!(ask().await, Ok(Answer::Ends(vec![Lsn(7)])));
    }
    assert_eq!((remote.breaker(), engine.heard().len()), (BreakerState::Closed, 14));
}

/// Callers with little time give up before a connection does; they are the first to know.
#[tokio::test]
async fn callers_that_wait_in_vain_open_the_breaker() {
    let (engine, remote) = StandIn::listen(Mood::Silent).await;
    let backend = Backend::Remote(remote.clone());
    let mut asked = 0;
    while remote.breaker() == BreakerState::Closed {
        let outcome = backend.call(called(&backend, Some("20m"))).await.outcome;
        assert_eq!(outcome, Outcome::Refused(Refusal::DeadlineExceeded));
        asked += 1;
        assert!(asked < 1_000, "expected a breaker that opens");
    }
    assert!(asked >= 10, "{asked} calls say too little");
    drop(engine);
}

/// Who leaves the engine no time to answer used to count as failed: one such caller took it from all others.
#[tokio::test]
async fn callers_in_a_hurry_do_not_open_the_breaker() {
    let (_engine, remote) = StandIn::listen(Mood::Answers).await;
    let backend = Backend::Remote(remote.clone());
    for _ in 0..1_000 {
        backend.call(called(&backend, Some("10u"))).await;
        // It is answered all the same, if too late.
        assert_eq!(remote.ask(&Question::Ends).await, Ok(Answer::Ends(vec![Lsn(7)])));
        assert_eq!(remote.breaker(), BreakerState::Closed);
    }
}
