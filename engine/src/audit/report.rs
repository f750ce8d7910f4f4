//! What an audit found.

use onrush_proto::{Lsn, OrderState};

/// Violations kept; a broken rule tends to break for every row.
const VIOLATIONS_MAX: usize = 200;

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct AuditReport {
    /// True if every rule holds.
    pub ok: bool,
    /// One line per broken rule and key: what was expected, what was found.
    pub violations: Vec<String>,
    /// The last record that was looked at, per shard.
    pub cut: Vec<Lsn>,
    /// Violations beyond those kept.
    pub violations_dropped: u64,
    /// SKUs.
    pub skus: u64,
    /// Orders that were accepted, whatever became of them.
    pub orders: u64,
    /// Units ever received.
    pub units_received: i64,
    /// Units that a new order may take.
    pub units_available: i64,
    /// Units held.
    pub units_held: i64,
    /// Units sold.
    pub units_sold: i64,
    /// Orders over several shards that were open at the cut: their parts are listed, not judged.
    pub open_cross_shard: u64,
    /// A digest of all rows: nodes that have applied the same records have the same.
    pub state_hash: u128,
    /// Accepted orders by state.
    pub orders_by_state: Vec<(OrderState, u64)>,
}

impl AuditReport {
    pub(super) fn violate(&mut self, line: String) {
        match self.violations.len() < VIOLATIONS_MAX {
            true => self.violations.push(line),
            false => self.violations_dropped += 1,
        }
    }

    /// `rule: key: expected .., found ..` if the two differ.
    pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: impl Fn() -> String,
        expected: T,
        found: T,
    ) {
        if expected != found {
            self.violate(format!("{}: expected {expected:?}, found {found:?}", what()));
        }
    }

    /// Keeps of what is broken only what was broken before as well, about the same thing.
    pub(crate) fn broken_as_in(mut self, before: &Self) -> Self {
        let subject = |line: &str| line.split(": expected").next().unwrap_or(line).to_owned();
        let known: Vec<String> = before.violations.iter().map(|line| subject(line)).collect();
        self.violations.retain(|line| known.contains(&subject(line)));
        self.ok = self.violations.is_empty() && self.violations_dropped == 0;
        self
    }

    pub(super) fn count(&mut self, state: OrderState) {
        if state.is_unborn() || state == OrderState::Rejected {
            return;
        }
        self.orders += 1;
        match self.orders_by_state.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => self.orders_by_state.push((state, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(lines: &[&str]) -> AuditReport {
        AuditReport {
            violations: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..AuditReport::default()
        }
    }

    #[test]
    fn what_is_broken_about_the_same_thing_twice_stays() {
        let before = broken(&[
            "basket: 7: expected 2, found 1 held, 0 sold",
            "keys: ab: expected a claim, found none",
        ]);
        let after = broken(&[
            "basket: 7: expected 2, found 0 held, 1 sold",
            "keys: cd: expected a claim, found none",
        ]);
        let kept = after.broken_as_in(&before);
        assert_eq!(kept.violations, ["basket: 7: expected 2, found 0 held, 1 sold"]);
        assert!(!kept.ok);
        assert!(broken(&[]).broken_as_in(&kept).ok);
        let many = AuditReport { violations_dropped: 1, ..AuditReport::default() };
        assert!(!many.broken_as_in(&before).ok, "some of them were not kept");
    }
}
