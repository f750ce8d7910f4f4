//! Reads under the sale: product pages and validations.

use super::{Driver, Flight};
use crate::operation::{Operation, Verdict};
use crate::plan::SECOND_NS;
use crate::target::{Page, Viewed};

impl Driver<'_> {
    /// Reads the next page, if one is due. It is for the item that buyers want at that moment.
    pub(super) fn read(&mut self, now_ns: u64) -> bool {
        if !self.target.has_room() {
            return false;
        }
        let Some(at_ns) = self.reads.as_mut().and_then(|reads| reads.next_if(|at_ns| *at_ns <= now_ns))
        else {
            return false;
        };
        let Some(mix) = &self.plan.reads else { return false };
        let before = at_ns < (self.plan.start_s * SECOND_NS as f64) as u64;
        let validates = if before { mix.validate_before } else { mix.validate_after };
        let (page, operation) = if self.habits.chance(validates) {
            (Page::Validate, Operation::Validate)
        } else {
            (Page::Product, Operation::GetProduct)
        };
        let wish = self.plan.demand.wish(self.next_serial, at_ns, &mut self.habits);
        let item = wish.and_then(|wish| wish.lines.first().map(|line| line.0)).unwrap_or(0);
        let sku = self.plan.items[item as usize].sku;
        let flight =
            Flight { operation, intended_ns: at_ns, buy: None, number: 0, abandoned: false, lost: false };
        let tag = self.flights.insert(flight);
        let verdict = match self.target.view(tag.0, page, &sku) {
            Viewed::Sent => {
                self.last_send_ns = self.now_ns();
                return true;
            }
            Viewed::Found => Verdict::Accepted,
            Viewed::Missing => Verdict::Error,
        };
        self.flights.remove(tag);
        let done_ns = self.now_ns();
        self.recorder.record(operation, verdict, done_ns.saturating_sub(at_ns), done_ns);
        true
    }
}
