//! Idempotency keys over all shards: one key, one effect.
//!
//! A key lives on the shard of its own hash (its *keeper*), what it names on the shard of its
//! first SKU (its *home*). The keeper marks a key as running and forwards at once; home decides,
//! and answers the keeper when its record is durable; the keeper records the claim and lets the
//! answer go when that is durable too. So a claim never points at a record that a crash can take
//! away. Home keeps its store behind the first record whose claim is not confirmed: recovery finds
//! those records in the log it replays and re-sends their claims before anything is admitted.
//!
//! A home that restarts alone forgets the calls that were under way to it, so its keepers ask it
//! about each call that they take for running. The question follows the call on the same way:
//! what home does not know then it will never decide, and the key is free again.
//!
//! In a cluster all shards are decided at one node and take office together
//! (`engine/src/replication/offices.rs`): a keeper admits nobody before it has heard from all others, and what was under way
//! when the office ended is answered as unknown. Followers hear what is confirmed from the log.

use onrush_proto::planted::planted;
use onrush_proto::{
    Command, Fact, IdempotencyKey, KeyRow, KeyState, OrderId, Outcome, RecordKind, Refusal, Reply, Request,
    Row, ShardId, Slot,
};

use super::{Effects, Input, Origin, PeerMessage, ReplyTo, RunningCall, Shard};
use crate::replication::settled_fact;
use crate::tables::hash_of;

/// Records that are confirmed before it is told: one record in so many.
const SETTLED_RECORDS: u64 = 64;
/// After so long fewer will do.
const SETTLED_US: u64 = 50_000;

impl Shard {
    /// The shard that a key lives on.
    pub(crate) fn keeper(&self, key: IdempotencyKey) -> ShardId {
        self.options.map.shard(Slot::of_hash(key.0))
    }

    /// A client's request. False if it takes another turn.
    pub(crate) fn request(&mut self, to: ReplyTo, request: &mut Request, out: &mut Effects) -> bool {
        let (origin, key) = (Origin::Client(to), request.key);
        if self.is_late(request) {
            self.refuse(origin, key, Refusal::DeadlineExceeded, out);
            return true;
        }
        if key.is_none() {
            return self.decide(origin, request, out);
        }
        match self.state.keys.known(key.0) {
            Some(KeyState::First { body, receipt }) => {
                let reply = self.replay_of(request, body, receipt);
                self.answer(origin, key, false, reply, out);
            }
            Some(KeyState::Claim { home }) => {
                self.note_forwarded(to);
                out.urgent.push((self.options.map.shard(Slot(home)), forward(to, request)));
            }
            None if self.is_running(&key) => self.refuse(origin, key, Refusal::KeyInProgress, out),
            None if self.is_home(&request.command) => return self.decide(origin, request, out),
            None => {
                let home = self.options.map.shard(request.command.slot());
                if !planted(13) {
                    self.begin_call(key, home);
                }
                self.note_forwarded(to);
                out.urgent.push((home, forward(to, request)));
            }
        }
        true
    }

    /// True if the command is decided here. Where there is one shard nothing needs to be hashed.
    fn is_home(&self, command: &Command) -> bool {
        self.options.map.shards() == 1 || self.owns(command.slot())
    }

    /// True if the first call of a key waits for other shards.
    fn is_running(&self, key: &IdempotencyKey) -> bool {
        !self.running.is_empty() && self.running.contains_key(key)
    }

