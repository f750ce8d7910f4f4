//! What buyers were told, and when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onrush_proto::OrderId;

use super::basket::Basket;

/// An order as its buyer knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bought {
    pub(super) basket: Basket,
    /// True if the cancellation was acknowledged.
    pub(super) cancelled: bool,
}

/// Something whose outcome nobody heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Open {
    /// An order under this number.
    Buy { number: u64 },
    /// The cancellation of an order.
    Cancel { number: u64, order: OrderId },
    /// More units of an item.
    Restock { number: u64, item: u32 },
}

#[derive(Default)]
pub(super) struct Entries {
    pub(super) bought: BTreeMap<OrderId, Bought>,
    pub(super) open: Vec<Open>,
    /// Units that came in of each item.
    pub(super) received: BTreeMap<u32, i64>,
    /// Buys that were refused, as there was not enough of a scarce item.
    pub(super) sold_out: u64,
    /// How often there came more of one.
    pub(super) restocked: u64,
    /// Acknowledgements: when, since the beginning, and what each took.
    pub(super) answers: Vec<(Duration, Duration)>,
    /// Errors that a caller of the shipped client saw, each kind once with its count.
    pub(super) errors: BTreeMap<String, u64>,
    /// Acknowledged orders that were asked for once more, and answered as before.
    pub(super) repeated: u64,
    /// Orders that were read again by who had just heard of them.
    pub(super) read: u64,
    pub(super) violations: Vec<String>,
}

impl Entries {
    /// Units of each item that are held in the end.
    pub(super) fn held(&self, items: u32) -> Vec<i64> {
        let mut held = vec![0; items as usize];
        let lines = self.bought.values().filter(|bought| !bought.cancelled).flat_map(|bought| &bought.basket);
        for (item, units) in lines {
            held[*item as usize] += i64::from(*units);
        }
        held
    }
}

/// The books of all buyers.
pub(super) struct Books {
    began: Instant,
    entries: Mutex<Entries>,
}

impl Default for Books {
    fn default() -> Self {
        Self { began: Instant::now(), entries: Mutex::default() }
    }
}

impl Books {
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the beginning.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// An answer came.
    pub(super) fn answered(&self, took: Duration) {
        let now = self.now();
        self.entries().answers.push((now, took));
    }

    /// A caller saw an error; what was to be changed is open.
    pub(super) fn failed(&self, error: &str, open: Option<Open>) {
        let mut entries = self.entries();
        *entries.errors.entry(error.to_owned()).or_default() += 1;
        entries.open.extend(open);
    }

    pub(super) fn violate(&self, line: String) {
        let mut entries = self.entries();
        if entries.violations.len() < 100 {
            entries.violations.push(line);
        }
    }

    /// The longest time without an answer between two moments, and the last answer's moment.
    pub(super) fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let entries = self.entries();
        let first = entries.answers.partition_point(|(at, _)| *at < from);
        let mut before = first.checked_sub(1).map_or(from, |at| entries.answers[at].0);
        let mut longest = Duration::ZERO;
        for (at, _) in entries.answers[first..].iter().take_while(|(at, _)| *at <= to) {
            longest = longest.max(at.saturating_sub(before));
            before = *at;
        }
        longest.max(to.saturating_sub(before.max(from)))
    }

    /// When the last answer came.
    pub(super) fn last(&self) -> Duration {
        self.entries().answers.last().map_or(Duration::ZERO, |(at, _)| *at)
    }

    /// What answers took between two moments, sorted.
    pub(super) fn times(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let entries = self.entries();
        let within = |(at, _): &&(Duration, Duration)| (from..to).contains(at);
        let mut times: Vec<_> = entries.answers.iter().filter(within).map(|(_, took)| *took).collect();
        times.sort_unstable();
        times
    }
}

/// A quantile of sorted times; zero of none.
pub(super) fn quantile(sorted: &[Duration], quantile: f64) -> Duration {
    let at = ((sorted.len() as f64 * quantile) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_every_line_of_what_was_not_cancelled() {
        let mut entries = Entries::default();
        for (number, lines, cancelled) in
            [(1, &[(0, 2)][..], false), (2, &[(0, 1), (2, 2)], false), (3, &[(1, 2), (2, 1)], true)]
        {
            let bought = Bought { basket: Basket::from_slice(lines), cancelled };
            entries.bought.insert(OrderId(number), bought);
        }
        assert_eq!(entries.held(3), [3, 0, 2]);
    }

    #[test]
    fn a_gap_lies_between_two_answers_or_at_an_end() {
        let books = Books::default();
        let ms = Duration::from_millis;
        books.entries().answers = [10, 20, 90, 100].map(|at| (ms(at), ms(1))).to_vec();
        assert_eq!(books.longest_gap(ms(15), ms(100)), ms(70), "it began before");
        assert_eq!(books.longest_gap(ms(15), ms(300)), ms(200), "nothing came again");
        assert_eq!(books.longest_gap(ms(0), ms(20)), ms(10));
        assert_eq!(books.times(ms(20), ms(100)).len(), 2);
        let times: Vec<_> = (1..=100).map(ms).collect();
        assert_eq!((quantile(&times, 0.99), quantile(&[], 0.5)), (ms(100), ms(0)));
    }
}
