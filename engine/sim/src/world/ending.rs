//! The liveness phase: faults and load end, and everything must come to an end.

use onrush_proto::{Command, CreateOrder, OrderLine, Outcome, Receipt, Refusal, Request};
use smallvec::smallvec;

use super::World;
use crate::clients::Shop;
use crate::invariants::{self, liveness};
use crate::node::Stage;
use crate::report::Verdict;

/// Rounds within which a quiet node must have nothing left to do.
const ROUNDS_MAX: usize = 20_000;
/// Simulated time between two looks at a quiet node: longer than any hold.
const STEP_US: u64 = 2_000_000_000;

impl World {
    pub(super) fn end(&mut self) -> Verdict {
        self.tell(|| "the load ends".to_owned());
        self.healed = true;
        // Whatever fault is armed goes with a last crash.
        self.crash()?;
        self.settle()?;
        for _ in 0..3 {
            self.now_us += STEP_US;
            for command in self.gateway.truths(&self.mirror) {
                self.send(Request::unkeyed(command))?;
            }
            self.settle()?;
        }
        liveness::at_rest(&self.mirror)?;
        invariants::baskets::settled(&self.mirror)?;
        invariants::payments::settled(&self.mirror)?;
        self.full_check()?;
        self.retry_everything()?;
        // What the retries ordered makes room.
        self.now_us += STEP_US;
        self.settle()?;
        self.fresh_orders()?;
        self.full_check()
    }

    /// Lets everything happen that can happen without time passing.
    fn settle(&mut self) -> Verdict {
        for _ in 0..ROUNDS_MAX {
            let mut busy = false;
            for index in 0..self.seats.len() {
                let ready = self.seats[index]
                    .live
                    .as_ref()
                    .is_some_and(|live| live.stage != Stage::Idle || live.is_ready(self.now_us));
                if ready {
                    busy = true;
                    self.advance(index)?;
                }
            }
            while let Some((from, to)) = self.links.busy(&mut self.schedule) {
                busy = true;
                self.deliver_from(from, to, usize::MAX)?;
            }
            if !busy && self.links.is_empty() {
                return Ok(());
            }
        }
        Err(liveness::stuck("a node that comes to rest", self.oracle.waiting()))
    }

    /// No key is running, and each acknowledged one still gets its receipt.
    fn retry_everything(&mut self) -> Verdict {
        let past: Vec<Request> = self.workload.past().to_vec();
        for request in past {
            let key = request.key;
            let known = self.oracle.receipt(key.0);
            let mut request = request;
            request.deadline_us = 0;
            let outcome = self.ask_and_wait(request)?;
            if outcome == Outcome::Refused(Refusal::KeyInProgress) {
                return Err(liveness::stuck("no running key", key));
            }
            if let (Some(known), Outcome::Accepted(receipt)) = (known, &outcome)
                && known != *receipt
            {
                return Err(liveness::stuck("the first receipt again", outcome));
            }
        }
        Ok(())
    }

    fn ask_and_wait(&mut self, request: Request) -> Result<Outcome, crate::report::Violation> {
        self.last_outcome = None;
        self.send(request)?;
        self.settle()?;
        self.last_outcome.take().ok_or_else(|| liveness::stuck("an answer", self.oracle.waiting()))
    }

    fn fresh_orders(&mut self) -> Verdict {
        for shard in 0..self.plan.shards {
            let ware = Shop::fresh(self.map, shard);
            let customer = self.workload.shop.customers[0];
            let create = CreateOrder { customer, lines: smallvec![OrderLine::new(ware.sku, 1)], hold_us: 0 };
            for command in [ware.put(ware.price, true), ware.stock(), Command::CreateOrder(create)] {
                let ordered = matches!(command, Command::CreateOrder(_));
                let request = self.workload.keyed(command);
                let outcome = self.ask_and_wait(request)?;
                let fits = match outcome {
                    Outcome::Accepted(Receipt::Order { .. }) => true,
                    Outcome::Accepted(_) => !ordered,
                    _ => false,
                };
                if !fits {
                    return Err(liveness::stuck("a fresh order taken on every shard", outcome));
                }
            }
        }
        Ok(())
    }
}