    /// A request that its key's shard forwarded.
    pub(crate) fn forwarded(
        &mut self,
        keeper: ShardId,
        to: ReplyTo,
        request: Box<Request>,
        out: &mut Effects,
    ) {
        let (origin, key) = (Origin::Keeper(keeper, to), request.key);
        match self.state.keys.known(key.0) {
            Some(KeyState::First { body, receipt }) => {
                let reply = self.replay_of(&request, body, receipt);
                self.answer(origin, key, true, reply, out);
            }
            _ if self.is_running(&key) => self.refuse(origin, key, Refusal::KeyInProgress, out),
            _ if self.is_late(&request) => self.refuse(origin, key, Refusal::DeadlineExceeded, out),
            // It was admitted by its keeper, whose store may keep up while this one does not.
            _ if self.lagging => self.refuse(origin, key, Refusal::Overloaded, out),
            _ => {
                if !self.decide(origin, &request, out) {
                    let message = PeerMessage::Forward { to, request };
                    self.postponed = Some(Input::Peer { from: keeper, message });
                }
            }
        }
    }

    fn replay_of(&self, request: &Request, body: u64, receipt: onrush_proto::Receipt) -> Reply {
        let same = request.body == body || planted(10);
        let outcome = if same { Outcome::Accepted(receipt) } else { Outcome::Refused(Refusal::KeyReused) };
        Reply { outcome, replayed: same, lsn: self.end() }
    }

    /// Home's answer to what this shard forwarded.
    pub(crate) fn answered(
        &mut self,
        from: ShardId,
        (key, home, accepted): (IdempotencyKey, Slot, bool),
        (to, mut reply): (ReplyTo, Reply),
        out: &mut Effects,
    ) {
        // A refusal for a running key comes from a retry that overtook nothing: the mark stays.
        if self.options.replicated {
            self.forwarded.remove(&(to.port, to.tag));
        }
        let still_running = reply.outcome == Outcome::Refused(Refusal::KeyInProgress);
        if !still_running {
            self.running.remove(&key);
        }
        if accepted {
            reply.lsn = self.claim(from, key, home, out);
        }
        out.replies.push((to, reply));
    }

    /// A claim that home re-sends when it takes office.
    pub(crate) fn reclaimed(&mut self, from: ShardId, key: IdempotencyKey, home: Slot, out: &mut Effects) {
        self.running.remove(&key);
        self.claim(from, key, home, out);
    }

    /// Marks a key as running until its call is decided.
    pub(crate) fn begin_call(&mut self, key: IdempotencyKey, home: ShardId) {
        self.calls += 1;
        self.running.insert(key, RunningCall { home, number: self.calls });
    }

    /// Where offices end while the process goes on, clients are remembered whose requests are with other shards: first calls,
    /// and repetitions of what was claimed.
    fn note_forwarded(&mut self, ReplyTo { port, tag }: ReplyTo) {
        if self.options.replicated {
            self.forwarded.insert((port, tag));
        }
    }

    /// Who waits for other shards: they are forgotten, and nobody else will answer.
    pub(super) fn forget_calls(&mut self) -> Vec<ReplyTo> {
        self.running.clear();
        let waiting = std::mem::take(&mut self.forwarded);
        waiting.into_iter().map(|(port, tag)| ReplyTo { port, tag }).collect()
    }

    /// Everything up to record `lsn` is confirmed.
    pub(super) fn settle_up_to(&mut self, lsn: u64) {
        self.settled_lsn = self.settled_lsn.max(lsn);
        self.settle_due_us = self.settle_due_us.filter(|_| self.settled_lsn < self.owed_lsn);
        let behind = self.unconfirmed.split_off(&(lsn + 1));
        for key in std::mem::replace(&mut self.unconfirmed, behind).into_values() {
            self.unconfirmed_lsns.remove(&key);
        }
        self.returns.settle_up_to(lsn);
    }

    /// Others have to confirm what stands in record `lsn`; those who follow the log hear of it there.
    pub(super) fn owe_word(&mut self, lsn: u64) {
        if self.options.replicated {
            self.owed_lsn = self.owed_lsn.max(lsn);
            self.settle_due_us.get_or_insert(self.now_us + SETTLED_US);
        }
    }

