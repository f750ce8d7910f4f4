//! A shard by itself: no host, no log, no store. What the core costs.

use std::collections::VecDeque;

use onrush_engine::shard::{Effects, Found, Input, ReplyTo, Shard, ShardOptions, Want};
use onrush_proto::{KeyHasher, Outcome, Reply, Request, ShardId, SlotMap};

use crate::Failure;
use crate::sale::Sale;

/// Shard time that passes per turn in us: 512 orders per turn are a million orders per second.
const TURN_US: u64 = 512;
/// More than any hold lasts.
const HOLD_OVER_US: u64 = 3_600_000_000;

/// One shard and what a host would hold for it.
pub struct LoneShard {
    shard: Shard,
    now_us: u64,
    inputs: VecDeque<Input>,
    effects: Effects,
    wants: Vec<Want>,
    cold: u64,
}

impl LoneShard {
    /// A shard on which `sale` has opened.
    pub fn open(sale: &Sale) -> Result<Self, Failure> {
        let map = SlotMap::new(1).ok_or_else(|| Failure::unexpected("a map of one shard", 1))?;
        let options = ShardOptions::new(ShardId(0), map, KeyHasher::new([1, 2]));
        let mut lone = Self {
            shard: Shard::new(options),
            now_us: 1_700_000_000_000_000,
            inputs: VecDeque::new(),
            effects: Effects::default(),
            wants: Vec::new(),
            cold: 0,
        };
        let mut opening: Vec<Request> = sale.opening().collect();
        while !opening.is_empty() {
            lone.load(opening.drain(..opening.len().min(1_000)));
            lone.batch();
            lone.expect("an opened sale", |outcome| matches!(outcome, Outcome::Accepted(_)))?;
            lone.let_go();
        }
        Ok(lone)
    }

    /// Puts requests in front of the shard.
    pub fn load(&mut self, requests: impl IntoIterator<Item = Request>) {
        let inputs = requests.into_iter().enumerate().map(|(tag, request)| {
            let to = ReplyTo { port: 1, tag: tag as u64 };
            Input::Request { to, request }
        });
        self.inputs.extend(inputs);
    }

    /// Asks what the next turn needs of the store, and answers that it has nothing.
    pub fn fetch(&mut self) {
        loop {
            self.wants.clear();
            self.shard.wants(self.inputs.iter(), &mut self.wants);
            if self.wants.is_empty() {
                return;
            }
            self.cold += self.wants.len() as u64;
            for want in self.wants.drain(..) {
                self.shard.warm(missing(want));
            }
        }
    }

    /// One turn over what was loaded; true if something is left for another turn of the batch.
    pub fn turn(&mut self) -> bool {
        self.now_us += TURN_US;
        self.shard.turn(self.now_us, &mut self.inputs, &mut self.effects);
        !self.inputs.is_empty()
    }

    /// All that was loaded, turn by turn.
    pub fn batch(&mut self) {
        loop {
            self.fetch();
            if !self.turn() {
                break;
            }
        }
    }

    /// Lets all holds run out: no order is open then, and the tables keep the room they took.
    pub fn expire(&mut self) {
        self.now_us += HOLD_OVER_US;
        while self.shard.state().orders.open_len() > 0 {
            self.turn();
            self.let_go();
        }
    }

    /// Checks every answer of the turn.
    pub fn expect(&self, what: &str, fits: impl Fn(&Outcome) -> bool) -> Result<(), Failure> {
        match self.replies().iter().find(|(_, reply)| !fits(&reply.outcome)) {
            Some((_, reply)) => Err(Failure::unexpected(what, &reply.outcome)),
            None if self.inputs.is_empty() => Ok(()),
            None => Err(Failure::unexpected("a turn that takes everything", self.inputs.len())),
        }
    }

    /// What the turn answered.
    pub fn replies(&self) -> &[(ReplyTo, Reply)] {
        &self.effects.replies
    }

    /// What the turn wants done.
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Bytes of the turn's frame.
    pub fn frame_bytes(&self) -> usize {
        self.effects.frame.len_bytes()
    }

    /// Lets the turn's effects go, as if frame and store had kept up.
    pub fn let_go(&mut self) {
        self.effects.clear();
        let end = self.shard.end().0;
        self.shard.set_stored(end);
    }

    /// Rows that only a store could have answered for.
    pub fn cold(&self) -> u64 {
        self.cold
    }

    /// The shard.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }
}

fn missing(want: Want) -> Found {
    match want {
        Want::Key(key) => Found::Key(key, None),
        Want::Limit(hash) => Found::Limit(hash, None),
        Want::Order(order) => Found::Order(order, None),
        Want::Hold(order) => Found::Hold(order, None),
        Want::Document(key) => Found::Document(key, None),
        Want::Name(name) => Found::Name(name, None),
    }
}
