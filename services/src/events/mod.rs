//! `onrush.log.v1.LogService`: the committed log by topics, for consumer groups whose members share shards and for
//! whoever reads alone.
//!
//! Only a process with the engine serves it: members are streams that are open here, and shards are dealt to them here. Of a
//! cluster that is the node that decides; the others serve who reads alone.

mod follower;
mod groups;
mod message;
mod pauses;
mod positions;
pub(crate) mod readers;
mod subscriber;
mod topics;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use onrush_engine::EngineHandle;
use onrush_grpc::log::v1::log_service_server::{LogService, LogServiceServer};
use onrush_grpc::log::v1::{
    CommitOffsetRequest, CommitOffsetResponse, ListTopicsRequest, ListTopicsResponse, Place, Position,
    RejectEventRequest, RejectEventResponse, SeekGroupRequest, SeekGroupResponse, SubscribeRequest,
    SubscribeResponse, place,
};
use onrush_proto::{
    Command, CommitOffset, GroupAsk, Lsn, Outcome, Receipt, Refusal, Request as Asked, ShardId, Text, Topic,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::access::{Call, Gate, now_s};
use crate::backend::unexpected;
use crate::cluster::Office;
use crate::config::EventsConfig;
use crate::field::{self, FieldError};
use crate::nodes::Signpost;
use crate::status::{Denial, Rejection};
use groups::Groups;
use positions::Positions;
use subscriber::Subscriber;

/// Subscriptions that a process serves. Each is woken when anything is committed, and may hold a frame of the log for each
/// of its shards.
const OPEN_MAX: usize = 256;
/// Subscriptions that wait to be begun.
const WAITING_MAX: usize = 64;
/// Messages that wait to be read by a consumer.
const MESSAGES_WAITING: usize = 2;
/// The longest pause before an event comes again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What all fronts of a process share.
pub(crate) struct Stream {
    positions: Positions,
    groups: Arc<Groups>,
    options: EventsConfig,
    /// Whether shards are dealt here.
    office: Office,
    places: Arc<Semaphore>,
    tasks: mpsc::Sender<Task>,
}

/// Subscriptions that are to be served.
pub(crate) struct Work(mpsc::Receiver<Task>);

impl Work {
    /// Serves them, on a thread behind the fronts.
    pub(crate) async fn run(mut self) {
        while let Some(task) = self.0.recv().await {
            tokio::spawn(task);
        }
    }
}

impl Stream {
    /// With what does the work.
    pub(crate) fn new(engine: EngineHandle, office: Office, options: EventsConfig) -> (Arc<Self>, Work) {
        let (tasks, taken) = mpsc::channel(WAITING_MAX);
        let positions = Positions::new(engine);
        let groups = Groups::new(positions.clone());
        let places = Arc::new(Semaphore::new(OPEN_MAX));
        (Arc::new(Self { positions, groups, options, office, places, tasks }), Work(taken))
    }

    /// How long an event waits that was tried so often.
    fn pause(&self, tries: u16) -> Duration {
        let doubled = 1u32 << u32::from(tries.saturating_sub(1)).min(20);
        self.options.pause.saturating_mul(doubled).min(PAUSE_MAX)
    }
}

/// The handlers.
pub(crate) struct Log {
    /// None if the engine is in another process.
    pub(crate) stream: Option<Arc<Stream>>,
    pub(crate) gate: Arc<Gate>,
    /// True once nothing more is taken.
    pub(crate) stop: watch::Receiver<bool>,
    /// Where the other nodes are.
    pub(crate) signpost: Signpost,
}

impl Log {
    /// The service, ready to be served.
    pub(crate) fn server(self) -> LogServiceServer<Self> {
        LogServiceServer::new(self)
    }

    fn stream(&self) -> Result<&Arc<Stream>, Rejection> {
        self.stream.as_ref().ok_or_else(|| {
            Denial::new("ELSEWHERE", "expected the process that the engine runs in, found one that asks it")
                .into()
        })
    }

    fn admit<T>(&self, request: &Request<T>, call: Call) -> Result<&Arc<Stream>, Rejection> {
        self.gate.admit(request.metadata().as_ref(), call)?;
        self.stream()
    }

    async fn commit(&self, stream: &Arc<Stream>, asked: CommitOffsetRequest) -> Result<u64, Rejection> {
        let CommitOffsetRequest { group, topic, shard, lsn, generation } = asked;
        let (key, shard) = (reader(&group, &topic)?, stream.positions.shard("shard", shard)?);
        let lsn = Lsn(lsn);
        stream.groups.heard(key, generation, shard);
        let outcome = if generation == 0 {
            let (slot, (group, topic)) = (positions::slot(shard), key);
            let commit = Command::CommitOffset(Box::new(CommitOffset { slot, group, topic, lsn: Some(lsn) }));
            stream.positions.backend().call(Asked::unkeyed(commit)).await.outcome
        } else {
            stream.positions.ask(key, shard, GroupAsk::Commit { generation, lsn }).await
        };
        match outcome {
            Outcome::Accepted(Receipt::Offset { lsn }) => Ok(lsn),
            Outcome::Refused(refusal) => Err(refused(stream, key, generation, refusal)),
            other => Err(unexpected("a position or a refusal", &other)),
        }
    }

    async fn reject(
        &self,
        stream: &Arc<Stream>,
        asked: RejectEventRequest,
    ) -> Result<RejectEventResponse, Rejection> {
        let RejectEventRequest { group, topic, shard, lsn, generation, reason } = asked;
        let (key, shard) = (reader(&group, &topic)?, stream.positions.shard("shard", shard)?);
        // What was delivered where the shop is decided may not be here yet.
        stream.positions.backend().must_decide()?;
        // What cannot be delivered cannot be rejected either.
        stream.positions.must_be_event(key.1, shard, lsn).await?;
        stream.groups.heard(key, generation, shard);
        let at = (shard, Lsn(lsn));
        // A try that was counted is followed up, whether or not somebody still waits for the answer.
        let tried = tokio::spawn(try_again(Arc::clone(stream), key, generation, at, reason));
        tried.await.map_err(|error| {
            Rejection::Internal(format!("expected the rejection to be counted, found: {error}"))
        })?
    }

    async fn seek(
        &self,
        stream: &Arc<Stream>,
        asked: SeekGroupRequest,
    ) -> Result<SeekGroupResponse, Rejection> {
        let key = reader(&asked.group, &asked.topic)?;
        // The end of the log is not known elsewhere.
        stream.positions.backend().must_decide()?;
        let to = asked.to.unwrap_or(Place { place: None });
        let shards = match asked.shard {
            Some(shard) => vec![stream.positions.shard("shard", shard)?],
            None => stream.positions.shards().collect(),
        };
        if let (Some(place::Place::Lsn(lsn)), None) = (&to.place, asked.shard) {
            return Err(FieldError::invalid("to", "a shard beside a position", lsn.to_string()).into());
        }
        let mut places = Vec::new();
        for shard in shards {
            places.push((shard, stream.positions.behind("to", shard, &to).await?));
        }
        let dealt = stream.groups.seek(key, places.clone()).await?;
        let moved = |shard: &ShardId| places.iter().any(|(of, _)| of == shard);
        let positions = dealt.positions.iter().filter(|(shard, _)| moved(shard));
        let positions = positions.map(|(shard, lsn)| Position { shard: shard.0.into(), lsn: lsn.0 + 1 });
        Ok(SeekGroupResponse { generation: dealt.generation, positions: positions.collect() })
    }
}

#[tonic::async_trait]
impl LogService for Log {
    type SubscribeStream = ReceiverStream<Result<SubscribeResponse, Status>>;

    async fn list_topics(
        &self,
        request: Request<ListTopicsRequest>,
    ) -> Result<Response<ListTopicsResponse>, Status> {
        let stream = self.admit(&request, Call::ListTopics)?;
        let topics = match request.get_ref().topic.as_str() {
            "" => Topic::ALL.to_vec(),
            name => vec![topic("topic", name)?],
        };
        Ok(Response::new(topics::list(stream, &topics).await?))
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let standing = self.gate.standing(request.metadata().as_ref())?;
        let stream = self.stream()?;
        // A place is nobody's who could read nothing by it.
        readers::must_read_any(&standing, now_s())?;
        let permit = Arc::clone(&stream.places).try_acquire_owned().map_err(|_| subscriber::full())?;
        let (out, messages) = mpsc::channel(MESSAGES_WAITING);
        let (stream, requests) = (Arc::clone(stream), request.into_inner());
        let (stop, signpost) = (self.stop.clone(), self.signpost.clone());
        let tasks = stream.tasks.clone();
        let subscriber = Subscriber { stream, standing, requests, out, stop, signpost };
        let task = async move {
            subscriber.run().await;
            drop(permit);
        };
        tasks.try_send(Box::pin(task)).map_err(|_| subscriber::full())?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn commit_offset(
        &self,
        request: Request<CommitOffsetRequest>,
    ) -> Result<Response<CommitOffsetResponse>, Status> {
        let stream = self.admit(&request, Call::CommitOffset)?;
        let lsn = self.commit(stream, request.into_inner()).await?;
        Ok(Response::new(CommitOffsetResponse { lsn }))
    }

    async fn reject_event(
        &self,
        request: Request<RejectEventRequest>,
    ) -> Result<Response<RejectEventResponse>, Status> {
        let stream = self.admit(&request, Call::RejectEvent)?;
        Ok(Response::new(self.reject(stream, request.into_inner()).await?))
    }

    async fn seek_group(
        &self,
        request: Request<SeekGroupRequest>,
    ) -> Result<Response<SeekGroupResponse>, Status> {
        let stream = self.admit(&request, Call::SeekGroup)?;
        Ok(Response::new(self.seek(stream, request.into_inner()).await?))
    }
}

/// Counts a try of an event, and has it come again unless it was the last.
async fn try_again(
    stream: Arc<Stream>,
    key: (Text<47>, Topic),
    generation: u64,
    (shard, lsn): (ShardId, Lsn),
    reason: String,
) -> Result<RejectEventResponse, Rejection> {
    let ask = GroupAsk::Reject { generation, lsn, reason, tries_max: stream.options.tries };
    match stream.positions.ask(key, shard, ask).await {
        Outcome::Accepted(Receipt::Rejected { tries, dead }) => {
            let again = if dead { Duration::ZERO } else { stream.pause(tries) };
            if dead {
                stream.groups.pass(key, generation, (shard, lsn));
            } else {
                stream.groups.rewind(key, generation, (shard, lsn), again);
            }
            Ok(RejectEventResponse { tries: tries.into(), dead, again_ms: again.as_millis() as u64 })
        }
        Outcome::Refused(refusal) => Err(refused(&stream, key, generation, refusal)),
        other => Err(unexpected("a rejection or a refusal", &other)),
    }
}

/// The topic of a name.
fn topic(path: &'static str, name: &str) -> Result<Topic, FieldError> {
    let unknown =
        || FieldError::invalid(path, "the name of a topic", field::shown(name)).because("UNKNOWN_TOPIC");
    Topic::from_name(name).ok_or_else(unknown)
}

/// A group that may be somebody's, and what it reads.
fn reader(group: &str, name: &str) -> Result<(Text<47>, Topic), Rejection> {
    let (group, topic) = (field::name("group", group)?, topic("topic", name)?);
    readers::must_be_free(&group, topic)?;
    Ok((group, topic))
}

/// A refusal; a generation that was begun elsewhere is told to those who deal shards.
fn refused(stream: &Arc<Stream>, key: (Text<47>, Topic), generation: u64, refusal: Refusal) -> Rejection {
    if let Refusal::StaleGeneration { expected, .. } = refusal
        && expected > generation
    {
        stream.groups.found_newer(key, expected);
    }
    refusal.into()
}
