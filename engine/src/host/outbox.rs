//! What leaves a shard: replies by port, messages by shard.

use std::sync::Arc;

use hashbrown::HashMap;
use onrush_proto::{Reply, ShardId};

use super::ports::{Ports, Sink};
use super::station::Station;
use crate::shard::{PeerMessage, ReplyTo};
use crate::tables::FixedState;

/// The ways out of one shard.
pub(super) struct Outbox {
    from: ShardId,
    stations: Arc<[Arc<Station>]>,
    ports: Arc<Ports>,
    sinks: HashMap<u32, Option<Sink>, FixedState>,
    closings_seen: u64,
    /// Replies that go to one port.
    parcel: Vec<(u64, Reply)>,
    /// Messages by shard.
    post: Vec<Vec<PeerMessage>>,
}

impl Outbox {
    pub(super) fn new(from: ShardId, stations: Arc<[Arc<Station>]>, ports: Arc<Ports>) -> Self {
        Self {
            from,
            post: stations.iter().map(|_| Vec::new()).collect(),
            stations,
            ports,
            sinks: HashMap::with_hasher(FixedState),
            closings_seen: 0,
            parcel: Vec::new(),
        }
    }

    /// The doors of all shards of this node.
    pub(super) fn stations(&self) -> &[Arc<Station>] {
        &self.stations
    }

    /// Where a port's replies go; `None` once it is closed.
    pub(super) fn sink(&mut self, port: u32) -> Option<Sink> {
        let ports = &self.ports;
        self.sinks.entry(port).or_insert_with(|| ports.sink(port)).clone()
    }

    /// Hands replies over, in one batch per run of replies to a port.
    pub(super) fn deliver(&mut self, replies: &mut Vec<(ReplyTo, Reply)>) {
        let closings = self.ports.closings();
        if closings != self.closings_seen {
            self.closings_seen = closings;
            self.sinks.clear();
        }
        let mut current: Option<u32> = None;
        for (to, reply) in replies.drain(..) {
            if current != Some(to.port) {
                self.hand_over(current);
                current = Some(to.port);
            }
            self.parcel.push((to.tag, reply));
        }
        self.hand_over(current);
    }

    fn hand_over(&mut self, port: Option<u32>) {
        if self.parcel.is_empty() {
            return;
        }
        match port.and_then(|port| self.sink(port)) {
            Some(Sink::Queue(queue)) => {
                let spare = queue.spare_replies.pop().unwrap_or_default();
                queue.replies.push(std::mem::replace(&mut self.parcel, spare));
                queue.arrived.notify(usize::MAX);
            }
            Some(Sink::Desk(desk)) => {
                for (tag, reply) in self.parcel.drain(..) {
                    desk.deliver(tag, reply);
                }
            }
            // The client is gone; what it asked for stays done.
            None => self.parcel.clear(),
        }
    }

    /// Sends messages to other shards, one parcel each, as said in `office`.
    pub(super) fn post(&mut self, office: u64, messages: &mut Vec<(ShardId, PeerMessage)>) {
        if messages.is_empty() {
            return;
        }
        for (ShardId(to), message) in messages.drain(..) {
            self.post[usize::from(to)].push(message);
        }
        for (to, messages) in self.post.iter_mut().enumerate().filter(|(_, messages)| !messages.is_empty()) {
            self.stations[to].send_peer(self.from, office, std::mem::take(messages));
        }
    }
}
