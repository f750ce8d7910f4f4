//! The liveness phase: faults and load end, and everything must come to an end.

use onrush_engine::audit::{ShardCut, audit};
use onrush_proto::{CancelOrder, Command, CreateOrder, OrderLine, Outcome, Receipt, Refusal, Request};
use smallvec::smallvec;

use super::World;
use crate::clients::Shop;
use crate::invariants::{self, liveness};
use crate::node::Stage;
use crate::report::{Verdict, Violation};

/// Rounds within which a quiet node must have nothing left to do.
const ROUNDS_MAX: usize = 20_000;
/// Simulated seconds within which all that is open comes to an end: longer than any hold.
const SECONDS_MAX: u64 = 30;
/// Orders that a healed node must take.
const FRESH_ORDERS: u16 = 100;

impl World {
    pub(super) fn end(&mut self) -> Verdict {
        self.tell(|| "the load ends".to_owned());
        self.healed = true;
        // Whatever fault is armed goes with a last crash.
        self.crash()?;
        if self.over {
            return Ok(());
        }
        self.settle()?;
        for _ in 0..SECONDS_MAX {
            self.now_us += 1_000_000;
            for command in self.gateway.truths(&self.mirror) {
                self.send(Request::unkeyed(command))?;
            }
            self.settle()?;
        }
        liveness::at_rest(&self.mirror)?;
        invariants::baskets::settled(&self.mirror)?;
        invariants::payments::settled(&self.mirror)?;
        self.full_check()?;
        self.audit()?;
        self.retry_everything()?;
        // What the retries ordered makes room.
        self.now_us += SECONDS_MAX * 1_000_000;
        self.settle()?;
        self.fresh_orders()?;
        self.read_to_the_end()?;
        self.full_check()
    }

    /// The product's own audit, on a cut of all shards.
    fn audit(&mut self) -> Verdict {
        let failed = |error: String| Violation::new("audit", "books that can be read", error);
        let mut shards = Vec::new();
        for index in 0..self.seats.len() {
            self.absorb(index)?;
            let live = self.seats[index].live.as_mut();
            let Some(flusher) = live.and_then(|live| live.flusher.as_mut()) else { continue };
            shards.push(ShardCut { rows: flusher.rows().map_err(failed)?, ceiling: None });
        }
        let report = audit(&shards, self.mirror.map, self.mirror.hasher);
        invariants::audit::clean(&self.mirror, &report.map_err(|error| failed(error.to_string()))?)
    }

    /// Every subscriber reads what is left.
    fn read_to_the_end(&mut self) -> Verdict {
        for at in 0..self.readers.len() {
            while self.read(at, usize::MAX)? {}
        }
        Ok(())
    }

    /// Lets everything happen that can happen without time passing.
    pub(super) fn settle(&mut self) -> Verdict {
        for _ in 0..ROUNDS_MAX {
            let mut busy = false;
            for index in 0..self.seats.len() {
                let ready = self.seats[index].live.as_ref().is_some_and(|live| match live.stage {
                    Stage::Idle => !live.open.is_empty() || live.is_ready(self.now_us),
                    Stage::Stopped => false,
                    Stage::Decided | Stage::Durable => true,
                });
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

    /// Orders for goods that nobody has touched, each called off again to make room.
    fn fresh_orders(&mut self) -> Verdict {
        let wares: Vec<_> = (0..self.plan.shards).map(|shard| Shop::fresh(self.mirror.map, shard)).collect();
        for ware in &wares {
            for command in [ware.put(ware.price, true), ware.stock()] {
                let request = self.workload.keyed(command);
                let outcome = self.ask_and_wait(request)?;
                if !matches!(outcome, Outcome::Accepted(_)) {
                    return Err(liveness::stuck("fresh goods on every shard", outcome));
                }
            }
        }
        for ware in wares.iter().cycle().take(usize::from(FRESH_ORDERS.max(self.plan.shards))) {
            let customer = self.workload.shop.customers[0];
            let create = CreateOrder { customer, lines: smallvec![OrderLine::new(ware.sku, 1)], hold_us: 0 };
            let request = self.workload.keyed(Command::CreateOrder(create));
            let outcome = self.ask_and_wait(request)?;
            let Outcome::Accepted(Receipt::Order { order, .. }) = outcome else {
                return Err(liveness::stuck("a fresh order taken on every shard", outcome));
            };
            let outcome = self.ask_and_wait(Request::unkeyed(Command::CancelOrder(CancelOrder { order })))?;
            if !matches!(outcome, Outcome::Accepted(_)) {
                return Err(liveness::stuck("a fresh order called off", outcome));
            }
        }
        Ok(())
    }
}
