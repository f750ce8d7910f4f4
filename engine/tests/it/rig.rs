//! Shards in one thread, driven as a host drives them, with a clock that the test turns.
//!
//! Urgent messages leave at once; answers and other messages leave when the log has the frame.
//! Before each turn what the shard wants is read from the store. The log is the real one on a disk
//! in memory, so a restart is the real recovery.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use onrush_engine::flush::{Absorber, Stored};
use onrush_engine::recover::{LogPosition, recover};
use onrush_engine::shard::{Effects, Input, PeerMessage, ReplyTo, Shard, ShardOptions};
use onrush_engine::state::StateLimits;
use onrush_proto::{CallerKey, Command, IdempotencyKey, KeyHasher, Reply, Request, ShardId, Slot, SlotMap};
use onrush_storage::disk::FaultDisk;
use onrush_storage::log::{Frame, Log, LogOptions, Prepare};
use onrush_storage::store::{Keyspace, MemoryStore, Store};

/// Shard time of a rig's first moment in us.
pub(crate) const START_US: u64 = 1_700_000_000_000_000;
/// Turns without an end mean that a shard wants turns for nothing.
const TURNS_MAX: usize = 200_000;

/// How a rig is built.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) shards: u16,
    pub(crate) limits: StateLimits,
    pub(crate) batch_inputs_max: usize,
    pub(crate) frame_bytes_max: usize,
    pub(crate) segment_bytes: u64,
}

impl Plan {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            shards,
            limits: StateLimits::default(),
            batch_inputs_max: 8_192,
            frame_bytes_max: 1 << 20,
            segment_bytes: 4 << 20,
        }
    }

    /// Small logs that are quick to open again; one command still fits a segment.
    pub(crate) fn small(shards: u16, forgetful: bool) -> Self {
        let plan = if forgetful { Self::forgetful(shards) } else { Self::new(shards) };
        Self { segment_bytes: 64 << 10, ..plan }
    }

    /// Nothing stays in memory that the store has: every cold path is walked.
    pub(crate) fn forgetful(shards: u16) -> Self {
        let limits = StateLimits { recent_keys_min: 0, closed_rows_min: 0 };
        Self { limits, ..Self::new(shards) }
    }
}

/// One shard with its log, its store and what lies in front of it.
pub(crate) struct Node {
    pub(crate) shard: Shard,
    pub(crate) log: Log,
    pub(crate) stored: Stored,
    pub(crate) store: MemoryStore,
    absorber: Absorber,
    /// Committed frames that the absorber has not seen.
    unabsorbed: VecDeque<Frame>,
    disk: FaultDisk,
    inbox: VecDeque<Input>,
}

/// All shards of one engine.
pub(crate) struct Rig {
    pub(crate) nodes: Vec<Node>,
    pub(crate) map: SlotMap,
    pub(crate) hasher: KeyHasher,
    pub(crate) now_us: u64,
    /// Messages under way, by sender and receiver.
    pub(crate) wires: BTreeMap<(u16, u16), VecDeque<PeerMessage>>,
    /// Wires that do not deliver for now.
    pub(crate) blocked: BTreeSet<(u16, u16)>,
    plan: Plan,
    replies: BTreeMap<u64, Reply>,
    next_tag: u64,
    lives: u64,
}

impl Rig {
    pub(crate) fn new(plan: Plan) -> Self {
        let map = SlotMap::new(plan.shards).unwrap();
        let mut rig = Self {
            nodes: Vec::new(),
            map,
            hasher: KeyHasher::new([7, 11]),
            now_us: START_US,
            wires: BTreeMap::new(),
            blocked: BTreeSet::new(),
            plan,
            replies: BTreeMap::new(),
            next_tag: 0,
            lives: 0,
        };
        let fresh = (0..plan.shards).map(|id| (FaultDisk::new(u64::from(id)), MemoryStore::new())).collect();
        rig.open(fresh);
        rig
    }

    /// Power loss for the whole process, and recovery from log and store. What was under way is lost.
    pub(crate) fn restart(&mut self) {
        let parts = self.nodes.drain(..).map(|node| (node.disk, node.store)).collect::<Vec<_>>();
        for (disk, _) in &parts {
            disk.crash();
        }
        self.wires.clear();
        self.blocked.clear();
        self.open(parts);
    }

