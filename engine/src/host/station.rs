//! A shard's door: what other threads may touch.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use crossbeam_queue::{ArrayQueue, SegQueue};
use crossbeam_utils::CachePadded;
use onrush_proto::{Request, ShardId};
use onrush_storage::log::Frame;

use super::tail::Tail;
use crate::batch_sizes::BatchCells;
use crate::cluster::{GroupAsk, GroupError, HearError};
use crate::replication::{Message, NodeId};
use crate::shard::PeerMessage;
use crate::stages::StageCells;

/// Requests of one port on their way to a shard.
pub(crate) enum Parcel {
    /// One request.
    One { port: u32, tag: u64, request: Request },
    /// Several; the emptied vector goes back to the port.
    Many { port: u32, requests: Vec<(u64, Request)> },
}

impl Parcel {
    fn len(&self) -> usize {
        match self {
            Self::One { .. } => 1,
            Self::Many { requests, .. } => requests.len(),
        }
    }
}

/// Messages of another shard of this node.
pub(crate) struct Sent {
    pub(crate) from: ShardId,
    /// The office in which they were said; 0 where there are no offices.
    pub(crate) office: u64,
    pub(crate) messages: Vec<PeerMessage>,
}

/// Counters that the worker writes and anybody reads. Written once per turn or batch, by one thread.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) durable_writes: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) open_orders: AtomicU64,
    pub(crate) orders_in_memory: AtomicU64,
    pub(crate) remembered_keys: AtomicU64,
    pub(crate) skus: AtomicU64,
    pub(crate) state_bytes: AtomicU64,
    pub(crate) level0_runs: AtomicU64,
    pub(crate) store_bytes: AtomicU64,
    /// The last record decided, durable or not.
    pub(crate) decided: AtomicU64,
    /// What [`HotKeys`](super::hot_keys::HotKeys) says.
    pub(crate) hot_key_ppm: AtomicU64,
    pub(crate) batches: BatchCells,
    pub(crate) stages: StageCells,
}

/// Requests from which on a turn takes longer than waking a thread.
pub(crate) const MANY: usize = 32;

/// What a worker does.
const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
/// It sleeps while a durable write is in flight.
const FOR_WRITE: u8 = 2;

/// Bytes of messages of other members that may wait. They are sent again.
const HEARD_BYTES_MAX: usize = 16 << 20;

/// What a member of a group hears, is asked and tells.
#[derive(Default)]
struct Group {
    heard: SegQueue<(Message, usize)>,
    heard_bytes: AtomicUsize,
    asks: SegQueue<GroupAsk>,
    /// Who leads, plus one; 0 while nobody is known.
    leader: AtomicU64,
    in_office: AtomicBool,
    /// Whom the office is being handed to, plus one; 0 for nobody.
    heir: AtomicU64,
}

/// A shard's door, and where its worker and its flusher tell each other how far they are.
pub struct Station {
    pub(crate) id: ShardId,
    inbox: ArrayQueue<Parcel>,
    waiting: CachePadded<AtomicUsize>,
    waiting_max: usize,
    peers: SegQueue<Sent>,
    /// What this shard's group has to do with.
    group: Group,
    sleep: CachePadded<AtomicU8>,
    /// Since the worker last fell asleep something came that no queue shows: a durable write came back, or an office began or
    /// ended.
    called: AtomicBool,
    sleeper: Mutex<Option<Waker>>,
    pub(crate) tail: Arc<Tail>,
    /// Everything up to here is in the store.
    pub(crate) stored: AtomicU64,
    /// The store may not go beyond this record.
    pub(crate) ceiling: AtomicU64,
    /// Log bytes committed, and absorbed by the flusher.
    pub(crate) committed_bytes: AtomicU64,
    pub(crate) absorbed_bytes: AtomicU64,
    /// Segments that end below this record may be recycled.
    pub(crate) release_below: AtomicU64,
    /// The first record that consumer groups have a claim to.
    owed: AtomicU64,
    /// The store has all that it may have: what is committed behind it is not confirmed by other shards.
    pub(crate) held_back: AtomicBool,
    /// Its member has a vote in its group, hears of it, and need not begin anew.
    pub(crate) has_place: AtomicBool,
    /// As of when, by the clock of this host, its member has applied everything that was committed anywhere; 0 = not known.
    pub(crate) fresh_us: AtomicU64,
    /// Its shard is being rebuilt.
    pub(crate) rebuilding: AtomicBool,
    /// Set when a durable write failed: nothing is accepted any more.
    pub(crate) stopped: AtomicBool,
    /// Set with it when a snapshot has arrived from which the shard begins anew.
    pub(crate) begins_anew: AtomicBool,
    /// Set when the engine closes: the worker drains and ends.
    pub(crate) closing: AtomicBool,
    /// Set when the flusher's thread has ended: nobody answers for the store any more.
    pub(crate) flusher_ended: AtomicBool,
    pub(crate) counters: Counters,
}

