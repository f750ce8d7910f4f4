//! One shard with its log: brings inputs in, makes frames durable, lets answers go.
//!
//! While a frame is being written the shard decides what has arrived into the next one. What a
//! batch says leaves when its own frame is durable, and a batch without records waits for the frame
//! in front of it: its answers may rest on that.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_proto::{Lsn, Outcome, Refusal, Reply, Request};
use onrush_storage::log::Log;

use super::clock::HostClock;
use super::hot_keys::HotKeys;
use super::laps::Laps;
use super::outbox::Outbox;
use super::ports::{Ports, Sink};
use super::station::{MANY, Parcel, Station};
use super::writer::{Writer, Written};
use crate::flush::Stored;
use crate::shard::{Effects, Input, PeerMessage, ReplyTo, Shard, Want};
use crate::stages::Stage;
use crate::views::ShardViews;

/// What a worker is made of.
pub(crate) struct WorkerParts {
    pub(crate) shard: Shard,
    pub(crate) log: Log,
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

/// One shard at work.
pub(crate) struct Worker {
    shard: Shard,
    writer: Writer,
    stored: Stored,
    views: Arc<ShardViews>,
    station: Arc<Station>,
    outbox: Outbox,
    clock: HostClock,
    inputs_max: usize,
    lag_bytes_max: u64,
    inputs: VecDeque<Input>,
    wants: Vec<Want>,
    /// Decided, and not on its way to the disk yet.
    open: Effects,
    /// On its way; its frame is with the writer.
    written: Option<Effects>,
    spare: Effects,
    released_below: u64,
    hot_keys: HotKeys,
}

impl Worker {
    pub(crate) fn new(parts: WorkerParts) -> Self {
        let WorkerParts { shard, log, stored, views, station, stations, ports, .. } = parts;
        Self {
            outbox: Outbox::new(station.id, stations, ports),
            writer: Writer::new(log),
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
            written: None,
            spare: Effects::default(),
            released_below: 0,
            hot_keys: HotKeys::default(),
        }
    }

    /// Gives large frames to a thread of their own, so that the next one fills meanwhile.
    pub(crate) fn write_beside(&mut self) -> io::Result<()> {
        self.writer.start_thread(Arc::clone(&self.station))
    }

    pub(crate) fn station(&self) -> &Arc<Station> {
        &self.station
    }

    /// One turn; false if there was nothing to do.
    pub(crate) fn turn(&mut self) -> bool {
        let landed = self.writer.poll().map(|written| self.land(written)).is_some();
        self.decide() || landed
    }

    /// True while a write is in flight.
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    pub(crate) fn is_writing(&self) -> bool {
        self.writer.is_writing()
    }

    /// True while a write is in flight and too little waits to be decided meanwhile.
    pub(crate) fn waits_for_write(&self) -> bool {
        self.writer.is_writing() && !self.station.has_many()
    }

    /// How long nothing will be due, in us; `None` = until something comes.
    pub(crate) fn idle_us(&self) -> Option<u64> {
        let deadline = self.shard.next_deadline_us().filter(|_| !self.is_stopped())?;
        Some(deadline.saturating_sub(self.clock.now_us()))
    }

    /// True while requests wait because the store lags by its bound.
    pub(crate) fn waits_for_store(&self) -> bool {
        self.station.lag_bytes() > self.lag_bytes_max && !self.is_stopped()
    }

    /// Shard time in us.
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    pub(crate) fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    /// Seals the log while it is idle.
    pub(crate) fn seal(&mut self) {
        if self.is_stopped() {
            return;
        }
        let now_us = self.clock.now_us();
        let sealed = self.writer.log().map_or(Ok(()), |log| log.seal(now_us));
        if let Err(error) = sealed {
            self.stop(&error);
        }
    }

    fn is_stopped(&self) -> bool {
        self.station.stopped.load(Ordering::Relaxed)
    }

    /// Takes what has arrived and decides it; false if there was nothing to do.
    fn decide(&mut self) -> bool {
        if self.waits_for_write() {
            return false;
        }
        let mut laps = Laps::start();
        self.take_inputs();
        let now_us = self.clock.now_us();
        let due = self.shard.next_deadline_us().is_some_and(|deadline| deadline <= now_us);
        if self.inputs.is_empty() && !due {
            return false;
        }
        if self.is_stopped() {
            self.refuse_inputs();
            return false;
        }
        let span = tracing::trace_span!("turn", shard = self.station.id.0, inputs = self.inputs.len());
        let _turn = span.entered();
        self.hot_keys.look(&self.inputs);
        while self.take_turn(now_us, &mut laps) {}
        self.commit(&mut laps);
        laps.trace();
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
        self.outbox.post(&mut self.open.urgent);
        self.end(Stage::Decide, laps);
        let (left, taken) = (self.inputs.len(), waiting > self.inputs.len());
        taken && left > 0 && !self.shard.is_full(&self.open) && !self.is_stopped()
    }

    fn end(&self, stage: Stage, laps: &mut Laps) {
        laps.end(stage, &self.station.counters.stages);
    }

