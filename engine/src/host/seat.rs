//! A shard with its doors: takes in what has arrived, decides it, and hands out what may leave.
//!
//! When something may leave is for whoever makes it durable: a [`Worker`](super::Worker).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_proto::{Lsn, Outcome, Refusal, Reply, Request};
use onrush_storage::log::{Frame, Log};

use super::clock::HostClock;
use super::hot_keys::HotKeys;
use super::laps::Laps;
use super::node_office::NO_OFFICE;
use super::outbox::Outbox;
use super::ports::{Ports, Sink};
use super::station::{Parcel, Sent, Station};
use crate::flush::Stored;
use crate::shard::{Effects, Input, PeerMessage, ReplyTo, Shard, Want};
use crate::stages::Stage;
use crate::views::{ShardViews, ViewRows};

/// What a seat is made of.
pub(crate) struct SeatParts {
    pub(crate) shard: Shard,
    pub(crate) stored: Stored,
    pub(crate) views: Arc<ShardViews>,
    pub(crate) station: Arc<Station>,
    pub(crate) stations: Arc<[Arc<Station>]>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) clock: HostClock,
    /// Most inputs taken in front of one batch.
    pub(crate) inputs_max: usize,
    /// Log bytes by which the store may lag before admission waits.
    pub(crate) lag_bytes_max: u64,
}

/// Batches whose memory waits for the next: one is open, one on its way to the disk, and one being let go. With
/// one spare a third was dropped whenever the shard ran dry, and grew again from nothing.
const SPARES_MAX: usize = 2;

/// A shard, what waits in front of it, and the batch that it decides into.
pub(super) struct Seat {
    pub(super) shard: Shard,
    pub(super) stored: Stored,
    pub(super) views: Arc<ShardViews>,
    pub(super) station: Arc<Station>,
    pub(super) clock: HostClock,
    outbox: Outbox,
    inputs_max: usize,
    lag_bytes_max: u64,
    inputs: VecDeque<Input>,
    wants: Vec<Want>,
    /// Decided, and not on its way to the disk yet.
    pub(super) open: Effects,
    /// Batches that were let go, with their memory.
    spares: Vec<Effects>,
    /// True if a frame was shown and nobody was woken for it yet.
    shown: bool,
    released_below: u64,
    hot_keys: HotKeys,
    /// The office in which it decides, or did so last.
    pub(super) office: u64,
    /// Messages of other shards, in the order in which they came; those of an office that is not entered here yet wait.
    sent: VecDeque<Sent>,
}

impl Seat {
    pub(super) fn new(parts: SeatParts) -> Self {
        let SeatParts { shard, stored, views, station, stations, ports, .. } = parts;
        Self {
            outbox: Outbox::new(station.id, stations, ports),
            shard,
            stored,
            views,
            station,
            clock: parts.clock,
            inputs_max: parts.inputs_max,
            lag_bytes_max: parts.lag_bytes_max,
            inputs: VecDeque::new(),
            wants: Vec::new(),
            open: Effects::default(),
            spares: Vec::with_capacity(SPARES_MAX),
            shown: false,
            released_below: 0,
            hot_keys: HotKeys::default(),
            office: NO_OFFICE,
            sent: VecDeque::new(),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.station.stopped.load(Ordering::Relaxed)
    }

    /// True while requests wait because the store lags by its bound.
    pub(super) fn waits_for_store(&self) -> bool {
        self.station.lag_bytes() > self.lag_bytes_max && !self.is_stopped()
    }

    /// True if the shard wants a turn though nothing has come.
    fn is_due(&self, now_us: u64) -> bool {
        self.shard.next_deadline_us().is_some_and(|deadline| deadline <= now_us)
    }

    /// Takes what has arrived and decides it into the open batch; false if there was nothing to do.
    pub(super) fn decide(&mut self, laps: &mut Laps) -> bool {
        self.take_inputs();
        let now_us = self.clock.now_us();
        if self.inputs.is_empty() && !self.is_due(now_us) {
            return false;
        }
        let span = tracing::trace_span!("turn", shard = self.station.id.0, inputs = self.inputs.len());
        let _turn = span.entered();
        self.hot_keys.look(&self.inputs);
        while self.take_turn(now_us, laps) {}
        true
    }

    /// One turn of the shard; true if another one can be added to its batch.
    fn take_turn(&mut self, now_us: u64, laps: &mut Laps) -> bool {
        let waiting = self.inputs.len();
        self.fetch_cold();
        self.end(Stage::Admit, laps);
        self.shard.turn(now_us, &mut self.inputs, &mut self.open);
        let counters = &self.station.counters;
        counters.turns.fetch_add(1, Ordering::Relaxed);
        counters.decided.store(self.shard.end().0, Ordering::Relaxed);
        self.outbox.post(self.office, &mut self.open.urgent);
        self.end(Stage::Decide, laps);
        let (left, taken) = (self.inputs.len(), waiting > self.inputs.len());
        taken && left > 0 && !self.shard.is_full(&self.open) && !self.is_stopped()
    }

    pub(super) fn end(&self, stage: Stage, laps: &mut Laps) {
        laps.end(stage, &self.station.counters.stages);
    }

    fn take_inputs(&mut self) {
        // Admission waits for the store at its bound; messages between shards go on.
        let lagging = self.waits_for_store();
        self.shard.set_lagging(lagging);
        self.receive(!lagging && self.shard.admits());
    }

    /// Takes what other shards have said in this office. What they said in one before is over.
    fn receive_peers(&mut self) {
        while let Some(sent) = self.station.receive_peer() {
            self.sent.push_back(sent);
        }
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.office <= self.office) {
            if sent.office == self.office {
                let from = sent.from;
                self.inputs.extend(sent.messages.into_iter().map(|message| Input::Peer { from, message }));
            }
        }
    }