impl Station {
    /// A door that lets `waiting_max` requests wait.
    pub fn new(id: ShardId, waiting_max: usize, tail: Arc<Tail>) -> Self {
        Self {
            id,
            inbox: ArrayQueue::new(waiting_max),
            waiting: CachePadded::new(AtomicUsize::new(0)),
            waiting_max,
            peers: SegQueue::new(),
            group: Group::default(),
            sleep: CachePadded::new(AtomicU8::new(AWAKE)),
            called: AtomicBool::new(false),
            sleeper: Mutex::new(None),
            tail,
            stored: AtomicU64::new(0),
            ceiling: AtomicU64::new(u64::MAX),
            committed_bytes: AtomicU64::new(0),
            absorbed_bytes: AtomicU64::new(0),
            release_below: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            held_back: AtomicBool::new(false),
            has_place: AtomicBool::new(true),
            fresh_us: AtomicU64::new(0),
            rebuilding: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            begins_anew: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            flusher_ended: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    /// Puts a parcel in front of the shard; gives it back if the door is full or closed.
    #[allow(clippy::result_large_err, reason = "the parcel goes back to its owner")]
    pub(crate) fn send(&self, parcel: Parcel) -> Result<(), Parcel> {
        if self.is_closed() {
            return Err(parcel);
        }
        let len = parcel.len();
        if self.waiting.fetch_add(len, Ordering::Relaxed) + len > self.waiting_max {
            self.waiting.fetch_sub(len, Ordering::Relaxed);
            return Err(parcel);
        }
        self.inbox.push(parcel).inspect_err(|_| {
            self.waiting.fetch_sub(len, Ordering::Relaxed);
        })?;
        self.wake();
        Ok(())
    }

    /// True once the engine closes: what arrives from now on may never be looked at.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Messages from another shard. Not bounded here: they answer bounded requests.
    pub(crate) fn send_peer(&self, from: ShardId, office: u64, messages: Vec<PeerMessage>) {
        self.peers.push(Sent { from, office, messages });
        self.wake();
    }

    pub(crate) fn receive(&self) -> Option<Parcel> {
        let parcel = self.inbox.pop()?;
        self.waiting.fetch_sub(parcel.len(), Ordering::Relaxed);
        Some(parcel)
    }

    pub(crate) fn receive_peer(&self) -> Option<Sent> {
        self.peers.pop()
    }

    /// A message of another member of the group.
    pub(crate) fn hear(&self, message: Message, bytes: usize) -> Result<(), HearError> {
        let group = &self.group;
        // One that closes gives its office away first.
        if self.stopped.load(Ordering::Relaxed) || (self.is_closed() && !self.is_in_office()) {
            return Err(GroupError::Stopped.into());
        }
        if group.heard_bytes.fetch_add(bytes, Ordering::Relaxed) > HEARD_BYTES_MAX {
            group.heard_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(HearError::Full(bytes));
        }
        group.heard.push((message, bytes));
        self.wake();
        Ok(())
    }

    pub(crate) fn heard(&self) -> Option<Message> {
        let (message, bytes) = self.group.heard.pop()?;
        self.group.heard_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(message)
    }

    pub(crate) fn ask_group(&self, ask: GroupAsk) {
        self.group.asks.push(ask);
        self.wake();
    }

    pub(crate) fn asked(&self) -> Option<GroupAsk> {
        self.group.asks.pop()
    }

    pub(crate) fn tell_office(&self, leader: Option<NodeId>, in_office: bool) {
        let leader = leader.map_or(0, |node| node.0.wrapping_add(1));
        self.group.leader.store(leader, Ordering::Relaxed);
        self.group.in_office.store(in_office, Ordering::Release);
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.group.leader.load(Ordering::Relaxed).checked_sub(1).map(NodeId)
    }

    /// Whom this shard's office is being handed to: the others go there as well.
    pub(crate) fn tell_heir(&self, heir: Option<NodeId>) {
        self.group.heir.store(heir.map_or(0, |node| node.0.wrapping_add(1)), Ordering::Relaxed);
    }

    pub(crate) fn heir(&self) -> Option<NodeId> {
        self.group.heir.load(Ordering::Relaxed).checked_sub(1).map(NodeId)
    }

    pub(crate) fn is_in_office(&self) -> bool {
        self.group.in_office.load(Ordering::Acquire)
    }

    pub(crate) fn is_idle(&self) -> bool {
        let quiet = self.group.heard.is_empty() && self.group.asks.is_empty();
        quiet && self.inbox.is_empty() && self.peers.is_empty()
    }

    /// Requests waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// True if a turn over what waits takes longer than waking a thread.
    pub(crate) fn has_many(&self) -> bool {
        self.waiting() >= MANY
    }

    /// Wakes the worker if it sleeps, and not for few requests while it waits for its disk.
    pub(crate) fn wake(&self) {
        // Pairs with the fence in `fall_asleep`: either the worker sees what was pushed, or this
        // thread sees that it sleeps.
        fence(Ordering::SeqCst);
        match self.sleep.load(Ordering::Relaxed) {
            AWAKE => {}
            FOR_WRITE if !self.has_many() => {}
            _ => self.wake_sleeper(),
        }
    }

    /// Wakes the worker for what no queue shows.
    pub(crate) fn call(&self) {
        self.called.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.wake_sleeper();
    }

    fn wake_sleeper(&self) {
        if self.sleep.swap(AWAKE, Ordering::Relaxed) != AWAKE {
            let waker = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Names who is to be woken.
    pub(crate) fn set_sleeper(&self, waker: Waker) {
        *self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }

    /// Nobody is to be woken any more.
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    pub(crate) fn forget_sleeper(&self) {
        *self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Announces sleep; false if something came meanwhile.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleep.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // A write may have come back to a worker that does something else meanwhile.
        let called = self.called.swap(false, Ordering::Acquire);
        let may_sleep = self.is_idle() && !called && !self.closing.load(Ordering::Relaxed);
        if !may_sleep {
            self.wake_up();
        }
        may_sleep
    }

    /// Announces sleep until a write comes back or many requests wait; false if either has happened.
    pub(crate) fn fall_asleep_for_write(&self) -> bool {
        self.sleep.store(FOR_WRITE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = !self.called.swap(false, Ordering::Acquire) && !self.has_many();
        if !may_sleep {
            self.wake_up();
        }
        may_sleep
    }

    pub(crate) fn wake_up(&self) {
        self.sleep.store(AWAKE, Ordering::Relaxed);
    }

    /// Shows a committed frame to the flusher and to subscribers; those that sleep are woken apart. The store may
    /// go up to `ceiling`.
    pub fn commit(&self, frame: impl Into<Arc<Frame>>, ceiling: u64) {
        let frame = frame.into();
        self.set_ceiling(ceiling);
        self.committed_bytes.fetch_add(frame.bytes().len() as u64, Ordering::Relaxed);
        self.tail.push(frame);
    }

    /// The store may not go beyond this record.
    pub fn set_ceiling(&self, ceiling: u64) {
        self.ceiling.store(ceiling, Ordering::Release);
    }

    /// Everything up to here is in the store.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// Segments that end below this record may be recycled.
    pub fn release_below(&self) -> u64 {
        self.release_below.load(Ordering::Acquire)
    }

    /// The first record that consumer groups have a claim to, as of what the flusher has absorbed; `u64::MAX` if there is none.
    pub fn owed(&self) -> u64 {
        self.owed.load(Ordering::Acquire)
    }

    pub(crate) fn set_owed(&self, first: u64) {
        self.owed.store(first, Ordering::Release);
    }

    /// Log bytes that the store has not absorbed.
    pub(crate) fn lag_bytes(&self) -> u64 {
        // In this order: what is absorbed was committed before.
        let absorbed = self.absorbed_bytes.load(Ordering::Acquire);
        let committed = self.committed_bytes.load(Ordering::Relaxed);
        debug_assert!(absorbed <= committed, "{absorbed} bytes absorbed of {committed}");
        committed.saturating_sub(absorbed)
    }
}
