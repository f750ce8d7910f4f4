//! Messages under way: in order between two shards, at any speed otherwise.

use std::collections::VecDeque;

use crate::dice::Dice;

/// One queue per ordered pair of shards.
pub(crate) struct Links<M> {
    shards: usize,
    queues: Vec<VecDeque<M>>,
}

impl<M> Links<M> {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards, queues: (0..shards * shards).map(|_| VecDeque::new()).collect() }
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, message: M) {
        self.queues[from * self.shards + to].push_back(message);
    }

    /// A pair with messages under way: sender and receiver.
    pub(crate) fn busy(&self, dice: &mut Dice) -> Option<(usize, usize)> {
        let busy: Vec<usize> = (0..self.queues.len()).filter(|at| !self.queues[*at].is_empty()).collect();
        (!busy.is_empty()).then(|| {
            let at = busy[dice.index(busy.len())];
            (at / self.shards, at % self.shards)
        })
    }

    /// Takes the oldest messages of a pair.
    pub(crate) fn take(&mut self, from: usize, to: usize, most: usize) -> Vec<M> {
        let queue = &mut self.queues[from * self.shards + to];
        queue.drain(..most.min(queue.len())).collect()
    }

    /// Everything under way.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &M> {
        self.queues.iter().flatten()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// A crash: nothing under way arrives.
    pub(crate) fn clear(&mut self) {
        self.queues.iter_mut().for_each(VecDeque::clear);
    }
}
