//! What is to be done later, in time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::slab::Ticket;

/// Something to do for a buy, or for a request on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Send the order (again).
    Send { buy: Ticket },
    /// Send another body under the buy's key.
    OtherBody { buy: Ticket },
    /// Start a payment attempt.
    Pay { buy: Ticket },
    /// Bring the gateway's word on an attempt.
    Settle { buy: Ticket, attempt: u16 },
    /// Call the order off.
    Cancel { buy: Ticket },
    /// Ask for a refund, numbered from 0.
    Refund { buy: Ticket, number: u16 },
    /// Bring the gateway's word on a refund.
    SettleRefund { buy: Ticket, refund: u16 },
    /// The client waits no longer for this request.
    Timeout { flight: Ticket },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Timer {
    at_ns: u64,
    /// Ties go in the order they were set, so that a seed gives one run.
    number: u64,
    due: Due,
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.number).cmp(&(other.at_ns, other.number))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A queue of [`Due`] by time.
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    set: u64,
}

impl Timers {
    /// A queue with room for that many.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(capacity), set: 0 }
    }

    /// Sets a timer.
    pub(crate) fn set(&mut self, at_ns: u64, due: Due) {
        self.set += 1;
        self.heap.push(Reverse(Timer { at_ns, number: self.set, due }));
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.heap.clear();
    }

    /// When the next one is due.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(timer)| timer.at_ns)
    }

    /// The next one that is due at `now_ns`, with the time it was set for.
    pub(crate) fn pop(&mut self, now_ns: u64) -> Option<(u64, Due)> {
        if self.next_ns()? > now_ns {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| (timer.at_ns, timer.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_time_order_and_never_early() {
        let mut timers = Timers::with_capacity(4);
        let due = |number| Due::Send { buy: Ticket(number) };
        [(30, 3), (10, 1), (10, 2)].into_iter().for_each(|(at, number)| timers.set(at, due(number)));
        assert_eq!(timers.pop(9), None);
        assert_eq!(timers.pop(29), Some((10, due(1))));
        assert_eq!(timers.pop(29), Some((10, due(2))));
        assert_eq!(timers.pop(29), None);
        assert_eq!(timers.next_ns(), Some(30));
    }
}
