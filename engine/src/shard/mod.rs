//! The shard: a plain machine. Inputs and the time go in, records and answers come out.
//!
//! *Invariants*: no clock, no thread, no socket, no randomness, no unordered iteration. A batch of turns
//! is one frame, one durable write. What a turn says leaves when its frame is durable
//! (see [`Effects`]).

mod baskets;
mod bucket;
mod claims;
mod decide;
mod effects;
mod returns;
mod sweep;
mod wants;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::HashMap;
use onrush_proto::planted::planted;
use onrush_proto::{
    Cause, Fact, IdempotencyKey, KeyHasher, KeyRow, KeyState, Lsn, OrderId, Outcome, Receipt, Refusal, Reply,
    Request, Row, ShardId, Slot, SlotMap, row::RowEncoder,
};

pub use effects::{Effects, HoldRequest, Input, Part, PeerMessage, ReplyTo};
use wants::Asked;
pub use wants::{Found, Want};

use crate::replication::{Members, group_fact, settled_in};
use crate::rules::Context;
use crate::state::{State, StateLimits};
use crate::tables::FixedState;
use baskets::Reservation;
use bucket::Bucket;
use returns::Returns;

/// Most inputs of one turn: as many as are looked for together and still near when they are decided.
pub(crate) const TURN_INPUTS_MAX: usize = 256;

/// What a shard is told when it is made; frozen with the data directory but for the bounds.
#[derive(Clone, Copy, Debug)]
pub struct ShardOptions {
    /// Which shard this is.
    pub id: ShardId,
    /// Who owns what.
    pub map: SlotMap,
    /// The directory's secret hash.
    pub hasher: KeyHasher,
    /// Hold interval in us where neither order nor SKU names one.
    pub default_hold_us: u64,
    /// Most inputs of a batch.
    pub batch_inputs_max: usize,
    /// A batch ends early when its frame reaches this many bytes.
    pub frame_bytes_max: usize,
    /// Most open orders; further ones are refused as overloaded.
    pub open_orders_max: usize,
    /// What stays in memory.
    pub limits: StateLimits,
    /// True if others follow its log.
    pub replicated: bool,
}

impl ShardOptions {
    /// Options with the recommended bounds.
    pub fn new(id: ShardId, map: SlotMap, hasher: KeyHasher) -> Self {
        Self {
            id,
            map,
            hasher,
            default_hold_us: 600_000_000,
            batch_inputs_max: 8_192,
            frame_bytes_max: 8 << 20,
            open_orders_max: 8 << 20,
            limits: StateLimits::default(),
            replicated: false,
        }
    }
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// A client.
    Client(ReplyTo),
    /// A client, by way of its key's shard.
    Keeper(ShardId, ReplyTo),
}

/// The first call of a key while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningCall {
    /// Who decides it.
    home: ShardId,
    /// Tells it from other calls of the key.
    number: u64,
}

/// One shard.
pub struct Shard {
    options: ShardOptions,
    /// One of its slots: the return address of what it says to other shards.
    own_slot: Slot,
    state: State,
    now_us: u64,
    next_lsn: u64,
    /// Everything up to here is in the store.
    stored_lsn: u64,
    /// Keys whose first call is running: forwarded from here, or reserving here.
    running: HashMap<IdempotencyKey, RunningCall, FixedState>,
    calls: u64,
    /// In a cluster, clients whose requests are with other shards, by port and tag.
    forwarded: BTreeSet<(u32, u64)>,
    /// Keys accepted here that their own shard has not confirmed yet, by position.
    unconfirmed: BTreeMap<u64, IdempotencyKey>,
    unconfirmed_lsns: HashMap<IdempotencyKey, u64, FixedState>,
    reservations: BTreeMap<OrderId, Reservation>,
    returns: Returns,
    /// True if the last sweep left dead holds behind.
    backlog: bool,
    /// Rows that a sweep needs and that only the store has.
    wanted: Vec<Want>,
    asked: Asked,
    /// A message that takes another turn; it goes back to the head of the line.
    postponed: Option<Input>,
    /// True once what the next inputs want is no longer what it was when the turn began.
    turn_ends: bool,
    took_office: bool,
    /// Other shards that have not said yet, in this office, that they told everything.
    unheard: u16,
    /// What was recorded last of what other shards have confirmed.
    settled_lsn: u64,
    /// The last record that others have to confirm, and when what they have confirmed is recorded next.
    owed_lsn: u64,
    settle_due_us: Option<u64>,
    /// True while the store lags by its bound: nothing new is admitted.
    lagging: bool,
    bucket: Bucket,
    encoder: RowEncoder,
    payload: Vec<u8>,
    /// Where the next order's fact is made: with three rows in place, too large to be moved about.
    spare_fact: Option<Box<Fact>>,
}

