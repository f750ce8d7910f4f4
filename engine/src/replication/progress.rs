//! What a leader knows of one follower.

use std::collections::VecDeque;

/// How entries are sent to a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// One at a time, to find where the logs are equal.
    Probe {
        /// True while the answer is awaited.
        asked: bool,
    },
    /// Ahead of the answers.
    Stream,
    /// What it needs was released here: it needs a snapshot.
    Snapshot,
}

/// Most entries on their way to one follower.
const IN_FLIGHT_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Progress {
    /// Up to here the follower's log is equal, and on disk.
    pub(super) matched: u64,
    /// The next entry to send.
    pub(super) next: u64,
    pub(super) pace: Pace,
    /// When the last message was sent that it has answered.
    pub(super) heard_us: u64,
    /// Its own clock when it said something last.
    pub(super) said_us: u64,
    /// Last index and bytes of what is on its way.
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
}

impl Progress {
    pub(super) fn new(next: u64, now_us: u64) -> Self {
        Self {
            matched: 0,
            next,
            pace: Pace::Probe { asked: false },
            heard_us: now_us,
            said_us: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    /// True if more may be sent now.
    pub(super) fn has_room(&self, bytes_max: usize) -> bool {
        match self.pace {
            Pace::Probe { asked } => !asked,
            Pace::Stream => self.in_flight.len() < IN_FLIGHT_MAX && self.in_flight_bytes < bytes_max,
            Pace::Snapshot => false,
        }
    }

    pub(super) fn sent(&mut self, last: u64, bytes: usize) {
        match &mut self.pace {
            Pace::Probe { asked } => *asked = true,
            Pace::Stream => {
                self.next = last + 1;
                self.in_flight.push_back((last, bytes));
                self.in_flight_bytes += bytes;
            }
            Pace::Snapshot => {}
        }
    }

    pub(super) fn matched(&mut self, index: u64) {
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        if self.pace != Pace::Stream {
            // What was sent to probe is sent again from where the logs are known to be equal.
            self.next = self.matched + 1;
            self.pace = Pace::Stream;
        }
        while let Some((last, bytes)) = self.in_flight.front()
            && *last <= self.matched
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
    }

    /// The follower lacks the entry at `tested`. False if it has said so about something long settled.
    pub(super) fn missing(&mut self, tested: u64, hint: u64) -> bool {
        let stale = match self.pace {
            Pace::Probe { .. } => tested + 1 != self.next,
            Pace::Stream | Pace::Snapshot => tested <= self.matched,
        };
        if stale {
            return false;
        }
        self.probe(hint.min(tested.saturating_sub(1)) + 1);
        true
    }

    /// Begins to look for where the logs are equal, at or behind `next`.
    pub(super) fn probe(&mut self, next: u64) {
        self.next = next.max(self.matched + 1);
        self.pace = Pace::Probe { asked: false };
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }
}
