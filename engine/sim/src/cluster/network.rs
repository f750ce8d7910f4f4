//! The network between nodes: it loses, doubles and reorders, and it can be cut, also one way.

use std::collections::VecDeque;

use onrush_engine::replication::Message;
use onrush_proto::ShardId;

use crate::dice::Dice;

/// One queue per ordered pair of nodes.
pub(crate) struct Network {
    nodes: usize,
    queues: Vec<VecDeque<(ShardId, Message)>>,
    cut: Vec<bool>,
    /// Pairs whose messages wait.
    held: Vec<bool>,
    /// Chances in a thousand that a message is lost, doubled, or overtakes those in front of it.
    pub(crate) loss: u64,
    pub(crate) doubling: u64,
    pub(crate) disorder: u64,
}

/// Messages that wait for one node from another; a full queue loses the oldest.
const QUEUE_MAX: usize = 512;

impl Network {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            queues: (0..nodes * nodes).map(|_| VecDeque::new()).collect(),
            cut: vec![false; nodes * nodes],
            held: vec![false; nodes * nodes],
            loss: 0,
            doubling: 0,
            disorder: 0,
        }
    }

    fn pair(&self, from: usize, to: usize) -> usize {
        from * self.nodes + to
    }

    /// A message that its receiver did not take yet.
    pub(crate) fn again(&mut self, (shard, message): (ShardId, Message)) {
        let pair = self.pair(super::place(message.from), super::place(message.to));
        self.queues[pair].push_front((shard, message));
    }

    pub(crate) fn send(&mut self, (shard, message): (ShardId, Message)) {
        let pair = self.pair(super::place(message.from), super::place(message.to));
        if self.queues[pair].len() == QUEUE_MAX {
            self.queues[pair].pop_front();
        }
        self.queues[pair].push_back((shard, message));
    }

    /// The next message to arrive anywhere, if the network lets it through: `None` if nothing is under way.
    pub(crate) fn next(&mut self, dice: &mut Dice) -> Option<Option<(ShardId, Message)>> {
        let busy: Vec<usize> = (0..self.queues.len()).filter(|at| self.is_busy(*at)).collect();
        if busy.is_empty() {
            return None;
        }
        let pair = busy[dice.index(busy.len())];
        let queue = &mut self.queues[pair];
        let at = if dice.below(1_000) < self.disorder { dice.index(queue.len()) } else { 0 };
        let message = queue.get(at).cloned();
        if dice.below(1_000) >= self.doubling {
            queue.remove(at);
        }
        let lost = self.cut[pair] || dice.below(1_000) < self.loss;
        Some(message.filter(|_| !lost))
    }

    /// Another message for the same shard of the same node, if one waits in front of a link that works: a process hears
    /// several before it does anything about them.
    pub(crate) fn next_for(&mut self, to: usize, shard: ShardId, dice: &mut Dice) -> Option<Message> {
        let is_fit = |from: &usize| {
            let pair = self.pair(*from, to);
            let front = self.queues[pair].front().filter(|_| self.is_busy(pair) && !self.cut[pair]);
            front.is_some_and(|(of, message)| *of == shard && !message.is_of_snapshot())
        };
        let fit: Vec<usize> = (0..self.nodes).filter(is_fit).collect();
        let pair = self.pair(*fit.get(dice.index(fit.len()))?, to);
        self.queues[pair].pop_front().map(|(_, message)| message)
    }

    /// Cuts a node off: what it sends, what it hears, or both.
    pub(crate) fn cut_off(&mut self, node: usize, sends: bool, hears: bool) {
        for other in (0..self.nodes).filter(|other| *other != node) {
            let (out, back) = (self.pair(node, other), self.pair(other, node));
            self.cut[out] |= sends;
            self.cut[back] |= hears;
        }
    }

    /// Cuts one direction between two nodes.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        let pair = self.pair(from, to);
        self.cut[pair] = true;
    }

    /// What one node says to another one waits.
    pub(crate) fn hold(&mut self, from: usize, to: usize) {
        let pair = self.pair(from, to);
        self.held[pair] = true;
    }

    /// What one node has said to another one, and waits: it arrives.
    pub(crate) fn let_go(&mut self, from: usize, to: usize) -> Vec<(ShardId, Message)> {
        let pair = self.pair(from, to);
        self.held[pair] = false;
        self.queues[pair].drain(..).collect()
    }

    /// Every link works again.
    pub(crate) fn mend(&mut self) {
        self.cut.fill(false);
        self.held.fill(false);
    }

    fn is_busy(&self, pair: usize) -> bool {
        !self.queues[pair].is_empty() && !self.held[pair]
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.mend();
        (self.loss, self.doubling, self.disorder) = (0, 0, 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !(0..self.queues.len()).any(|pair| self.is_busy(pair))
    }
}