impl Shard {
    /// An empty shard.
    pub fn new(options: ShardOptions) -> Self {
        let owned = |slot: &u8| options.map.shard(Slot(*slot)) == options.id;
        Self {
            state: State::new(options.limits),
            own_slot: Slot((0..=255).find(owned).unwrap_or(0)),
            options,
            now_us: 0,
            next_lsn: 1,
            stored_lsn: 0,
            running: HashMap::with_hasher(FixedState),
            calls: 0,
            forwarded: BTreeSet::new(),
            unconfirmed: BTreeMap::new(),
            unconfirmed_lsns: HashMap::with_hasher(FixedState),
            reservations: BTreeMap::new(),
            returns: Returns::default(),
            backlog: false,
            wanted: Vec::new(),
            asked: Asked::default(),
            postponed: None,
            turn_ends: false,
            took_office: false,
            unheard: 0,
            settled_lsn: 0,
            owed_lsn: 0,
            settle_due_us: None,
            lagging: false,
            bucket: Bucket::default(),
            encoder: RowEncoder::default(),
            payload: Vec::new(),
            spare_fact: None,
        }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.options.id
    }

    /// The state, for reading.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state, for recovery and for publishing; facts go through [`replay`](Self::replay).
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The position of the last record decided.
    pub fn end(&self) -> Lsn {
        Lsn(self.next_lsn - 1)
    }

    /// Shard time in us.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// When this shard wants a turn though nothing comes in, shard time in us.
    pub fn next_deadline_us(&self) -> Option<u64> {
        let (orders, holds) = (self.state.orders.next_deadline_us(), self.state.holds.next_deadline_us());
        let timers = [orders, holds, self.settle_due_us];
        let first = timers.into_iter().flatten().min();
        let at_once = self.backlog || !self.wanted.is_empty() || !self.took_office;
        if at_once { Some(self.now_us) } else { first }
    }

    /// Tells the shard how far its store has come.
    pub fn set_stored(&mut self, lsn: u64) {
        self.stored_lsn = self.stored_lsn.max(lsn);
    }

    /// Tells the shard whether its store lags by its bound. What comes from other shards to be held or decided
    /// is then refused; a host keeps requests waiting.
    pub fn set_lagging(&mut self, lagging: bool) {
        self.lagging = lagging;
    }

    /// The store may not go beyond this record: keys and returns behind it are not confirmed by
    /// their shards, and recovery finds them in the log that it replays.
    pub fn store_ceiling(&self) -> u64 {
        let key = self.unconfirmed.first_key_value().map(|(lsn, _)| *lsn);
        let first = [key, self.returns.first_lsn()].into_iter().flatten().min();
        first.map_or(u64::MAX, |lsn| lsn - 1)
    }

    /// Starts counting at a recovered log's end.
    pub fn resume(&mut self, end_lsn: u64, time_us: u64) {
        self.next_lsn = end_lsn + 1;
        self.now_us = self.now_us.max(time_us);
    }

    /// Names the first history bucket that is free: the store holds rows of the ones before.
    pub fn begin_bucket(&mut self, bucket: u32) {
        self.bucket.begin(bucket);
    }

    /// Applies a record from the log.
    pub fn replay(&mut self, mut fact: Fact, lsn: u64, time_us: u64) {
        if let Some(key) = self.foreign_key(&fact) {
            self.await_confirmation(key, lsn);
        }
        self.replay_return(&fact, lsn);
        if let Some(settled) = settled_in(&fact) {
            self.settle_up_to(settled);
        }
        self.bucket.saw(&fact);
        self.state.apply(&mut fact, lsn);
        self.resume(lsn, time_us);
    }

    /// Ends a batch of replay: lets go of what the store has, and lets time pass up to the batch's.
    pub fn settle_replay(&mut self) {
        self.state.orders.pass_time(self.now_us);
        self.state.holds.pass_time(self.now_us);
        self.state.settle(self.stored_lsn);
    }

    /// Claims that this shard re-sends when it takes office, before their shards admit anything; then
    /// word to every shard that this was all.
    pub fn reclaims(&self) -> Vec<(ShardId, PeerMessage)> {
        let home = self.own_slot;
        let claim = |key: &IdempotencyKey| (self.keeper(*key), PeerMessage::Reclaim { key: *key, home });
        let others = (0..self.options.map.shards()).map(ShardId).filter(|shard| *shard != self.options.id);
        let all = others.map(|shard| (shard, PeerMessage::TookOffice));
        self.unconfirmed.values().map(claim).chain(all).collect()
    }

