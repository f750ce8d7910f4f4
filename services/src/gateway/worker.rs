//! Reads payment intents from the log as a consumer group and has them done: at least once, with
//! every effect deduplicated by the gateway key.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use onrush_engine::{Event, SubscribeError};
use onrush_proto::{
    Cause, Command, CommitOffset, GatewayResult, Lsn, OrderId, OrderRow, Outcome, RecordKind, Refusal,
    Request, Row, RowTag, ShardId, Slot, Text, Topic,
};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use super::jobs::{self, Job, OpenJobs, Place};
use super::{GatewayKey, Gateways, Retry, Webhook, approval};
use crate::backend::{Backend, Feed};
use crate::metrics::{Position, Positions};
use crate::records;
use crate::traces::Traces;

/// The consumer group.
pub const GROUP: &str = "payment-gateway";

/// Records read at once.
const BATCH_RECORDS: usize = 256;
/// Jobs under way at once, over all shards. Beyond it intents wait in the log.
const JOBS_MAX: usize = 10_000;
/// Jobs that wait for a buyer, over all shards. Beyond it they keep the places of others.
const BENCH_MAX: usize = 100_000;
/// How often a changed position is recorded.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// Event ids of webhooks that are remembered.
const WEBHOOKS_REMEMBERED: usize = 65_536;

/// Does what payment records ask for.
#[derive(Clone)]
pub struct Worker {
    backend: Backend,
    gateways: Arc<Gateways>,
    open: OpenJobs,
    places: Arc<Semaphore>,
    bench: Arc<Semaphore>,
    traces: Traces,
}

/// A payment record that asks for something.
struct Intent {
    lsn: u64,
    kind: RecordKind,
    row: OrderRow,
    cause: Option<Cause>,
}

impl Worker {
    /// A worker for all shards.
    pub(crate) fn new(backend: Backend, gateways: Arc<Gateways>, traces: Traces) -> Self {
        let (places, bench) = (Arc::new(Semaphore::new(JOBS_MAX)), Arc::new(Semaphore::new(BENCH_MAX)));
        Self { backend, gateways, open: OpenJobs::default(), places, bench, traces }
    }

    /// The gateways.
    pub(super) fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// Makes an open job look again; false if none is open under this key.
    pub(super) fn wake(&self, key: GatewayKey) -> bool {
        self.open.wake(key)
    }

    /// Records what the gateway says of an attempt.
    pub(super) async fn settle(&self, key: GatewayKey, result: GatewayResult) {
        jobs::record(&self.backend, jobs::settle(key, result)).await;
    }

    /// Hears what the simulated gateway pushes: an event counts once, and only wakes the job it is about,
    /// which then reads the gateway's present state.
    pub async fn hear(self, webhooks: Arc<Mutex<mpsc::Receiver<Webhook>>>) {
        let mut webhooks = webhooks.lock().await;
        let mut seen = HashSet::new();
        let mut order = VecDeque::new();
        while let Some(webhook) = webhooks.recv().await {
            if !seen.insert(webhook.event) {
                continue;
            }
            order.push_back(webhook.event);
            if order.len() > WEBHOOKS_REMEMBERED
                && let Some(oldest) = order.pop_front()
            {
                seen.remove(&oldest);
            }
            self.open.wake(webhook.key);
        }
    }

    /// Follows one shard for as long as the process lives.
    pub(crate) async fn follow(self, shard: ShardId, positions: Positions) {
        let position = positions.of(GROUP, shard);
        let start = self.committed(shard).await;
        // Records up to here were written before this start: their orders may have moved on.
        let old = self.backend.end_at_last(shard).await;
        let mut reader = Reader::new(self, position, start, old);
        let error = reader.run().await;
        tracing::error!(shard = shard.0, %error, "the gateway worker cannot read the log and stopped");
    }

    /// Another node that decides for payments; `None` if it is done here.
    pub(super) fn led_elsewhere(&self) -> Option<u64> {
        // All shards are decided at one node, so any slot will do.
        self.backend.led_elsewhere(Slot(0))
    }

    /// The group's position.
    async fn committed(&self, shard: ShardId) -> Lsn {
        let mut retry = Retry::default();
        loop {
            match self.backend.call(Request::unkeyed(offset(shard, None))).await.outcome {
                Outcome::Offset(lsn) => return lsn,
                Outcome::Refused(Refusal::NotFound) => return Lsn(0),
                outcome => tracing::warn!(?outcome, "expected the gateway group's position"),
            }
            tokio::time::sleep(retry.pause()).await;
        }
    }

    /// The order as it is now.
    async fn present(&self, row: OrderRow) -> OrderRow {
        let mut retry = Retry::default();
        loop {
            match self.backend.order(row.id).await {
                Ok(present) => return present,
                Err(error) => tracing::warn!(%error, order = %row.id, "expected an order to pay for"),
            }
            tokio::time::sleep(retry.pause()).await;
        }
    }
}

struct Reader {
    worker: Worker,
    position: Arc<Position>,
    old: Lsn,
    feed: Feed,
    progress: Progress,
    done: (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<u64>),
}

impl Reader {
    fn new(worker: Worker, position: Arc<Position>, start: Lsn, old: Lsn) -> Self {
        let feed = worker.backend.subscribe(position.shard, Lsn(start.0 + 1));
        position.reached(start);
        let progress = Progress::new(start.0);
        Self { worker, position, old, feed, progress, done: mpsc::unbounded_channel() }
    }

