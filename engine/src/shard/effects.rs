//! What goes into a shard and what comes out of it.

use onrush_proto::{
    Currency, CustomerId, IdempotencyKey, Lines, OrderId, OrderLine, Refusal, Reply, Request, ShardId, Slot,
};
use onrush_storage::log::FrameBuf;
use smallvec::SmallVec;

use crate::rules::inventory::Resolution;
use crate::views::ViewRows;

/// Where an answer goes: a port of the host, and the caller's tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    /// The host's number of the client's queue.
    pub port: u32,
    /// The client's number of the request.
    pub tag: u64,
}

/// One thing that reached a shard.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's request. A keyed one comes to the shard of its key, any other to the shard
    /// that decides it.
    Request {
        /// Where the answer goes.
        to: ReplyTo,
        /// What is asked.
        request: Request,
    },
    /// A message from another shard.
    Peer {
        /// Who sent it.
        from: ShardId,
        /// What it says.
        message: PeerMessage,
    },
}

/// What shards say to each other. Order is kept between two shards.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// Key's shard to home: decide this, or answer it from what is stored.
    Forward {
        /// Where the answer goes in the end.
        to: ReplyTo,
        /// What is asked.
        request: Box<Request>,
    },
    /// Home to key's shard: how a forwarded request came out.
    Answered {
        /// The key.
        key: IdempotencyKey,
        /// A slot of the home.
        home: Slot,
        /// True if the key now stands for an acceptance.
        accepted: bool,
        /// Where the answer goes.
        to: ReplyTo,
        /// The answer.
        reply: Box<Reply>,
    },
    /// Home to key's shard, when home takes office: this key was accepted here.
    Reclaim {
        /// The key.
        key: IdempotencyKey,
        /// A slot of the home.
        home: Slot,
    },
    /// Home to key's shard, behind its last [`Reclaim`](Self::Reclaim): home has taken office, and
    /// what was under way to it may be lost.
    TookOffice,
    /// Key's shard to home, behind every call it forwarded before: does this one still run?
    StillRunning {
        /// The key.
        key: IdempotencyKey,
        /// The call's number with the key's shard.
        call: u64,
    },
    /// Home to key's shard: it does not, and the key stands for nothing.
    NotRunning {
        /// The key.
        key: IdempotencyKey,
        /// The call's number with the key's shard.
        call: u64,
    },
    /// Key's shard to home: the claim is durable.
    Confirmed {
        /// The key.
        key: IdempotencyKey,
    },
    /// Home to participant: hold these lines.
    Hold(Box<HoldRequest>),
    /// Participant to home: the lines are held, at these prices.
    Held {
        /// The order.
        order: OrderId,
        /// The lines with their prices.
        lines: Lines,
    },
    /// Participant to home: the lines cannot be held.
    HoldRefused {
        /// The order.
        order: OrderId,
        /// Why.
        refusal: Refusal,
        /// True if there would be enough, were it not for units that others hold and may give back.
        contested: bool,
    },
    /// Home to participant: what becomes of the hold.
    Resolve {
        /// The order.
        order: OrderId,
        /// What becomes of it.
        how: Resolution,
        /// Until when a hold of this order may still arrive, shard time in us.
        until_us: u64,
    },
    /// Participant to home: the units that were sold are back.
    Returned {
        /// The order.
        order: OrderId,
    },
    /// Participant to home: what became of this order?
    Ask {
        /// The order.
        order: OrderId,
    },
}

/// Lines of an order that live on one shard, with their indices in the order.
pub type Part = SmallVec<[(u16, OrderLine); 4]>;

/// Lines of an order that another shard is home to.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// The order.
    pub order: OrderId,
    /// Who orders.
    pub customer: CustomerId,
    /// The currency of the order's first line.
    pub currency: Currency,
    /// The lines, with their indices in the order.
    pub lines: Part,
    /// When to ask home, shard time in us.
    pub deadline_us: u64,
}

/// What a batch of a shard wants done, in this order: `urgent` at once; `frame` made durable, behind
/// the frames before it; then, and only then, `rows` published, `replies` and `outbound` let go.
///
/// A batch is all turns over what waited, or that were taken while an earlier batch was being written.
#[derive(Default)]
pub struct Effects {
    /// Shard time in us, the same for all records of the batch.
    pub time_us: u64,
    /// Inputs that were decided.
    pub inputs: usize,
    /// The records of this batch.
    pub frame: FrameBuf,
    /// What it changed of what is published.
    pub rows: ViewRows,
    /// Where the store has to stop while this batch is the last durable one.
    pub store_ceiling: u64,
    /// Messages that need not wait: forwarded requests, of which nothing is promised yet.
    pub urgent: Vec<(ShardId, PeerMessage)>,
    /// Answers.
    pub replies: Vec<(ReplyTo, Reply)>,
    /// Messages to other shards.
    pub outbound: Vec<(ShardId, PeerMessage)>,
}

impl Effects {
    /// True if no input was decided and there is nothing to be made durable, said or sent.
    pub fn is_empty(&self) -> bool {
        let silent = self.replies.is_empty() && self.urgent.is_empty() && self.outbound.is_empty();
        silent && self.inputs == 0 && self.frame.is_empty()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        (self.time_us, self.inputs) = (0, 0);
        self.frame.clear();
        self.rows.clear();
        self.urgent.clear();
        self.replies.clear();
        self.outbound.clear();
    }
}