    /// An office begins that all shards take together: nobody is admitted before all others have said which keys they
    /// have accepted.
    pub fn begin_office(&mut self) {
        self.took_office = false;
        self.unheard = self.options.map.shards() - 1;
    }

    /// False while requests have to wait outside: a new office has not heard everybody yet.
    pub fn admits(&self) -> bool {
        self.unheard == 0 || planted(50)
    }

    /// The office is over. What was under way between shards is forgotten, and those are handed over to whom nobody else
    /// will say so: whether it happened is not known.
    pub fn leave_office(&mut self) -> Vec<ReplyTo> {
        let mut unknown = self.forget_calls();
        unknown.append(&mut self.forget_reservations());
        unknown
    }

    /// True if a batch has reached a bound: another turn into it would take nothing.
    pub fn is_full(&self, batch: &Effects) -> bool {
        batch.frame.len_bytes() >= self.options.frame_bytes_max
            || batch.inputs >= self.options.batch_inputs_max
    }

    /// One turn: sweeps the dead, then takes inputs until a bound is reached. What is not taken
    /// stays in `inputs`, what it says comes behind what is in `out`. Rows that
    /// [`wants`](Self::wants) named must have been warmed. A batch has the time of the first turn that
    /// did something.
    pub fn turn(&mut self, now_us: u64, inputs: &mut VecDeque<Input>, out: &mut Effects) {
        if out.is_empty() {
            out.time_us = self.now_us.max(now_us);
        }
        self.now_us = out.time_us;
        // Nothing is taken before everything is given up that a crash left unfinished.
        self.took_office = self.took_office || self.take_office(out);
        // A frame is of one bucket, so that a run of the store can end between two.
        if out.is_empty() {
            self.bucket.turn(self.now_us);
        }
        if self.took_office {
            self.sweep(out);
            self.take_inputs(inputs, out);
        }
        self.record_settled(out);
        self.state.settle(self.stored_lsn);
        out.rows.stage(&mut self.state);
        out.store_ceiling = self.store_ceiling();
    }

    fn take_inputs(&mut self, inputs: &mut VecDeque<Input>, out: &mut Effects) {
        let mut taken = 0;
        // They are looked at where they lie: an order is too large to be moved about.
        for input in inputs.iter_mut() {
            if taken == TURN_INPUTS_MAX || self.is_full(out) || !self.take(input, out) {
                break;
            }
            (taken, out.inputs) = (taken + 1, out.inputs + 1);
            if std::mem::take(&mut self.turn_ends) {
                break;
            }
        }
        inputs.drain(..taken);
    }

    /// False if the input takes another turn: it stays at the head of the line.
    fn take(&mut self, input: &mut Input, out: &mut Effects) -> bool {
        match input {
            Input::Request { to, request } => self.request(*to, request, out),
            Input::Peer { from, message } => {
                let nothing = PeerMessage::Confirmed { key: IdempotencyKey::NONE };
                self.peer(*from, std::mem::replace(message, nothing), out);
                let postponed = self.postponed.take();
                let stays = postponed.is_some();
                if let Some(postponed) = postponed {
                    *input = postponed;
                }
                !stays
            }
        }
    }

    fn peer(&mut self, from: ShardId, message: PeerMessage, out: &mut Effects) {
        match message {
            PeerMessage::Forward { to, request } => self.forwarded(from, to, request, out),
            PeerMessage::Answered { key, home, accepted, to, reply } => {
                self.answered(from, (key, home, accepted), (to, *reply), out);
            }
            PeerMessage::Reclaim { key, home } => self.reclaimed(from, key, home, out),
            PeerMessage::TookOffice => {
                self.unheard = self.unheard.saturating_sub(1);
                self.ask_what_runs(from, out);
            }
            PeerMessage::StillRunning { key, call } => self.still_running(from, key, call, out),
            PeerMessage::NotRunning { key, call } => self.not_running(from, key, call),
            PeerMessage::Confirmed { key } => self.confirmed(key),
            PeerMessage::Hold(request) => self.hold(from, request, out),
            PeerMessage::Held { order, lines } => self.held(order, lines, from, out),
            PeerMessage::HoldRefused { order, refusal, contested } => {
                self.hold_refused(from, order, (refusal, contested), out);
            }
            PeerMessage::Resolve { order, how, until_us } => {
                self.resolve_hold(order, how, until_us, out);
                self.acknowledge_return(from, order, how, out);
            }
            PeerMessage::Returned { order } => self.returned(order, from),
            PeerMessage::Ask { order } => self.asked(from, order, out),
        }
    }