    /// One shard alone loses its memory; what other shards sent it is still under way.
    pub(crate) fn restart_one(&mut self, id: u16) {
        let node = self.nodes.remove(usize::from(id));
        node.disk.crash();
        let reopened = self.open_node(id, node.disk, node.store);
        self.nodes.insert(usize::from(id), reopened);
        self.send_reclaims(id);
    }

    fn open(&mut self, parts: Vec<(FaultDisk, MemoryStore)>) {
        for (id, (disk, store)) in parts.into_iter().enumerate() {
            let node = self.open_node(id as u16, disk, store);
            self.nodes.push(node);
        }
        for id in 0..self.plan.shards {
            self.send_reclaims(id);
        }
    }

    /// Every home re-sends its unconfirmed claims before anything is admitted, in their order.
    fn send_reclaims(&mut self, id: u16) {
        for (keeper, message) in self.nodes[usize::from(id)].shard.reclaims().into_iter().rev() {
            let input = Input::Peer { from: ShardId(id), message };
            self.nodes[usize::from(keeper.0)].inbox.push_front(input);
        }
    }

    fn open_node(&mut self, id: u16, disk: FaultDisk, store: MemoryStore) -> Node {
        self.lives += 1;
        let mut options = LogOptions::new(id, self.lives * 1_000 + u64::from(id));
        options.prepare = Prepare::Inline;
        options.segment_bytes = self.plan.segment_bytes;
        let (log, found) = Log::open(Arc::new(disk.clone()), options).unwrap();
        let position =
            LogPosition { first_lsn: found.first_lsn, end_lsn: found.end_lsn, time_us: found.last_time_us };
        let shard_options = ShardOptions {
            limits: self.plan.limits,
            batch_inputs_max: self.plan.batch_inputs_max,
            frame_bytes_max: self.plan.frame_bytes_max,
            ..ShardOptions::new(ShardId(id), self.map, self.hasher)
        };
        let recovered = recover(shard_options, &store, log.reader(), position, |_| {}).unwrap();
        let mut unabsorbed = VecDeque::new();
        let mut reader = log.reader();
        reader.seek(recovered.replayed_from + 1).unwrap();
        while let Some(frame) = reader.next_frame().unwrap() {
            unabsorbed.push_back(frame.to_frame());
        }
        Node {
            shard: recovered.shard,
            stored: Stored::new(store.reader()),
            absorber: recovered.absorber,
            log,
            store,
            unabsorbed,
            disk,
            inbox: VecDeque::new(),
        }
    }

    /// Queues a request at the shard where a host would: that of its key, else that which decides it.
    pub(crate) fn submit(&mut self, key: IdempotencyKey, command: Command) -> u64 {
        let slot = if key.is_none() { command.slot() } else { Slot::of_hash(key.0) };
        self.submit_request(self.map.shard(slot), Request::new(key, command))
    }

    pub(crate) fn submit_request(&mut self, to: ShardId, request: Request) -> u64 {
        self.next_tag += 1;
        let to_client = ReplyTo { port: 0, tag: self.next_tag };
        self.nodes[usize::from(to.0)].inbox.push_back(Input::Request { to: to_client, request });
        self.next_tag
    }

    pub(crate) fn take_reply(&mut self, tag: u64) -> Option<Reply> {
        self.replies.remove(&tag)
    }

    /// Submits, runs until all is quiet, and takes the answer.
    pub(crate) fn ask(&mut self, key: IdempotencyKey, command: Command) -> Reply {
        let tag = self.submit(key, command);
        self.run();
        self.take_reply(tag).expect("an answer")
    }

    /// A caller's key.
    pub(crate) fn key(&self, caller: &str, key: &str) -> IdempotencyKey {
        self.hasher.key(CallerKey { caller, key })
    }

    /// One turn of each shard, and delivery of what they say.
    pub(crate) fn step(&mut self) {
        for id in 0..self.nodes.len() {
            self.turn(id);
        }
        self.carry();
    }

