//! One subscription: what its consumer says, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onrush_grpc::log::v1::{
    Assigned, Place, Position, Rewound, Start, SubscribeRequest, SubscribeResponse, subscribe_request,
    subscribe_response,
};
use onrush_proto::{Lsn, ShardId, Text, Topic};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::follower::{Credit, Follower, Out};
use super::groups::{Duty, End, Stretch};
use super::{Stream, readers, topic};
use crate::access::{Standing, now_s};
use crate::cluster::Office;
use crate::field::{self, FieldError};
use crate::nodes::Signpost;
use crate::status::{Denial, Rejection};

/// How long the first message may take.
const FIRST: Duration = Duration::from_secs(10);
/// How long a consumer may let lie what its shards are.
const SLOW: Duration = Duration::from_secs(30);
/// How long a consumer without a group may say nothing: as good as for ever.
const UNBOUND: Duration = Duration::from_secs(86_400 * 365);

/// A subscription that is open.
pub(super) struct Subscriber {
    pub(super) stream: Arc<Stream>,
    pub(super) standing: Standing,
    pub(super) requests: Streaming<SubscribeRequest>,
    pub(super) out: Out,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) signpost: Signpost,
}

/// What is read at the moment.
struct Reading {
    topic: Topic,
    credit: Credit,
    member: String,
    lease: Option<Duration>,
    /// The office that what is read rests on.
    office: Office,
    /// Shards by the numbers of their stretches.
    followers: BTreeMap<u64, JoinHandle<()>>,
    /// The generation that the consumer knows of.
    told: Option<u64>,
    ends: mpsc::Sender<Rejection>,
}

impl Subscriber {
    /// Serves the subscription until it ends, and says why it did.
    pub(super) async fn run(mut self) {
        let out = self.out.clone();
        let ended = tokio::select! {
            ended = self.serve() => ended,
            () = out.closed() => return,
        };
        if let Err(rejection) = ended {
            let status = Status::from(rejection);
            let status = self.signpost.guided(&status).unwrap_or(status);
            // Who does not read it hears of no end either way.
            let _ = timeout(SLOW, out.send(Err(status))).await;
        }
    }

    async fn serve(&mut self) -> Result<(), Rejection> {
        let start = self.start().await?;
        let topic = topic("start.topic", &start.topic)?;
        let group: Text<47> = field::text("start.group", &start.group)?;
        readers::must_read(&self.standing, Some(topic), now_s())?;
        let (ends, failed) = mpsc::channel(1);
        let credit = Credit::new(start.credit_bytes);
        let mut reading = Reading {
            topic,
            credit,
            member: String::new(),
            lease: None,
            office: Office::ALWAYS,
            followers: BTreeMap::new(),
            told: None,
            ends,
        };
        let ended = if group.is_empty() {
            let (_sender, duty) = watch::channel(self.alone(&start).await?);
            self.attend(&mut reading, (duty, Arc::default()), failed).await
        } else {
            self.standing.admit(crate::access::Call::CommitOffset, now_s())?;
            readers::must_be_free(&group, topic)?;
            let name = member(&start.member)?;
            reading.office = self.stream.office.clone();
            reading.office.entered(self.stream.positions.backend()).await?;
            let begin = self.begin(&start).await?;
            reading.member = name.to_string();
            reading.lease = Some(self.stream.options.lease);
            let membership = self.stream.groups.join((group, topic), name, begin)?;
            let duty = (membership.duty.clone(), Arc::clone(&membership.heard));
            self.attend(&mut reading, duty, failed).await
        };
        reading.forget(|_| true).await;
        ended
    }

    async fn start(&mut self) -> Result<Start, Rejection> {
        let missing =
            || FieldError::invalid("start", "the first message", "another or none").because("MISSING_FIELD");
        let first = timeout(FIRST, self.requests.message()).await.map_err(|_| missing())?;
        let first = first.map_err(|status| unreadable(&status))?;
        match first.and_then(|first| first.ask) {
            Some(subscribe_request::Ask::Start(start)) => Ok(start),
            _ => Err(missing().into()),
        }
    }

