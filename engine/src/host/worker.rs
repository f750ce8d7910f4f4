//! One shard with its log: brings inputs in, makes frames durable, lets answers go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use onrush_proto::{Lsn, Outcome, Refusal, Reply, ShardId};
use onrush_storage::log::Log;

use super::clock::HostClock;
use super::laps::Laps;
use super::ports::{Ports, Sink};
use super::station::{Parcel, Station};
use crate::flush::Stored;
use crate::shard::{Effects, Input, PeerMessage, ReplyTo, Shard, Want};
use crate::stages::Stage;
use crate::tables::FixedState;
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
    /// Most inputs taken in front of one turn.
    pub(crate) inputs_max: usize,
    /// Log bytes by which the store may lag before admission waits.
    pub(crate) lag_bytes_max: u64,
}

/// One shard at work.
pub(crate) struct Worker {
    parts: WorkerParts,
    inputs: VecDeque<Input>,
    effects: Effects,
    wants: Vec<Want>,
    sinks: HashMap<u32, Option<Sink>, FixedState>,
    closings_seen: u64,
    /// Replies of this turn that go to one port.
    outbox: Vec<(u64, Reply)>,
    /// Messages of this turn by shard.
    post: Vec<Vec<PeerMessage>>,
    released_below: u64,
}

impl Worker {
    pub(crate) fn new(parts: WorkerParts) -> Self {
        let post = parts.stations.iter().map(|_| Vec::new()).collect();
        Self {
            parts,
            inputs: VecDeque::new(),
            effects: Effects::default(),
            wants: Vec::new(),
            sinks: HashMap::with_hasher(FixedState),
            closings_seen: 0,
            outbox: Vec::new(),
            post,
            released_below: 0,
        }
    }

    pub(crate) fn station(&self) -> &Arc<Station> {
        &self.parts.station
    }

    /// One turn; false if there was nothing to do.
    pub(crate) fn turn(&mut self) -> bool {
        let mut laps = Laps::start();
        self.take_inputs();
        let now_us = self.parts.clock.now_us();
        let due = self.parts.shard.next_deadline_us().is_some_and(|deadline| deadline <= now_us);
        if self.inputs.is_empty() && !due {
            return false;
        }
        if self.parts.station.stopped.load(Ordering::Relaxed) {
            self.refuse_inputs();
            return false;
        }
        let before = self.inputs.len();
        let span = tracing::trace_span!("turn", shard = self.parts.station.id.0, inputs = before);
        let _turn = span.entered();
        self.fetch_cold();
        self.end(Stage::Admit, &mut laps);
        self.effects.clear();
        self.parts.shard.turn(now_us, &mut self.inputs, &mut self.effects);
        self.post_messages(true);
        self.end(Stage::Decide, &mut laps);
        self.commit(before - self.inputs.len(), &mut laps);
        laps.trace();
        true
    }

    fn end(&self, stage: Stage, laps: &mut Laps) {
        laps.end(stage, &self.parts.station.counters.stages);
    }

    /// How long nothing will be due, in us; `None` = until something comes.
    pub(crate) fn idle_us(&self) -> Option<u64> {
        let stopped = self.parts.station.stopped.load(Ordering::Relaxed);
        let deadline = self.parts.shard.next_deadline_us().filter(|_| !stopped)?;
        Some(deadline.saturating_sub(self.parts.clock.now_us()))
    }

    /// True while requests wait because the store lags by its bound.
    pub(crate) fn waits_for_store(&self) -> bool {
        let station = &self.parts.station;
        station.lag_bytes() > self.parts.lag_bytes_max && !station.stopped.load(Ordering::Relaxed)
    }

    /// Shard time in us.
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    pub(crate) fn now_us(&self) -> u64 {
        self.parts.clock.now_us()
    }

    /// Seals the log while it is idle.
    pub(crate) fn seal(&mut self) {
        if !self.parts.station.stopped.load(Ordering::Relaxed) {
            let sealed = self.parts.log.seal(self.parts.clock.now_us());
            if let Err(error) = sealed {
                self.stop(&error);
            }
        }
    }

