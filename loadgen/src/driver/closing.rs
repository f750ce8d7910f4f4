//! After the schedule: what declined buyers and expired holds gave back is offered to those who
//! went away empty, until everything is sold.

use std::time::Duration;

use onrush_proto::{Command, Outcome, Request, StockRow};
use smallvec::smallvec;

use super::{Driver, Due};
use crate::asking::{Unanswered, ask_all};

/// Rounds of offering; each ends with all its payments settled.
const ROUNDS_MAX: u32 = 1_000;
/// Units offered in one round.
const UNITS_PER_ROUND_MAX: i64 = 20_000;
/// Customers of the last call are numbered from here: nobody meets a limit.
const CUSTOMERS_FROM: u32 = 3_000_000_000;

impl Driver<'_> {
    /// Offers what is left of the sale's items until they are sold, or nothing moves any more.
    pub(super) fn sell_what_came_back(&mut self) {
        if self.tally.sold_out_ns.is_none() {
            return;
        }
        self.last_call = true;
        let patience_ns = self.plan.hold_us.saturating_mul(1_000) + 3_000_000_000;
        let until_ns = self.now_ns() + patience_ns;
        for _ in 0..ROUNDS_MAX {
            let Ok(rows) = self.sale_rows() else {
                self.journal
                    .violations
                    .note(|| "stock can be read after the run: expected answers, found none".into());
                return;
            };
            let held: i64 = rows.iter().map(|row| row.held).sum();
            let left: i64 = rows.iter().map(StockRow::available).sum();
            if (left == 0 && held == 0) || self.now_ns() > until_ns {
                return;
            }
            if left > 0 {
                self.offer(&rows);
                self.run_until_quiet();
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn offer(&mut self, rows: &[StockRow]) {
        let now_ns = self.now_ns();
        for (item, row) in (0u32..).zip(rows) {
            for _ in 0..row.available().min(UNITS_PER_ROUND_MAX) {
                let customer = CUSTOMERS_FROM.wrapping_add(self.next_serial);
                let buy = self.open_buy(customer, smallvec![(item, 1)], true);
                self.later(now_ns, buy, Due::Send { buy });
            }
        }
    }

    /// Owner's rows of the items the sale is about.
    fn sale_rows(&mut self) -> Result<Vec<StockRow>, Unanswered> {
        let items = &self.plan.items[..self.plan.sells_out as usize];
        let mut rows = Vec::with_capacity(items.len());
        let make = |index: u64| Request::unkeyed(Command::GetStock(items[index as usize].sku));
        ask_all(self.target, items.len() as u64, &make, &mut |index, outcome| {
            if let Outcome::Stock(row) = outcome {
                rows.push((index, *row));
            }
        })?;
        rows.sort_by_key(|(index, _)| *index);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}