    /// Turns shards until nothing is queued, under way or due.
    pub(crate) fn run(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut idle = true;
            for id in 0..self.nodes.len() {
                idle &= !self.turn(id);
            }
            if !self.carry() && idle {
                return;
            }
        }
        panic!("a shard wants turns without an end");
    }

    /// Moves the clock and lets due timers fire.
    pub(crate) fn advance_to(&mut self, now_us: u64) {
        assert!(now_us >= self.now_us, "time goes forward");
        self.now_us = now_us;
        self.run();
    }

    /// Delivers what is under way; false if nothing was.
    fn carry(&mut self) -> bool {
        let mut moved = false;
        for ((from, to), wire) in &mut self.wires {
            if self.blocked.contains(&(*from, *to)) {
                continue;
            }
            moved |= !wire.is_empty();
            let inputs = wire.drain(..).map(|message| Input::Peer { from: ShardId(*from), message });
            self.nodes[usize::from(*to)].inbox.extend(inputs);
        }
        moved
    }

    /// One turn of one shard; false if there was nothing to do.
    pub(crate) fn turn(&mut self, id: usize) -> bool {
        let node = &mut self.nodes[id];
        let due = node.shard.next_deadline_us().is_some_and(|deadline| deadline <= self.now_us);
        if node.inbox.is_empty() && !due {
            return false;
        }
        node.fetch_cold();
        let mut out = Effects::default();
        node.shard.turn(self.now_us, &mut node.inbox, &mut out);
        self.send(id, &mut out.urgent);
        let node = &mut self.nodes[id];
        if !out.frame.is_empty() {
            let info = node.log.append(&mut out.frame, node.shard.now_us()).unwrap();
            assert_eq!(info.next_lsn() - 1, node.shard.end().0, "log and shard count alike");
            node.unabsorbed.push_back(out.frame.to_frame());
        }
        for (to, reply) in out.replies {
            let twice = self.replies.insert(to.tag, reply);
            assert!(twice.is_none(), "one answer per request");
        }
        self.send(id, &mut out.outbound);
        true
    }

    fn send(&mut self, from: usize, messages: &mut Vec<(ShardId, PeerMessage)>) {
        for (to, message) in messages.drain(..) {
            assert_ne!(usize::from(to.0), from, "a shard does not write to itself");
            self.wires.entry((from as u16, to.0)).or_default().push_back(message);
        }
    }

    /// Hands every committed frame below the ceiling to the store.
    pub(crate) fn flush(&mut self, checkpoint: bool) {
        for id in 0..self.nodes.len() {
            self.nodes[id].flush(checkpoint, usize::MAX);
        }
    }
}

impl Node {
    /// Reads what the next turn needs and only the store has.
    fn fetch_cold(&mut self) {
        loop {
            let mut wants = Vec::new();
            self.shard.wants(self.inbox.iter(), &mut wants);
            if wants.is_empty() {
                return;
            }
            for want in wants {
                let found = self.stored.fetch(&self.shard, want).unwrap();
                self.shard.warm(found);
            }
        }
    }

    /// Hands at most `frames` committed frames to the store, none beyond the ceiling.
    pub(crate) fn flush(&mut self, checkpoint: bool, frames: usize) {
        let ceiling = self.shard.store_ceiling();
        for _ in 0..frames {
            match self.unabsorbed.front() {
                Some(frame) if frame.view().info().next_lsn() - 1 <= ceiling => {}
                _ => break,
            }
            let frame = self.unabsorbed.pop_front().unwrap();
            self.absorber.absorb(&frame.view()).unwrap();
        }
        let held = Keyspace::ALL.map(|keyspace| self.store.applied(keyspace));
        if held.iter().any(|applied| self.absorber.end_lsn() <= *applied) {
            return;
        }
        let flush = self.absorber.flush(checkpoint);
        self.store.ingest(Keyspace::Current, &flush.current, flush.current_applied).unwrap();
        self.store.ingest(Keyspace::History, &flush.history, flush.history_applied).unwrap();
        self.shard.set_stored(flush.history_applied);
    }
}