    fn take_inputs(&mut self) {
        // Admission waits for the store at its bound; messages between shards go on.
        let lagging = self.waits_for_store();
        self.shard.set_lagging(lagging);
        while let Some((from, messages)) = self.station.receive_peer() {
            self.inputs.extend(messages.into_iter().map(|message| Input::Peer { from, message }));
        }
        let mut deadlines = Deadlines { clock: self.clock, ahead_us: None };
        while !lagging && self.inputs.len() < self.inputs_max {
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

    /// Sends the open batch to the disk, if the frame in front of it is there.
    fn commit(&mut self, laps: &mut Laps) {
        if self.is_stopped() {
            return self.abandon();
        }
        if self.writer.is_writing() {
            // It grows on. Full, it waits here: there is nothing else to do.
            if self.shard.is_full(&self.open)
                && let Some(written) = self.writer.wait()
            {
                self.land(written);
            }
            return;
        }
        if self.begin_write() {
            return;
        }
        if !self.open.frame.is_empty() {
            match self.writer.write(&mut self.open.frame, self.open.time_us) {
                Ok(()) => self.end(Stage::Commit, laps),
                Err(error) => {
                    self.stop(&error);
                    return self.abandon();
                }
            }
        }
        let batch = std::mem::replace(&mut self.open, std::mem::take(&mut self.spare));
        self.let_go(batch, laps);
    }

    /// Hands the open batch's frame to the writer's thread, if it is large: deciding a smaller one
    /// takes less time than waking a thread.
    fn begin_write(&mut self) -> bool {
        let large = self.open.inputs >= MANY && !self.open.frame.is_empty();
        if !large || !self.writer.has_thread() {
            return false;
        }
        let frame = std::mem::take(&mut self.open.frame);
        if let Err(frame) = self.writer.begin(frame, self.open.time_us) {
            self.open.frame = frame;
            return false;
        }
        self.written = Some(std::mem::replace(&mut self.open, std::mem::take(&mut self.spare)));
        true
    }

    /// A write came back: what was decided meanwhile takes its place, and what waited for it leaves.
    fn land(&mut self, written: Written) {
        let mut laps = Laps::start();
        let Written { frame, result, took_ns } = written;
        let mut batch = self.written.take().unwrap_or_default();
        batch.frame = frame;
        self.station.counters.stages.record(Stage::Commit, took_ns);
        if let Err(error) = result {
            self.stop(&error);
            self.answer_stopped(&mut batch);
            return self.abandon();
        }
        self.tend_log();
        self.begin_write();
        self.let_go(batch, &mut laps);
        if !self.writer.is_writing() && !self.open.is_empty() {
            self.commit(&mut laps);
        }
    }

    /// A batch is durable, or had nothing to make so and nothing in front of it that is not.
    fn let_go(&mut self, mut batch: Effects, laps: &mut Laps) {
        if !batch.frame.is_empty() {
            self.views.publish(&mut batch.rows);
            let frame = batch.frame.to_frame_in(self.station.tail.spare());
            self.station.commit(frame, batch.store_ceiling);
            self.end(Stage::Apply, laps);
            // Counted before anybody is told of it.
            self.tend_log();
        }
        self.outbox.deliver(&mut batch.replies);
        self.outbox.post(&mut batch.outbound);
        self.end(Stage::Respond, laps);
        self.count(batch.inputs);
        self.shard.set_stored(self.station.stored());
        self.station.set_ceiling(batch.store_ceiling);
        batch.clear();
        self.spare = batch;
    }

    /// What can only be done with the log at hand.
    fn tend_log(&mut self) {
        let Some(log) = self.writer.log() else { return };
        let (stats, counters) = (log.stats(), &self.station.counters);
        counters.durable_writes.store(stats.durable_writes, Ordering::Relaxed);
        counters.records.store(stats.records, Ordering::Relaxed);
        counters.log_bytes.store(stats.bytes, Ordering::Relaxed);
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
    fn stop(&mut self, error: &dyn std::error::Error) {
        tracing::error!(shard = self.station.id.0, %error, "shard stopped");
        self.station.stopped.store(true, Ordering::Release);
        self.station.tail.notify();
    }

    /// The outcome of what was decided last is unknown; nothing else was decided.
    fn abandon(&mut self) {
        if let Some(written) = self.writer.wait() {
            // Durable or not: what it says rests on a shard that has stopped.
            drop(written);
            let mut batch = self.written.take().unwrap_or_default();
            self.answer_stopped(&mut batch);
        }
        let mut batch = std::mem::take(&mut self.open);
        self.answer_stopped(&mut batch);
        self.refuse_inputs();
    }

    fn answer_stopped(&mut self, batch: &mut Effects) {
        for (_, reply) in &mut batch.replies {
            *reply = stopped();
        }
        self.outbox.deliver(&mut batch.replies);
    }

    fn refuse_inputs(&mut self) {
        let waiting = self.inputs.drain(..).filter_map(|input| match input {
            Input::Request { to, .. } | Input::Peer { message: PeerMessage::Forward { to, .. }, .. } => {
                Some((to, stopped()))
            }
            Input::Peer { .. } => None,
        });
        let mut replies = waiting.collect();
        self.outbox.deliver(&mut replies);
    }
}

fn stopped() -> Reply {
    Reply { outcome: Outcome::Refused(Refusal::Stopped), replayed: false, lsn: Lsn(0) }
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
