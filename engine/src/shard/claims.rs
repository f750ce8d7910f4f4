//! Idempotency keys over all shards: one key, one effect.
//!
//! A key lives on the shard of its own hash (its *keeper*), what it names on the shard of its
//! first SKU (its *home*). The keeper marks a key as running and forwards at once; home decides,
//! and answers the keeper when its record is durable; the keeper records the claim and lets the
//! answer go when that is durable too. So a claim never points at a record that a crash can take
//! away. Home keeps its store behind the first record whose claim is not confirmed: recovery finds
//! those records in the log it replays and re-sends their claims before anything is admitted.

use onrush_proto::{
    Command, Fact, IdempotencyKey, KeyRow, KeyState, OrderId, Outcome, RecordKind, Refusal, Reply, Request,
    Row, ShardId, Slot,
};

use super::{Effects, Input, Origin, PeerMessage, ReplyTo, Shard};
use crate::tables::hash_of;

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
                out.urgent.push((self.options.map.shard(Slot(home)), forward(to, request)));
            }
            None if self.is_running(&key) => self.refuse(origin, key, Refusal::KeyInProgress, out),
            None if self.is_home(&request.command) => return self.decide(origin, request, out),
            None => {
                if !cfg!(planted = "13") {
                    self.running.insert(key, ());
                }
                let home = self.options.map.shard(request.command.slot());
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
            _ => {
                if !self.decide(origin, &request, out) {
                    let message = PeerMessage::Forward { to, request };
                    self.postponed = Some(Input::Peer { from: keeper, message });
                }
            }
        }
    }

    fn replay_of(&self, request: &Request, body: u64, receipt: onrush_proto::Receipt) -> Reply {
        let same = request.body == body || cfg!(planted = "10");
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
        self.claim(from, key, home, out);
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