    fn take_inputs(&mut self) {
        // Admission waits for the store at its bound; messages between shards go on.
        let lagging = self.waits_for_store();
        while let Some((from, messages)) = self.parts.station.receive_peer() {
            self.inputs.extend(messages.into_iter().map(|message| Input::Peer { from, message }));
        }
        while !lagging && self.inputs.len() < self.parts.inputs_max {
            match self.parts.station.receive() {
                Some(Parcel::One { port, tag, request }) => {
                    self.inputs.push_back(Input::Request { to: ReplyTo { port, tag }, request });
                }
                Some(Parcel::Many { port, mut requests }) => {
                    let to = |tag| ReplyTo { port, tag };
                    self.inputs.extend(
                        requests.drain(..).map(|(tag, request)| Input::Request { to: to(tag), request }),
                    );
                    if let Some(Sink::Queue(queue)) = self.sink(port) {
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
            self.parts.shard.wants(self.inputs.iter(), &mut self.wants);
            if self.wants.is_empty() {
                return;
            }
            for want in std::mem::take(&mut self.wants) {
                match self.parts.stored.fetch(&self.parts.shard, want) {
                    Ok(found) => self.parts.shard.warm(found),
                    Err(error) => return self.stop(&error),
                }
            }
        }
    }

    /// Makes the turn's frame durable, then lets everything go.
    fn commit(&mut self, taken: usize, laps: &mut Laps) {
        if self.parts.station.stopped.load(Ordering::Relaxed) {
            return self.abandon();
        }
        if !self.effects.frame.is_empty() {
            let appended = self.parts.log.append(&mut self.effects.frame, self.parts.shard.now_us());
            match appended {
                Ok(_) => {
                    self.end(Stage::Commit, laps);
                    self.publish();
                    self.end(Stage::Apply, laps);
                }
                Err(error) => {
                    self.stop(&error);
                    return self.abandon();
                }
            }
        }
        self.deliver();
        self.post_messages(false);
        self.end(Stage::Respond, laps);
        self.count(taken);
        self.release();
    }

    fn publish(&mut self) {
        let frame = self.effects.frame.to_frame_in(self.parts.station.tail.spare());
        let Self { parts, .. } = self;
        parts.views.publish(parts.shard.state_mut());
        parts.station.commit(frame, parts.shard.store_ceiling());
    }

    /// Hands replies over, one batch per port and turn.
    fn deliver(&mut self) {
        let closings = self.parts.ports.closings();
        if closings != self.closings_seen {
            self.closings_seen = closings;
            self.sinks.clear();
        }
        let mut replies = std::mem::take(&mut self.effects.replies);
        let mut current: Option<u32> = None;
        for (to, reply) in replies.drain(..) {
            if current != Some(to.port) {
                self.hand_over(current);
                current = Some(to.port);
            }
            self.outbox.push((to.tag, reply));
        }
        self.hand_over(current);
        self.effects.replies = replies;
    }

    fn hand_over(&mut self, port: Option<u32>) {
        if self.outbox.is_empty() {
            return;
        }
        match port.and_then(|port| self.sink(port)) {
            Some(Sink::Queue(queue)) => {
                let spare = queue.spare_replies.pop().unwrap_or_default();
                queue.replies.push(std::mem::replace(&mut self.outbox, spare));
                queue.arrived.notify(usize::MAX);
            }
            Some(Sink::Desk(desk)) => {
                for (tag, reply) in self.outbox.drain(..) {
                    desk.deliver(tag, reply);
                }
            }
            // The client is gone; what it asked for stays done.
            None => self.outbox.clear(),
        }
    }

    fn sink(&mut self, port: u32) -> Option<Sink> {
        let ports = &self.parts.ports;
        self.sinks.entry(port).or_insert_with(|| ports.sink(port)).clone()
    }

    fn post_messages(&mut self, urgent: bool) {
        let messages = if urgent { &mut self.effects.urgent } else { &mut self.effects.outbound };
        if messages.is_empty() {
            return;
        }
        for (ShardId(to), message) in messages.drain(..) {
            self.post[usize::from(to)].push(message);
        }
        for (to, messages) in self.post.iter_mut().enumerate().filter(|(_, messages)| !messages.is_empty()) {
            self.parts.stations[to].send_peer(self.parts.station.id, std::mem::take(messages));
        }
    }

    fn count(&mut self, taken: usize) {
        let (counters, shard) = (&self.parts.station.counters, &self.parts.shard);
        let stats = self.parts.log.stats();
        counters.turns.fetch_add(1, Ordering::Relaxed);
        counters.requests.fetch_add(taken as u64, Ordering::Relaxed);
        counters.durable_writes.store(stats.durable_writes, Ordering::Relaxed);
        counters.records.store(stats.records, Ordering::Relaxed);
        counters.log_bytes.store(stats.bytes, Ordering::Relaxed);
        let state = shard.state();
        counters.open_orders.store(state.orders.open_len() as u64, Ordering::Relaxed);
        counters.orders_in_memory.store(state.orders.len() as u64, Ordering::Relaxed);
        let keys = state.keys.recent_len() as u64 + state.keys.older_len();
        counters.remembered_keys.store(keys, Ordering::Relaxed);
        counters.skus.store(state.stock.len() as u64, Ordering::Relaxed);
        counters.state_bytes.store(state.bytes(), Ordering::Relaxed);
    }

    fn release(&mut self) {
        let station = &self.parts.station;
        self.parts.shard.set_stored(station.stored());
        station.set_ceiling(self.parts.shard.store_ceiling());
        let below = station.release_below();
        if below > self.released_below {
            self.released_below = below;
            self.parts.log.release_below(below);
        }
    }

    /// A durable write or a read of the store failed: nothing that is not on disk leaves any more.
    fn stop(&mut self, error: &dyn std::error::Error) {
        tracing::error!(shard = self.parts.station.id.0, %error, "shard stopped");
        self.parts.station.stopped.store(true, Ordering::Release);
        self.parts.station.tail.notify();
    }

    /// The outcome of what was decided last is unknown; nothing else was decided.
    fn abandon(&mut self) {
        let stopped = Reply { outcome: Outcome::Refused(Refusal::Stopped), replayed: false, lsn: Lsn(0) };
        for (_, reply) in &mut self.effects.replies {
            *reply = stopped.clone();
        }
        self.effects.outbound.clear();
        self.deliver();
        self.refuse_inputs();
    }

    fn refuse_inputs(&mut self) {
        self.effects.clear();
        let stopped = Reply { outcome: Outcome::Refused(Refusal::Stopped), replayed: false, lsn: Lsn(0) };
        for input in self.inputs.drain(..) {
            let to = match input {
                Input::Request { to, .. } | Input::Peer { message: PeerMessage::Forward { to, .. }, .. } => {
                    to
                }
                Input::Peer { .. } => continue,
            };
            self.effects.replies.push((to, stopped.clone()));
        }
        self.deliver();
    }
}