    async fn run(&mut self) -> SubscribeError {
        let mut next_commit = Instant::now() + COMMIT_EVERY;
        loop {
            tokio::select! {
                () = self.feed.ready() => {
                    if let Err(error) = self.read().await {
                        return error;
                    }
                }
                Some(lsn) = self.done.1.recv() => {
                    self.progress.done(lsn);
                    self.tell_position();
                }
                () = sleep_until(next_commit), if self.progress.safe() > self.progress.committed => {
                    self.commit().await;
                    next_commit = Instant::now() + COMMIT_EVERY;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), SubscribeError> {
        let mut heard = Heard::default();
        records::read(&mut self.feed, BATCH_RECORDS, |event| heard.enter(&event))?;
        for key in heard.moot {
            self.worker.open.wake(key);
        }
        for intent in heard.intents {
            self.progress.begin(intent.lsn);
            let old = intent.lsn <= self.old.0;
            let row = if old { self.worker.present(intent.row).await } else { intent.row };
            for job in Job::of(intent.kind, &row) {
                let asked = (row.id, intent.cause);
                self.spawn(intent.lsn, asked, job, old).await;
            }
            self.progress.done(intent.lsn);
        }
        self.tell_position();
        Ok(())
    }

    /// Says how far it is to who measures: what asks for nothing is done with when it is read.
    fn tell_position(&self) {
        self.position.reached(if self.progress.open.is_empty() {
            self.feed.cursor()
        } else {
            Lsn(self.progress.safe())
        });
    }

    async fn spawn(&mut self, lsn: u64, (order, cause): (OrderId, Option<Cause>), job: Job, old: bool) {
        let open = match job.key().map(|key| self.worker.open.enter(key)) {
            Some(None) => return,
            Some(Some(open)) => Some(open),
            None => None,
        };
        let Ok(place) = self.worker.places.clone().acquire_owned().await else { return };
        let place = Place::new(place, self.worker.bench.clone());
        self.progress.begin(lsn);
        let Worker { backend, gateways, traces, .. } = self.worker.clone();
        let done = self.done.0.clone();
        tokio::spawn(async move {
            let news = open.as_ref().map_or_else(Arc::default, |open| open.news.clone());
            let name = job.name();
            let work = jobs::run(&backend, &gateways, job, old, (&news, place));
            traces.follow(cause, (name, order), work).await;
            drop(open);
            // The reader is gone only when the process ends.
            let _ = done.send(lsn);
        });
    }

    async fn commit(&mut self) {
        let safe = self.progress.safe();
        let reply =
            self.worker.backend.call(Request::unkeyed(offset(self.position.shard, Some(Lsn(safe))))).await;
        match reply.outcome {
            Outcome::Accepted(_) => self.progress.committed = safe,
            outcome => tracing::debug!(?outcome, "the gateway group's position waits"),
        }
    }
}

/// Which records are done with. An intent counts as open until all its jobs are.
struct Progress {
    open: BTreeMap<u64, usize>,
    /// The last intent read; records that ask for nothing do not move the position, or recording
    /// it would be a reason to record it again.
    last: u64,
    committed: u64,
}

impl Progress {
    fn new(committed: u64) -> Self {
        Self { open: BTreeMap::new(), last: committed, committed }
    }

    fn begin(&mut self, lsn: u64) {
        *self.open.entry(lsn).or_default() += 1;
        self.last = self.last.max(lsn);
    }

    fn done(&mut self, lsn: u64) {
        if let Some(jobs) = self.open.get_mut(&lsn) {
            *jobs -= 1;
            if *jobs == 0 {
                self.open.remove(&lsn);
            }
        }
    }

    /// Up to here everything is done.
    fn safe(&self) -> u64 {
        self.open.first_key_value().map_or(self.last, |(lsn, _)| lsn - 1)
    }
}

/// What a batch of records asks for.
#[derive(Default)]
struct Heard {
    intents: Vec<Intent>,
    /// Charges that nobody wants any more, if they are not made yet: their jobs are to look.
    moot: Vec<GatewayKey>,
}

impl Heard {
    fn enter(&mut self, event: &Event<'_>) {
        if let Some(key) = approval::given_up(event.fact) {
            self.moot.push(key);
        }
        let kind = event.fact.kind;
        let Some(row) = Job::is_asked_by(kind).then(|| order_of(event)).flatten() else { return };
        if matches!(kind, RecordKind::OrderCancelled | RecordKind::OrderExpired | RecordKind::PaymentCaptured)
        {
            self.moot.extend(approval::under_way(&row));
        }
        if !Job::of(kind, &row).is_empty() {
            self.intents.push(Intent { lsn: event.lsn.0, kind, row, cause: event.fact.cause() });
        }
    }
}

fn order_of(event: &Event<'_>) -> Option<OrderRow> {
    let (_, bytes) = event.fact.rows().flatten().find(|(tag, _)| *tag == RowTag::Order)?;
    match Row::decode(RowTag::Order, bytes) {
        Ok(Row::Order(row)) => Some(row),
        _ => None,
    }
}

fn offset(shard: ShardId, lsn: Option<Lsn>) -> Command {
    // Slots are dealt round-robin, so a shard's number is one of its slots.
    let slot = Slot(shard.0 as u8);
    let group = Text::new(GROUP).unwrap_or_default();
    Command::CommitOffset(Box::new(CommitOffset { slot, group, topic: Topic::PaymentStarted, lsn }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_stays_below_the_oldest_open_intent() {
        let mut progress = Progress::new(10);
        for lsn in [12, 15, 15, 20] {
            progress.begin(lsn);
        }
        assert_eq!(progress.safe(), 11);
        progress.done(12);
        progress.done(15);
        progress.done(20);
        assert_eq!(progress.safe(), 14, "one of two jobs of 15 is open");
        progress.done(15);
        assert_eq!(progress.safe(), 20);
    }
}
