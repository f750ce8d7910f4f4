//! What consumer groups keep of the log.
//!
//! Groups that carry money or goods keep all that they have not read. Others keep theirs up to a
//! budget of bytes and of time; what goes beyond it is lost to them, and they are told so by the
//! first position that is left.

use std::collections::{BTreeMap, VecDeque};

use onrush_proto::{OffsetRow, Text, Topic};

use crate::options::RetentionOptions;

/// Marks within the budget: its steps.
const MARKS: u64 = 256;

/// A group's reading of one topic.
type Reader = (Text<47>, u8);

/// Where a stretch of log begins.
#[derive(Clone, Copy, Debug)]
struct Mark {
    first_lsn: u64,
    /// Log bytes in front of it, since this process began.
    bytes: u64,
    time_us: u64,
}

/// Positions of consumer groups, and how far behind the end they may be.
pub(crate) struct Retention {
    budget: RetentionOptions,
    /// The last record done with, of groups that carry money or goods.
    owed: BTreeMap<Reader, u64>,
    /// The same of all other groups.
    others: BTreeMap<Reader, u64>,
    /// Stretches of log within the budget, oldest first. What lies before the first one when the
    /// process begins counts as written then.
    marks: VecDeque<Mark>,
    bytes: u64,
    time_us: u64,
    /// The budget does not reach below this record.
    floor: u64,
}

impl Retention {
    pub(crate) fn new(budget: RetentionOptions) -> Self {
        let (owed, others) = (BTreeMap::new(), BTreeMap::new());
        Self { budget, owed, others, marks: VecDeque::new(), bytes: 0, time_us: 0, floor: 0 }
    }

    pub(crate) fn set_budget(&mut self, budget: RetentionOptions) {
        self.budget = budget;
    }

    /// Notes a group's position.
    pub(crate) fn note(&mut self, row: &OffsetRow) {
        let groups = if Topic::holds_log(row.topic) { &mut self.owed } else { &mut self.others };
        groups.insert((row.group, row.topic), row.lsn);
    }

    /// Counts a frame of the log.
    pub(crate) fn grow(&mut self, first_lsn: u64, bytes: u64, time_us: u64) {
        self.time_us = self.time_us.max(time_us);
        let step = self.budget.bytes_max / MARKS;
        let age_step_us = self.budget.age_us_max / MARKS;
        let due = self
            .marks
            .back()
            .is_none_or(|mark| self.bytes - mark.bytes > step || self.time_us - mark.time_us > age_step_us);
        if due {
            self.marks.push_back(Mark { first_lsn, bytes: self.bytes, time_us: self.time_us });
        }
        self.bytes += bytes;
        self.spend(first_lsn);
    }

    /// Lets go of stretches beyond the budget. The one that ends the log stays.
    fn spend(&mut self, newest_lsn: u64) {
        while let Some(mark) = self.marks.front() {
            let beyond = self.bytes - mark.bytes > self.budget.bytes_max
                || self.time_us - mark.time_us > self.budget.age_us_max;
            if !beyond || mark.first_lsn == newest_lsn {
                return;
            }
            self.marks.pop_front();
            self.floor = self.marks.front().map_or(newest_lsn, |mark| mark.first_lsn);
        }
    }

    /// The first record that a group still has a claim to; `u64::MAX` if there is none.
    pub(crate) fn first_owed(&self) -> u64 {
        let unread = |groups: &BTreeMap<Reader, u64>| groups.values().min().map(|lsn| lsn + 1);
        let others = unread(&self.others).map(|first| first.max(self.floor));
        unread(&self.owed).into_iter().chain(others).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    fn position(group: &str, topic: Topic, lsn: u64) -> OffsetRow {
        OffsetRow { group: group.parse().unwrap(), topic: topic as u8, lsn }
    }

    /// One record of 100 bytes a second, with a budget of ten of them and of a minute.
    fn minute_of_log(records: std::ops::Range<u64>, retention: &mut Retention) {
        for lsn in records {
            retention.grow(lsn, 100, lsn * SECOND_US);
        }
    }

    fn budget(bytes_max: u64, age_s: u64) -> Retention {
        Retention::new(RetentionOptions { bytes_max, age_us_max: age_s * SECOND_US })
    }

    #[test]
    fn groups_keep_the_log_up_to_a_budget_and_money_without_one() {
        for (bytes_max, age_s, first) in [(1_000, 3_600, 91), (1 << 40, 10, 90), (1 << 40, 3_600, 6)] {
            let mut retention = budget(bytes_max, age_s);
            assert_eq!(retention.first_owed(), u64::MAX, "nobody reads");
            retention.note(&position("mail", Topic::OrderCreated, 5));
            minute_of_log(1..101, &mut retention);
            assert_eq!(retention.first_owed(), first, "{bytes_max} bytes, {age_s} s");
            retention.note(&position("stock", Topic::StockUpdated, 97));
            assert_eq!(retention.first_owed(), first, "the slower one counts");
            retention.note(&position("mail", Topic::OrderCreated, 98));
            assert_eq!(retention.first_owed(), 98);
            retention.note(&position("gateway", Topic::PaymentStarted, 3));
            assert_eq!(retention.first_owed(), 4, "money waits for ever");
        }
    }

    #[test]
    fn what_was_there_before_the_start_counts_as_young() {
        let mut retention = budget(1_000, 3_600);
        retention.note(&position("mail", Topic::OrderCreated, 5));
        minute_of_log(1_000..1_010, &mut retention);
        assert_eq!(retention.first_owed(), 6);
        minute_of_log(1_010..1_011, &mut retention);
        assert_eq!(retention.first_owed(), 1_001);
    }

    #[test]
    fn marks_are_few_however_long_the_log() {
        let mut retention = budget(1 << 30, 86_400);
        for lsn in 1..200_000 {
            retention.grow(lsn, 64 << 10, lsn * 1_000);
        }
        assert!(retention.marks.len() <= MARKS as usize + 2, "{}", retention.marks.len());
        assert!(retention.floor > 0);
    }
}