    fn receive(&mut self, admits: bool) {
        self.receive_peers();
        let mut deadlines = Deadlines { clock: self.clock, ahead_us: None };
        while admits && self.inputs.len() < self.inputs_max {
            match self.station.receive() {
                Some(Parcel::One { port, tag, request }) => {
                    let request = deadlines.in_shard_time(request);
                    self.inputs.push_back(Input::Request { to: ReplyTo { port, tag }, request });
                }
                Some(Parcel::Many { port, mut requests }) => {
                    let to = |tag| ReplyTo { port, tag };
                    self.inputs.extend(requests.drain(..).map(|(tag, request)| Input::Request {
                        to: to(tag),
                        request: deadlines.in_shard_time(request),
                    }));
                    if let Some(Sink::Queue(queue)) = self.outbox.sink(port) {
                        let _ = queue.spare_requests.push(requests);
                    }
                }
                None => break,
            }
        }
    }

    /// Reads what the next turn needs and only the store has. A turn then never reads.
    fn fetch_cold(&mut self) {
        loop {
            self.wants.clear();
            self.shard.wants(self.inputs.iter(), &mut self.wants);
            if self.wants.is_empty() {
                return;
            }
            for want in std::mem::take(&mut self.wants) {
                match self.stored.fetch(&self.shard, want) {
                    Ok(found) => self.shard.warm(found),
                    Err(error) => return self.stop(&error),
                }
            }
        }
    }

    /// The open batch; the next one is decided into another.
    pub(super) fn take_open(&mut self) -> Effects {
        std::mem::replace(&mut self.open, self.spares.pop().unwrap_or_default())
    }

    /// Publishes the rows of a batch that counts, and shows its frame to the flusher and to subscribers.
    pub(super) fn publish(&mut self, batch: &mut Effects, frame: impl Into<Arc<Frame>>) {
        self.views.publish(&mut batch.rows);
        self.station.commit(frame, batch.store_ceiling);
        self.shown = true;
    }

    /// Publishes what an entry of another leader has changed, and shows its frame.
    pub(super) fn applied(&mut self, rows: &mut ViewRows, frame: Arc<Frame>) {
        self.views.publish(rows);
        let ceiling = self.shard.store_ceiling();
        if frame.view().info().record_count > 0 {
            self.station.commit(frame, ceiling);
            self.station.tail.notify();
        }
        self.station.set_ceiling(ceiling);
        self.shard.set_stored(self.station.stored());
        self.count(0);
    }

    /// Lets go what a batch says.
    pub(super) fn let_go(&mut self, mut batch: Effects, laps: &mut Laps) {
        self.outbox.deliver(&mut batch.replies);
        self.outbox.post(self.office, &mut batch.outbound);
        // Behind the answers: who waits for one is not kept waiting while others are woken.
        if std::mem::take(&mut self.shown) {
            self.station.tail.notify();
        }
        self.end(Stage::Respond, laps);
        self.count(batch.inputs);
        self.shard.set_stored(self.station.stored());
        self.station.set_ceiling(batch.store_ceiling);
        batch.clear();
        if self.spares.len() < SPARES_MAX {
            self.spares.push(batch);
        }
    }