    pub(crate) fn owns(&self, slot: Slot) -> bool {
        self.options.map.shard(slot) == self.options.id
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            now_us: self.now_us,
            lsn: self.next_lsn,
            bucket: self.bucket.number,
            default_hold_us: self.options.default_hold_us,
            hasher: self.options.hasher,
            map: self.options.map,
        }
    }

    /// Records who belongs to the group from here on, as the only record of a batch.
    pub(crate) fn record_group(&mut self, members: &Members, now_us: u64, out: &mut Effects) {
        self.now_us = self.now_us.max(now_us);
        out.time_us = self.now_us;
        // Nothing reads the version, and the row of before may be cold: it rises with the log.
        let fact = group_fact(members, self.next_lsn, self.now_us);
        self.record(fact, out);
        out.store_ceiling = self.store_ceiling();
    }

    /// Appends a fact to the frame and applies it. Returns its position.
    pub(crate) fn record(&mut self, mut fact: Fact, out: &mut Effects) -> Lsn {
        self.record_rows(&mut fact, None, None, out)
    }

    /// Appends a fact to the frame and moves its rows into the state. A key that is not carried by
    /// an order, and what the command belongs to, are its last rows. Returns its position.
    fn record_rows(
        &mut self,
        fact: &mut Fact,
        key: Option<KeyRow>,
        cause: Option<&Cause>,
        out: &mut Effects,
    ) -> Lsn {
        self.payload.clear();
        fact.encode(&mut self.encoder, &mut self.payload);
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        self.bucket.saw(fact);
        self.state.apply(fact, lsn);
        if let Some(key) = key {
            Fact::encode_row(&Row::Key(key), &mut self.encoder, &mut self.payload);
            self.bucket.saw_row(key.bucket);
            self.state.apply_key(key, lsn);
        }
        if let Some(cause) = cause {
            self.encode_cause(cause);
        }
        out.frame.push(fact.kind as u16, fact.key_hash, &self.payload);
        Lsn(lsn)
    }

    fn encode_cause(&mut self, cause: &Cause) {
        let trace = cause.trace.map(Row::Trace);
        let correlation = cause.correlation.map(|id| Row::Correlation(Box::new(id)));
        for row in trace.iter().chain(&correlation) {
            Fact::encode_row(row, &mut self.encoder, &mut self.payload);
        }
    }

    /// Records an acceptance under the request's key and answers it.
    pub(crate) fn accept(
        &mut self,
        origin: Origin,
        request: &Request,
        accepted: crate::rules::Accepted,
        out: &mut Effects,
    ) {
        let crate::rules::Accepted { mut fact, receipt } = accepted;
        self.accept_fact(origin, request, (&mut fact, receipt), out);
    }

    /// The same where the fact lies; its rows move into the state.
    pub(crate) fn accept_fact(
        &mut self,
        origin: Origin,
        &Request { key, body, ref cause, .. }: &Request,
        (fact, receipt): (&mut Fact, Receipt),
        out: &mut Effects,
    ) {
        // An order row carries its key itself.
        let carried = matches!(receipt, Receipt::Order { .. });
        let state = KeyState::First { body, receipt };
        let row = (!carried && !key.is_none()).then_some(KeyRow { key, state, bucket: self.bucket.number });
        let lsn = self.record_rows(fact, row, cause.as_deref(), out);
        if !key.is_none() && self.keeper(key) != self.options.id {
            self.await_confirmation(key, lsn.0);
        }
        let reply = Reply { outcome: Outcome::Accepted(receipt), replayed: false, lsn };
        self.answer(origin, key, true, reply, out);
    }

    /// Answers with the log's end as the position to wait for.
    pub(crate) fn answer_now(
        &mut self,
        origin: Origin,
        key: IdempotencyKey,
        outcome: Outcome,
        out: &mut Effects,
    ) {
        let reply = Reply { outcome, replayed: false, lsn: self.end() };
        self.answer(origin, key, false, reply, out);
    }

    pub(crate) fn refuse(
        &mut self,
        origin: Origin,
        key: IdempotencyKey,
        refusal: Refusal,
        out: &mut Effects,
    ) {
        self.answer_now(origin, key, Outcome::Refused(refusal), out);
    }

    pub(crate) fn answer(
        &mut self,
        origin: Origin,
        key: IdempotencyKey,
        accepted: bool,
        reply: Reply,
        out: &mut Effects,
    ) {
        match origin {
            Origin::Client(to) => out.replies.push((to, reply)),
            Origin::Keeper(keeper, to) => {
                let (home, reply) = (self.own_slot, Box::new(reply));
                out.outbound.push((keeper, PeerMessage::Answered { key, home, accepted, to, reply }));
            }
        }
    }

    fn is_late(&self, request: &Request) -> bool {
        request.deadline_us != 0 && request.deadline_us <= self.now_us
    }
}