    /// What somebody reads that is in no group.
    async fn alone(&self, start: &Start) -> Result<Duty, Rejection> {
        let positions = &self.stream.positions;
        if !start.member.is_empty() {
            return Err(FieldError::invalid(
                "start.member",
                "none without a group",
                field::shown(&start.member),
            )
            .into());
        }
        let mut shards = Vec::new();
        for shard in &start.shards {
            shards.push(positions.shard("start.shards", *shard)?);
        }
        if shards.is_empty() {
            shards.extend(positions.shards());
        }
        shards.sort_unstable();
        shards.dedup();
        self.must_be_of(&shards, &start.positions)?;
        let mut stretches = Vec::new();
        for shard in shards {
            let own = start.positions.iter().find(|position| position.shard == u32::from(shard.0));
            let after = match (own, &start.from) {
                (Some(own), _) => positions.behind_lsn("start.positions", shard, own.lsn)?,
                (None, Some(from)) => self.behind(shard, from).await?,
                (None, None) => positions.end(shard),
            };
            stretches.push(Stretch { shard, after, turn: self.stream.groups.turn(), wait: Duration::ZERO });
        }
        Ok(Duty { generation: 0, shards: stretches, end: None })
    }

    /// Refused unless each position is of one of the shards that are to be read, and the only one of it.
    fn must_be_of(&self, shards: &[ShardId], given: &[Position]) -> Result<(), FieldError> {
        let path = "start.positions";
        if given.len() > shards.len() {
            let expected = format!("at most {}, one for each shard that is read", shards.len());
            return Err(FieldError::invalid(path, expected, given.len().to_string()));
        }
        let mut named = Vec::new();
        for position in given {
            let shard = self.stream.positions.shard(path, position.shard)?;
            if !shards.contains(&shard) || named.contains(&shard) {
                let expected = "each shard of start.shards at most once, and no other";
                return Err(FieldError::invalid(path, expected, format!("one of shard {}", shard.0)));
            }
            named.push(shard);
        }
        Ok(())
    }

    /// Where a group begins on each shard that it has no position on.
    async fn begin(&self, start: &Start) -> Result<Vec<Lsn>, Rejection> {
        if !start.shards.is_empty() || !start.positions.is_empty() {
            let expected = "no shards and no positions with a group, which has its own";
            return Err(FieldError::invalid("start.shards", expected, "some").into());
        }
        let mut begin = Vec::new();
        for shard in self.stream.positions.shards() {
            begin.push(match &start.from {
                Some(from) => self.behind(shard, from).await?,
                None => Lsn(self.stream.positions.first(shard)?.0.saturating_sub(1)),
            });
        }
        Ok(begin)
    }

    async fn behind(&self, shard: ShardId, from: &Place) -> Result<Lsn, Rejection> {
        use onrush_grpc::log::v1::place;
        if let Some(place::Place::Lsn(lsn)) = from.place {
            let expected = "an edge or a time: a position is of one shard";
            return Err(FieldError::invalid("start.from", expected, lsn.to_string()).into());
        }
        self.stream.positions.behind("start.from", shard, from).await
    }

    /// Reads what the duty says and hears what the consumer says.
    async fn attend(
        &mut self,
        reading: &mut Reading,
        (mut duty, said): (watch::Receiver<Duty>, Arc<Notify>),
        mut failed: mpsc::Receiver<Rejection>,
    ) -> Result<(), Rejection> {
        let patience = reading.lease.unwrap_or(UNBOUND);
        let mut until = Instant::now() + patience;
        let mut asks = true;
        let backend = self.stream.positions.backend().clone();
        if reading.lease.is_none() {
            duty.mark_changed();
        }
        loop {
            tokio::select! {
                biased;
                Some(rejection) = failed.recv() => return Err(rejection),
                () = stopped(&mut self.stop) => return Err(stopping()),
                // From here on others are dealt the shards, elsewhere.
                refusal = reading.office.left(&backend) => return Err(refusal.into()),
                Ok(()) = duty.changed() => {
                    let duty = duty.borrow_and_update().clone();
                    self.take(reading, duty).await?;
                }
                () = said.notified() => until = Instant::now() + patience,
                message = self.requests.message(), if asks => match message {
                    Ok(Some(message)) => {
                        // Who is believed no longer holds no shard back from those who are.
                        self.standing.must_be_good(now_s())?;
                        until = Instant::now() + patience;
                        heard(&reading.credit, message)?;
                    }
                    // Who reads alone has said all; who is a member says goodbye by that.
                    Ok(None) if reading.lease.is_none() => asks = false,
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(unreadable(&status)),
                },
                () = reading.credit.none(), if !asks => return Ok(()),
                () = sleep_until(until) => return Err(lease_over(patience)),
            }
        }
    }

