//! The client's own books: every acceptance it saw, to be held against the engine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_proto::{OrderId, OrderState};

use crate::demand::Basket;

/// Where the client left an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Nobody paid: held, or expired by now.
    Unpaid,
    /// The engine's last word on it.
    Told(OrderState),
    /// A payment or cancellation that nobody answered: it may have worked.
    Doubtful,
}

impl Fate {
    /// True if its units were sold and its money taken, whatever went back since.
    pub(crate) fn is_sold(self) -> bool {
        use OrderState::{Paid, PartiallyRefunded, Refunded};
        matches!(self, Self::Told(Paid | PartiallyRefunded | Refunded))
    }
}

/// An accepted order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    order: [u64; 2],
    pub(crate) total_minor: i64,
    /// Number of the buy, from which its key follows.
    pub(crate) serial: u32,
    pub(crate) customer: u32,
    lines_at: u32,
    lines: u16,
    pub(crate) fate: Fate,
}

impl Entry {
    /// Its name.
    pub(crate) fn order(&self) -> OrderId {
        OrderId(u128::from(self.order[0]) << 64 | u128::from(self.order[1]))
    }
}

/// Most violations written out; the rest is counted.
const VIOLATIONS_MAX: usize = 100;

/// Broken rules, bounded.
#[derive(Clone, Default, Debug)]
pub(crate) struct Violations {
    lines: Vec<String>,
    found: u64,
}

impl Violations {
    /// Notes one.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        self.found += 1;
        if self.lines.len() < VIOLATIONS_MAX {
            self.lines.push(line());
        }
    }

    /// What was found; the last line counts what did not fit.
    pub(crate) fn into_lines(self) -> Vec<String> {
        let mut lines = self.lines;
        let more = self.found - lines.len() as u64;
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

/// All acceptances of a run.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
    lines: Vec<(u32, u32)>,
    bytes: Arc<AtomicU64>,
    /// Buys that may or may not have become an order: the client never heard.
    pub(crate) unknown: u64,
    /// Those of them whose connection was lost: what they asked for, to ask again under their keys.
    pub(crate) unheard: Vec<Unheard>,
    /// What went wrong while it ran.
    pub(crate) violations: Violations,
}

/// A buy whose answer never came.
#[derive(Clone, Debug)]
pub(crate) struct Unheard {
    /// Number of the buy, from which its key follows.
    pub(crate) serial: u32,
    pub(crate) customer: u32,
    pub(crate) lines: Basket,
}

impl Journal {
    /// Enters an acceptance; returns its number.
    pub(crate) fn enter(
        &mut self,
        order: OrderId,
        total_minor: i64,
        buyer: (u32, u32),
        lines: &[(u32, u32)],
    ) -> u32 {
        let (serial, customer) = buyer;
        let number = self.entries.len() as u32;
        self.entries.push(Entry {
            order: [(order.0 >> 64) as u64, order.0 as u64],
            total_minor,
            serial,
            customer,
            lines_at: self.lines.len() as u32,
            lines: lines.len() as u16,
            fate: Fate::Unpaid,
        });
        self.lines.extend_from_slice(lines);
        let bytes = size_of_val(&*self.entries) + size_of_val(&*self.lines);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
        number
    }

    /// How much memory the entries take, as anybody may read it while they grow.
    pub(crate) fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    /// Notes what the engine last said of an order.
    pub(crate) fn tell(&mut self, number: u32, state: OrderState) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            let open = matches!(state, OrderState::Pending | OrderState::Expired);
            entry.fate = if open { Fate::Unpaid } else { Fate::Told(state) };
        }
    }

    /// Notes that a change of an order went unanswered.
    pub(crate) fn doubt(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            entry.fate = Fate::Doubtful;
        }
    }

    /// All entries.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Lines of an entry.
    pub(crate) fn lines(&self, entry: &Entry) -> &[(u32, u32)] {
        let from = entry.lines_at as usize;
        &self.lines[from..from + usize::from(entry.lines)]
    }

    /// Units of each of `items` items in orders that ended like this.
    pub(crate) fn units(&self, items: usize, ended: impl Fn(Fate) -> bool) -> Vec<i64> {
        let mut units = vec![0; items];
        for entry in self.entries.iter().filter(|entry| ended(entry.fate)) {
            for (item, quantity) in self.lines(entry) {
                units[*item as usize] += i64::from(*quantity);
            }
        }
        units
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::Slot;

    use super::*;

    #[test]
    fn entries_give_back_what_was_entered() {
        let mut journal = Journal::default();
        let order = OrderId::new(Slot(200), 1_700_000_000_000_000, 3, 42);
        journal.enter(OrderId(1), 5, (0, 9), &[(0, 1)]);
        let number = journal.enter(order, 700, (1, 8), &[(1, 2), (0, 3)]);
        journal.tell(number, OrderState::Paid);
        let entry = journal.entries()[1];
        assert_eq!((entry.order(), entry.total_minor, entry.serial, entry.customer), (order, 700, 1, 8));
        assert_eq!(journal.lines(&entry), [(1, 2), (0, 3)]);
        assert_eq!(journal.units(2, Fate::is_sold), [3, 2], "the unpaid first order does not count");
        assert!(size_of::<Entry>() <= 48, "millions of these are kept");
        assert_eq!(journal.bytes().load(Ordering::Relaxed), 2 * size_of::<Entry>() as u64 + 3 * 8);
    }

    #[test]
    fn violations_are_bounded_and_counted() {
        let mut violations = Violations::default();
        (0..VIOLATIONS_MAX + 7).for_each(|number| violations.note(|| number.to_string()));
        let lines = violations.into_lines();
        assert_eq!(lines.len(), VIOLATIONS_MAX + 1);
        assert_eq!(lines.last().unwrap(), "and 7 more");
    }
}
