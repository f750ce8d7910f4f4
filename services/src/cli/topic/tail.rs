//! `onrush topic tail`

use std::io::{self, Write as _};
use std::time::Duration;

use clap::ArgMatches;
use onrush_grpc::log::v1::{
    Alive, Assigned, Batch, CommitOffsetRequest, Grant, Position, Start, SubscribeRequest, subscribe_request,
    subscribe_response,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::when::When;
use super::{Client, Failure, refused};
use crate::transcoding;

/// Bytes of events that may be on their way.
const CREDIT_BYTES: u32 = 1 << 20;
/// Messages that wait to be sent.
const ASKS_WAITING: usize = 64;
/// A member says that it lives so often in the time of its lease.
const SIGNS: u32 = 3;
/// Without a lease nobody waits for a sign.
const NO_LEASE: Duration = Duration::from_secs(86_400 * 365);

/// What is being read.
struct Tail {
    client: Client,
    asks: mpsc::Sender<SubscribeRequest>,
    group: String,
    generation: u64,
    sign_every: Duration,
    /// Events that are still to be printed; `None`: all.
    left: Option<u64>,
}

pub(super) async fn run(mut client: Client, matches: &ArgMatches) -> Result<(), Failure> {
    let text = |name| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let mut start =
        Start { topic: text("topic"), group: text("group"), credit_bytes: CREDIT_BYTES, ..Start::default() };
    let group = start.group.clone();
    match matches.get_one::<When>("from").cloned() {
        Some(When { place: onrush_grpc::log::v1::Place { place: Some(place) }, shard: Some(shard) }) => {
            let onrush_grpc::log::v1::place::Place::Lsn(lsn) = place else { return Ok(()) };
            start.shards = vec![shard];
            start.positions = vec![Position { shard, lsn }];
        }
        Some(When { place, .. }) => start.from = Some(place),
        None => {}
    }
    let (asks, asked) = mpsc::channel(ASKS_WAITING);
    say(&asks, subscribe_request::Ask::Start(start)).await?;
    let told = client.subscribe(ReceiverStream::new(asked)).await.map_err(|status| refused(&status))?;
    let left = matches.get_one::<u64>("count").copied();
    let mut tail = Tail { client, asks, group, generation: 0, sign_every: NO_LEASE, left };
    tail.follow(told.into_inner()).await
}

async fn say(asks: &mpsc::Sender<SubscribeRequest>, ask: subscribe_request::Ask) -> Result<(), Failure> {
    let sent = asks.send(SubscribeRequest { ask: Some(ask) }).await;
    sent.map_err(|_| Failure::world("expected a server that listens, found one that went away"))
}

impl Tail {
    async fn follow(
        &mut self,
        mut told: tonic::Streaming<onrush_grpc::log::v1::SubscribeResponse>,
    ) -> Result<(), Failure> {
        let mut sign = Instant::now() + self.sign_every;
        loop {
            let next = tokio::select! {
                next = told.message() => next.map_err(|status| refused(&status))?,
                () = sleep_until(sign) => {
                    say(&self.asks, subscribe_request::Ask::Alive(Alive {})).await?;
                    sign = Instant::now() + self.sign_every;
                    continue;
                }
            };
            match next.and_then(|next| next.tell) {
                Some(subscribe_response::Tell::Assigned(Assigned { generation, lease_ms, .. })) => {
                    self.generation = generation;
                    if lease_ms > 0 {
                        self.sign_every = Duration::from_millis(lease_ms) / SIGNS;
                        sign = Instant::now() + self.sign_every;
                    }
                }
                Some(subscribe_response::Tell::Batch(batch)) => {
                    if self.print(batch).await? {
                        return Ok(());
                    }
                }
                Some(subscribe_response::Tell::Rewound(_)) => {}
                None => return Ok(()),
            }
        }
    }

    /// Prints a batch, and moves the group past what was printed; true if that is all.
    async fn print(&mut self, batch: Batch) -> Result<bool, Failure> {
        let Batch { shard, topic, events, reached } = batch;
        let (mut text, mut cost, mut done, mut ends) = (String::new(), 0, reached, false);
        for event in events {
            cost += event.encoded_len();
            let json = transcoding::json("onrush.log.v1.Event", &event.encode_to_vec()).ok_or_else(|| {
                let found =
                    format!("expected an event that can be told, found shard {shard}, lsn {}", event.lsn);
                Failure::world(found)
            })?;
            // Every event has a position, so its object is not empty.
            text.push_str(&format!(
                "{{\"shard\":{shard},\"topic\":\"{topic}\",{}\n",
                json.trim_start_matches('{')
            ));
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    (done, ends) = (event.lsn, true);
                    break;
                }
            }
        }
        let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
        match written {
            // Whoever read it has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
            written => written.map_err(Failure::world)?,
        }
        if !self.group.is_empty() {
            self.commit(shard, topic, done).await?;
        }
        say(&self.asks, subscribe_request::Ask::Grant(Grant { credit_bytes: cost as u32 })).await?;
        Ok(ends)
    }

    async fn commit(&mut self, shard: u32, topic: String, lsn: u64) -> Result<(), Failure> {
        let (group, generation) = (self.group.clone(), self.generation);
        let asked = CommitOffsetRequest { group, topic, shard, lsn, generation };
        match self.client.commit_offset(asked).await {
            // The shard is somebody else's by now, who prints it again.
            Err(status) if status.code() == Code::Aborted => Ok(()),
            committed => committed.map(drop).map_err(|status| refused(&status)),
        }
    }
}
