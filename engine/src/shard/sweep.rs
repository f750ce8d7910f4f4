//! Expiry: at the deadline a hold is dead, swept or not.

use onrush_proto::planted::planted;
use onrush_proto::{OrderId, OrderRow, Refusal};

use super::{Effects, PeerMessage, Shard, Want};
use crate::rules::{inventory, orders};
use crate::tables::Memory;

/// Most dead orders that one turn sweeps before it looks at its inputs.
const SWEEP_MAX: usize = 1_024;
/// How long a participant waits before it asks home again, in us.
const ASK_AGAIN_US: u64 = 1_000_000;

impl Shard {
    /// Expires what is due, within a bound; asks homes about due holds.
    pub(crate) fn sweep(&mut self, out: &mut Effects) {
        self.backlog = !self.sweep_orders(SWEEP_MAX, out);
        for _ in 0..SWEEP_MAX {
            let Some(order) = self.state.holds.pop_due(self.now_us) else { break };
            self.hold_due(order, out);
        }
    }

    /// Expires everything that is due before a decision that rests on it. False if that takes
    /// another turn: the frame is full, or the store must be asked first.
    pub(crate) fn sweep_all(&mut self, out: &mut Effects) -> bool {
        if self.backlog {
            self.backlog = !self.sweep_orders(usize::MAX, out);
        }
        !self.backlog
    }

    /// True if nothing due is left.
    fn sweep_orders(&mut self, most: usize, out: &mut Effects) -> bool {
        let mut waiting = Vec::new();
        let mut swept = 0;
        let bytes_max = self.options.frame_bytes_max;
        while swept < most && waiting.len() < SWEEP_MAX && out.frame.len_bytes() < bytes_max {
            let Some(order) = self.state.orders.pop_due(self.now_us) else {
                let all = waiting.is_empty();
                self.rearm(&waiting);
                return all;
            };
            swept += 1;
            if !self.expire(order, out) {
                waiting.push(order);
            }
        }
        self.rearm(&waiting);
        false
    }

    fn rearm(&mut self, waiting: &[OrderId]) {
        for order in waiting {
            self.state.orders.rearm(order, self.now_us);
        }
    }

    /// Expires one order if it is dead; false if a row that this needs must come from the store.
    fn expire(&mut self, id: OrderId, out: &mut Effects) -> bool {
        let Some(order) = self.state.orders.row(&id) else { return true };
        let missing = self.missing_counts(order);
        if !missing.is_empty() {
            self.wanted.extend(missing);
            return false;
        }
        if order.state.is_unborn() {
            self.give_up(id, Refusal::DeadlineExceeded, out);
            return true;
        }
        let fact = orders::expire(&self.state, &self.context(), order);
        let kind = fact.kind;
        self.record(fact, out);
        self.resolve_elsewhere(id, kind, out);
        true
    }

    /// Counts that closing this order gives back and that only the store has. An order that never
    /// came to be gives back what others keep, and needs all of them when it holds its lines.
    pub(crate) fn missing_counts(&self, order: &OrderRow) -> Vec<Want> {
        let context = self.context();
        let unborn = order.state.is_unborn();
        let returning = order.lines.iter().filter(|line| {
            let stock = self.state.stock.row(&line.sku);
            stock.is_some_and(|stock| stock.limit_per_customer > 0 && (stock.limit_returns || unborn))
        });
        returning
            .map(|line| inventory::limit_hash(&context, &line.sku, &order.customer))
            .filter(|hash| self.state.limits.recall(*hash) == Memory::Cold)
            .map(Want::Limit)
            .collect()
    }

    /// Before an order is looked at: if it is dead, its expiry is recorded first.
    pub(crate) fn bury(&mut self, order: OrderId, out: &mut Effects) {
        if self.state.orders.row(&order).is_some_and(|row| orders::is_dead(row, self.now_us)) {
            self.expire(order, out);
        }
    }

    fn hold_due(&mut self, order: OrderId, out: &mut Effects) {
        let Some(hold) = self.state.holds.row(&order) else { return };
        if hold.state != onrush_proto::HoldState::Held {
            // A release that came before its hold has done its work: the hold cannot come any more.
            return self.state.holds.close(&order);
        }
        if planted(12) {
            return self.resolve_hold(order, inventory::Resolution::Release, 0, out);
        }
        let home = self.options.map.shard(order.slot());
        out.outbound.push((home, PeerMessage::Ask { order }));
        self.state.holds.rearm(&order, self.now_us + ASK_AGAIN_US);
    }
}