    /// What can only be done with the log at hand.
    pub(super) fn count_log(&self, log: &Log) {
        let (stats, counters) = (log.stats(), &self.station.counters);
        counters.durable_writes.store(stats.durable_writes, Ordering::Relaxed);
        counters.records.store(stats.records, Ordering::Relaxed);
        counters.log_bytes.store(stats.bytes, Ordering::Relaxed);
    }

    /// Lets go of log that nobody needs any more.
    pub(super) fn release_log(&mut self, log: &mut Log) {
        let below = self.station.release_below();
        // What a reader stood in is looked at again.
        if below > self.released_below && log.release_below(below) {
            self.released_below = below;
        }
    }

    fn count(&mut self, taken: usize) {
        let (counters, state) = (&self.station.counters, self.shard.state());
        counters.requests.fetch_add(taken as u64, Ordering::Relaxed);
        if taken > 0 {
            counters.batches.record(taken);
        }
        counters.hot_key_ppm.store(self.hot_keys.share_ppm(), Ordering::Relaxed);
        counters.open_orders.store(state.orders.open_len() as u64, Ordering::Relaxed);
        counters.orders_in_memory.store(state.orders.len() as u64, Ordering::Relaxed);
        counters.remembered_keys.store(state.keys.older_len(), Ordering::Relaxed);
        counters.skus.store(state.stock.len() as u64, Ordering::Relaxed);
        counters.state_bytes.store(state.bytes(), Ordering::Relaxed);
    }

    /// A durable write or a read of the store failed: nothing that is not on disk leaves any more.
    pub(super) fn stop(&self, error: &dyn std::error::Error) {
        tracing::error!(shard = self.station.id.0, %error, "shard stopped");
        self.station.stopped.store(true, Ordering::Release);
        self.station.tail.notify();
    }

    /// The shard ends, and begins anew from a snapshot when its engine is opened again.
    pub(super) fn begin_anew(&self, why: &dyn std::error::Error) {
        tracing::warn!(shard = self.station.id.0, "{why}");
        self.station.begins_anew.store(true, Ordering::Release);
        self.station.stopped.store(true, Ordering::Release);
        self.station.tail.notify();
    }

    /// Tells everybody who waits for this batch that its outcome is unknown.
    pub(super) fn answer_unknown(&mut self, mut batch: Effects) {
        for (_, reply) in &mut batch.replies {
            *reply = refused(Refusal::Stopped);
        }
        self.outbox.deliver(&mut batch.replies);
    }

    /// A new office begins: other shards hear which of their keys this one has accepted, and then that this was all.
    pub(super) fn enter(&mut self, office: u64) {
        self.office = office;
        self.inputs.clear();
        self.shard.begin_office();
        self.outbox.post(office, &mut self.shard.reclaims());
    }

    /// The office is over: nobody else will tell these clients that their outcome is unknown.
    pub(super) fn leave(&mut self) {
        let waiting = self.shard.leave_office();
        let mut replies = waiting.into_iter().map(|to| (to, refused(Refusal::Stopped))).collect();
        self.outbox.deliver(&mut replies);
    }

    /// The doors of all shards of this node.
    pub(super) fn stations(&self) -> &[Arc<Station>] {
        self.outbox.stations()
    }

    /// Turns everybody away who waits to be decided, whatever is in the open batch; false if there was nobody. Where there
    /// are offices, who waits for a call that another shard forwarded is answered there.
    pub(super) fn refuse_inputs(&mut self, refusal: Refusal) -> bool {
        self.receive(true);
        let answers_forwarded = self.office == NO_OFFICE;
        let mut replies: Vec<_> = self
            .inputs
            .drain(..)
            .filter_map(|input| match input {
                Input::Request { to, .. } => Some((to, refused(refusal))),
                Input::Peer { message: PeerMessage::Forward { to, .. }, .. } if answers_forwarded => {
                    Some((to, refused(refusal)))
                }
                Input::Peer { .. } => None,
            })
            .collect();
        let any = !replies.is_empty();
        self.outbox.deliver(&mut replies);
        any
    }
}

fn refused(refusal: Refusal) -> Reply {
    Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: Lsn(0) }
}

/// Brings deadlines from the wall clock, by which callers state them, to shard time, which does not jump. By one
/// look at both clocks for all that is taken together.
struct Deadlines {
    clock: HostClock,
    ahead_us: Option<i64>,
}

impl Deadlines {
    fn in_shard_time(&mut self, mut request: Request) -> Request {
        if request.deadline_us != 0 {
            let ahead_us = *self.ahead_us.get_or_insert_with(|| self.clock.ahead_us());
            // 0 would be no deadline.
            request.deadline_us = request.deadline_us.saturating_add_signed(ahead_us).max(1);
        }
        request
    }
}
