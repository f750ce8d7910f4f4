//! What waits for one peer: bounded, filled by any thread, emptied by one task.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::roster::lock;

/// What a message takes beside its bytes, so that there is a bound of empty ones too.
const MESSAGE_COST: usize = 32;

/// Messages that wait.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Vec<u8>>,
    /// With what each takes beside.
    bytes: usize,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { waiting: Mutex::default(), filled: Notify::new(), bytes_max }
    }

    /// Puts a message behind the others; false if there is no room for it.
    pub(super) fn push(&self, message: Vec<u8>) -> bool {
        let was_empty = {
            let mut waiting = lock(&self.waiting);
            if waiting.bytes.saturating_add(message.len()) > self.bytes_max {
                return false;
            }
            waiting.bytes += message.len() + MESSAGE_COST;
            waiting.messages.push_back(message);
            waiting.messages.len() == 1
        };
        // Whoever takes takes all there is: it sleeps only if there was nothing.
        if was_empty {
            self.filled.notify_one();
        }
        true
    }

    /// Waits until there is something, and takes messages up to so many bytes, but at least one. What is
    /// given up while it waits has taken nothing.
    pub(super) async fn take(&self, bytes_max: usize) -> Vec<Vec<u8>> {
        loop {
            let taken = self.take_now(bytes_max);
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self, bytes_max: usize) -> Vec<Vec<u8>> {
        let mut waiting = lock(&self.waiting);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(message) = waiting.messages.pop_front_if(|message| {
            bytes += message.len() + MESSAGE_COST;
            bytes <= bytes_max || bytes == message.len() + MESSAGE_COST
        }) {
            waiting.bytes -= message.len() + MESSAGE_COST;
            taken.push(message);
        }
        taken
    }

    /// Drops all that waits: how many messages, and how many bytes they have.
    pub(super) fn clear(&self) -> (u64, u64) {
        let mut waiting = lock(&self.waiting);
        let bytes = waiting.messages.iter().map(|message| message.len() as u64).sum();
        let count = waiting.messages.len() as u64;
        *waiting = Waiting::default();
        (count, bytes)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        let waiting = lock(&self.waiting);
        waiting.bytes - waiting.messages.len() * MESSAGE_COST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_taken_and_the_rest_keeps_its_order() {
        let queue = Queue::new(100);
        assert!(queue.push(vec![1; 10]) && queue.push(vec![2; 10]) && !queue.push(vec![3; 17]));
        assert!(queue.push(vec![4; 16]), "with 32 bytes for each of the others, this is all");
        assert!(!queue.push(Vec::new()));
        assert_eq!(queue.bytes(), 36);
        assert_eq!(queue.take_now(85), [vec![1; 10], vec![2; 10]]);
        assert_eq!(queue.take_now(1), [vec![4; 16]], "at least one");
        assert!(queue.take_now(1).is_empty());
        assert!(queue.push(vec![0; 100]), "one that is as long as the bound");
        assert_eq!(queue.clear(), (1, 100));
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn empty_messages_have_a_bound_too() {
        let queue = Queue::new(320);
        let taken = (0..100).filter(|_| queue.push(Vec::new())).count();
        assert_eq!(taken, 11);
    }
}