    /// Goes over to another duty: what is not part of it ends before the consumer hears of it.
    async fn take(&self, reading: &mut Reading, duty: Duty) -> Result<(), Rejection> {
        self.standing.must_be_good(now_s())?;
        if let Some(end) = duty.end {
            return Err(ended(end));
        }
        reading.forget(|turn| !duty.shards.iter().any(|stretch| stretch.turn == turn)).await;
        let fresh: Vec<Stretch> = duty
            .shards
            .iter()
            .filter(|stretch| !reading.followers.contains_key(&stretch.turn))
            .copied()
            .collect();
        let tells = match reading.told.replace(duty.generation) {
            Some(told) if told == duty.generation => fresh.iter().map(rewound).collect(),
            _ => vec![reading.assigned(&duty)],
        };
        for tell in tells {
            let sent = timeout(SLOW, self.out.send(Ok(SubscribeResponse { tell: Some(tell) }))).await;
            sent.map_err(|_| {
                Denial::new("SLOW_REQUEST", "expected a consumer that reads, found one that does not")
            })?
            .map_err(|_| Denial::new("SLOW_REQUEST", "expected a consumer, found none"))?;
        }
        for stretch in fresh {
            let follower = Follower {
                shard: stretch.shard,
                topic: reading.topic,
                feed: self.stream.positions.backend().subscribe(stretch.shard, Lsn(stretch.after.0 + 1)),
                cursor: stretch.after,
                credit: reading.credit.clone(),
                standing: self.standing,
                out: self.out.clone(),
            };
            let ends = EndsByPanic(reading.ends.clone());
            let followed = tokio::spawn(async move {
                if let Err(rejection) = follower.run(stretch.wait).await {
                    // One end is enough.
                    let _ = ends.0.try_send(rejection);
                }
            });
            reading.followers.insert(stretch.turn, followed);
        }
        Ok(())
    }
}

impl Reading {
    /// Ends the followers of these turns; when this is over they say nothing more.
    async fn forget(&mut self, gone: impl Fn(u64) -> bool) {
        let turns: Vec<u64> = self.followers.keys().copied().filter(|turn| gone(*turn)).collect();
        for turn in turns {
            if let Some(follower) = self.followers.remove(&turn) {
                follower.abort();
                // Aborted or ended: either is what was wanted.
                let _ = follower.await;
            }
        }
    }

    fn assigned(&self, duty: &Duty) -> subscribe_response::Tell {
        subscribe_response::Tell::Assigned(Assigned {
            member: self.member.clone(),
            generation: duty.generation,
            lease_ms: self.lease.map_or(0, |lease| lease.as_millis() as u64),
            shards: duty
                .shards
                .iter()
                .map(|stretch| Position { shard: stretch.shard.0.into(), lsn: stretch.after.0 + 1 })
                .collect(),
        })
    }
}

/// A follower that panicked would leave its consumer waiting.
struct EndsByPanic(mpsc::Sender<Rejection>);

impl Drop for EndsByPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.try_send(Rejection::Internal("the log could not be followed".into()));
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.followers.values().for_each(JoinHandle::abort);
    }
}

fn ended(end: End) -> Rejection {
    match end {
        End::Replaced => {
            let message = "start.member: expected a name that nobody else comes under, found one that another consumer took";
            Denial::new("MEMBER_REPLACED", message).of("start.member").into()
        }
        End::Refused(refusal) => refusal.into(),
        End::Broken(error) => Rejection::Internal(error),
    }
}

fn rewound(stretch: &Stretch) -> subscribe_response::Tell {
    subscribe_response::Tell::Rewound(Rewound { shard: stretch.shard.0.into(), lsn: stretch.after.0 + 1 })
}

fn heard(credit: &Credit, message: SubscribeRequest) -> Result<(), Rejection> {
    match message.ask {
        Some(subscribe_request::Ask::Grant(grant)) => credit.grant(grant.credit_bytes),
        Some(subscribe_request::Ask::Start(_)) => {
            return Err(FieldError::invalid("start", "one, as the first message", "another").into());
        }
        Some(subscribe_request::Ask::Alive(_)) | None => {}
    }
    Ok(())
}

/// The name that a member has, or gets.
fn member(given: &str) -> Result<Text<63>, FieldError> {
    match given {
        "" => field::name("start.member", &Uuid::new_v4().simple().to_string()),
        given => field::name("start.member", given),
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the process is gone already.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn unreadable(status: &Status) -> Rejection {
    let message = format!("expected a message that can be read, found: {}", status.message());
    Denial::new("INVALID_MESSAGE", message).into()
}

fn stopping() -> Rejection {
    Denial::new("SERVER_STOPPING", "expected a server that goes on, found one that is about to stop").into()
}

fn lease_over(lease: Duration) -> Rejection {
    let message = format!("expected a sign of life within {} ms, found none", lease.as_millis());
    Denial::new("LEASE_OVER", message).into()
}

/// A status for a subscription that nobody can take.
pub(super) fn full() -> Status {
    Denial::new("OVERLOADED", "expected at most as many subscriptions as there may be, found another one")
        .into()
}