    /// Records how far others have confirmed what was told them: now and then, and when nothing else happens.
    pub(super) fn record_settled(&mut self, out: &mut Effects) {
        let Some(due_us) = self.settle_due_us else { return };
        let settled = self.store_ceiling().min(self.end().0);
        let many = !out.frame.is_empty() && settled >= self.settled_lsn + SETTLED_RECORDS;
        if !many && self.now_us < due_us {
            return;
        }
        if settled > self.settled_lsn {
            self.settled_lsn = settled;
            self.record(settled_fact(settled, self.now_us), out);
        }
        self.settle_due_us = (self.settled_lsn < self.owed_lsn).then_some(self.now_us + SETTLED_US);
    }

    /// Keeper: a home took office and has sent its claims again. It may not know of other calls.
    pub(crate) fn ask_what_runs(&mut self, home: ShardId, out: &mut Effects) {
        let of_home = self.running.iter().filter(|(_, call)| call.home == home);
        let mut asked: Vec<_> = of_home.map(|(key, call)| (*key, call.number)).collect();
        asked.sort_unstable();
        let ask = |(key, call)| (home, PeerMessage::StillRunning { key, call });
        out.outbound.extend(asked.into_iter().map(ask));
    }

    /// Home: does a forwarded call still run? One that was decided is answered, or its claim is sent.
    pub(crate) fn still_running(
        &mut self,
        keeper: ShardId,
        key: IdempotencyKey,
        call: u64,
        out: &mut Effects,
    ) {
        if self.state.keys.known(key.0).is_none() && !self.running.contains_key(&key) {
            out.outbound.push((keeper, PeerMessage::NotRunning { key, call }));
        }
    }

    /// Keeper: the call was lost. A later call of the key keeps its mark.
    pub(crate) fn not_running(&mut self, home: ShardId, key: IdempotencyKey, call: u64) {
        if self.running.get(&key).is_some_and(|running| running.home == home && running.number == call) {
            self.running.remove(&key);
        }
    }

    fn claim(
        &mut self,
        from: ShardId,
        key: IdempotencyKey,
        home: Slot,
        out: &mut Effects,
    ) -> onrush_proto::Lsn {
        out.outbound.push((from, PeerMessage::Confirmed { key }));
        if self.state.keys.known(key.0).is_some() {
            return self.end();
        }
        let row = KeyRow { key, state: KeyState::Claim { home: home.0 }, bucket: self.bucket.number };
        self.record(Fact::new(RecordKind::KeyClaimed, hash_of(&key.0)).with(Row::Key(row)), out)
    }

    /// The key's shard has the claim on disk.
    pub(crate) fn confirmed(&mut self, key: IdempotencyKey) {
        if let Some(lsn) = self.unconfirmed_lsns.remove(&key) {
            self.unconfirmed.remove(&lsn);
        }
    }

    pub(crate) fn await_confirmation(&mut self, key: IdempotencyKey, lsn: u64) {
        self.unconfirmed.insert(lsn, key);
        self.owe_word(lsn);
        if let Some(older) = self.unconfirmed_lsns.insert(key, lsn) {
            self.unconfirmed.remove(&older);
        }
    }

    /// The key that a fact accepts and that lives on another shard.
    pub(crate) fn foreign_key(&self, fact: &Fact) -> Option<IdempotencyKey> {
        let key = fact.rows.iter().find_map(|row| match row {
            Row::Order(order) if fact.kind == RecordKind::OrderCreated => Some(order.key),
            Row::Key(KeyRow { key, state: KeyState::First { .. }, .. }) => Some(*key),
            _ => None,
        });
        key.filter(|key| !key.is_none() && self.keeper(*key) != self.options.id)
    }
}

/// Takes the request with it.
fn forward(to: ReplyTo, request: &mut Request) -> PeerMessage {
    let nothing = Request::unkeyed(Command::GetOrder(OrderId::default()));
    PeerMessage::Forward { to, request: Box::new(std::mem::replace(request, nothing)) }
}
