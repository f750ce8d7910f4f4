//! Orders over several shards: hold, confirm, release.
//!
//! Home records the order as reserving, then asks every participant for a hold; a hold never
//! waits, so there is nothing to deadlock. When all are durable one record at home accepts the
//! order. Participants never expire a hold by themselves: past the deadline they ask home, whose
//! recorded answer decides. A home that takes office gives up every reserving order.

use std::collections::BTreeMap;

use onrush_proto::{
    CreateOrder, Fact, HoldRow, HoldState, IdempotencyKey, Line, Lines, OrderId, OrderLine, OrderRow,
    OrderState, RecordKind, Refusal, Request, Row, ShardId, Slot,
};
use smallvec::SmallVec;

use super::decide::is_short;
use super::{Effects, HoldRequest, Input, Origin, PeerMessage, Shard};
use crate::rules::inventory::{self, Holdable, Resolution};
use crate::rules::{Accepted, orders};
use crate::tables::hash_of;

/// An order that waits for its holds.
pub(crate) struct Reservation {
    origin: Origin,
    key: IdempotencyKey,
    body: u64,
    waiting: SmallVec<[ShardId; 4]>,
    priced: Lines,
}

impl Shard {
    /// Begins an order over several shards.
    pub(crate) fn reserve(
        &mut self,
        origin: Origin,
        (request, create): (&Request, &CreateOrder),
        accepted: Accepted,
        out: &mut Effects,
    ) {
        let onrush_proto::Receipt::Order { order, total, held_until_us } = accepted.receipt else { return };
        self.record(accepted.fact, out);
        let mut parts: BTreeMap<ShardId, SmallVec<[(u16, OrderLine); 4]>> = BTreeMap::new();
        for (index, line) in create.lines.iter().enumerate() {
            let owner = self.options.map.shard(Slot::of(line.sku.as_bytes()));
            if owner != self.options.id {
                parts.entry(owner).or_default().push((index as u16, *line));
            }
        }
        let waiting = parts.keys().copied().collect();
        for (owner, lines) in parts {
            let (customer, currency) = (create.customer, total.currency);
            let hold = HoldRequest { order, customer, currency, lines, deadline_us: held_until_us };
            out.outbound.push((owner, PeerMessage::Hold(Box::new(hold))));
        }
        if !request.key.is_none() {
            self.begin_call(request.key, self.options.id);
        }
        let (key, body) = (request.key, request.body);
        self.reservations.insert(order, Reservation { origin, key, body, waiting, priced: Lines::new() });
    }

    /// Participant: home asks for a hold.
    pub(crate) fn hold(&mut self, home: ShardId, request: Box<HoldRequest>, out: &mut Effects) {
        let order = request.order;
        let mut decision = self.decide_hold(&request);
        if self.backlog && decision.as_ref().is_err_and(is_short) {
            if !self.sweep_all(out) {
                self.postponed = Some(Input::Peer { from: home, message: PeerMessage::Hold(request) });
                return;
            }
            decision = self.decide_hold(&request);
        }
        let message = match decision {
            Err(refusal) => PeerMessage::HoldRefused { order, refusal },
            Ok(held) => {
                let row = HoldRow {
                    order,
                    customer: request.customer,
                    lines: held.lines.clone(),
                    state: HoldState::Held,
                    deadline_us: request.deadline_us,
                };
                let mut fact =
                    Fact::new(RecordKind::HoldPlaced, hash_of(&order)).with(Row::Hold(Box::new(row)));
                fact.rows.extend(held.rows);
                self.record(fact, out);
                PeerMessage::Held { order, lines: held.lines }
            }
        };
        out.outbound.push((home, message));
    }

    fn decide_hold(&self, request: &HoldRequest) -> Result<Holdable, Refusal> {
        if let Some(hold) = self.state.holds.row(&request.order) {
            return Err(Refusal::HoldResolved { by: hold.state });
        }
        let lines = request.lines.iter().map(|(index, line)| (*index, line));
        inventory::hold(&self.state, &self.context(), &request.customer, Some(request.currency), lines)
    }

    /// Home: a participant holds its lines.
    pub(crate) fn held(&mut self, order: OrderId, lines: Lines, from: ShardId, out: &mut Effects) {
        let context = self.context();
        let Some(reservation) = self.reservations.get_mut(&order) else { return };
        reservation.waiting.retain(|shard| *shard != from);
        reservation.priced.extend(lines);
        if !reservation.waiting.is_empty() {
            return;
        }
        let Some(row) = self.state.orders.row(&order) else { return };
        if row.held_until_us <= self.now_us {
            return self.give_up(order, Refusal::DeadlineExceeded, out);
        }
        match orders::accept(&context, row, &reservation.priced) {
            Err(refusal) => self.give_up(order, refusal, out),
            Ok(accepted) => {
                if let Some(reservation) = self.close_reservation(order) {
                    self.accept(reservation.origin, reservation.key, reservation.body, accepted, out);
                }
            }
        }
    }

    /// Home: a participant cannot hold its lines.
    pub(crate) fn hold_refused(&mut self, order: OrderId, refusal: Refusal, out: &mut Effects) {
        if self.reservations.contains_key(&order) {
            self.give_up(order, refusal, out);
        }
    }

    /// Home: gives up a reserving order and tells every participant.
    pub(crate) fn give_up(&mut self, order: OrderId, refusal: Refusal, out: &mut Effects) {
        let Some(row) = self.state.orders.row(&order) else { return };
        let fact = orders::reject(&self.state, &self.context(), row);
        self.record(fact, out);
        self.resolve_elsewhere(order, RecordKind::OrderRejected, out);
        if let Some(reservation) = self.close_reservation(order) {
            self.refuse(reservation.origin, reservation.key, refusal, out);
        }
    }

    fn close_reservation(&mut self, order: OrderId) -> Option<Reservation> {
        let reservation = self.reservations.remove(&order)?;
        self.running.remove(&reservation.key);
        Some(reservation)
    }

    /// Home: tells participants what a record of kind `kind` means for their holds.
    pub(crate) fn resolve_elsewhere(&mut self, order: OrderId, kind: RecordKind, out: &mut Effects) {
        let Some(row) = self.state.orders.row(&order) else { return };
        if row.lines.len() < 2 {
            return;
        }
        let how = match kind {
            RecordKind::OrderRejected => Resolution::Reject,
            RecordKind::OrderExpired | RecordKind::OrderCancelled => Resolution::Release,
            RecordKind::PaymentCaptured => Resolution::Capture,
            RecordKind::RefundSucceeded if row.state == OrderState::Cancelled => {
                return self.return_units(order, self.participants(&row.lines), out);
            }
            _ => return,
        };
        let until_us = row.held_until_us;
        for owner in self.participants(&row.lines) {
            out.outbound.push((owner, PeerMessage::Resolve { order, how, until_us }));
        }
    }

    pub(crate) fn participants(&self, lines: &[Line]) -> SmallVec<[ShardId; 4]> {
        let mut owners: SmallVec<[ShardId; 4]> =
            lines.iter().map(|line| self.options.map.shard(Slot::of(line.sku.as_bytes()))).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.retain(|owner| *owner != self.options.id);
        owners
    }

    /// Participant: home says what becomes of a hold. Saying it twice changes nothing.
    pub(crate) fn resolve_hold(&mut self, order: OrderId, how: Resolution, until_us: u64, out: &mut Effects) {
        let Some(hold) = self.state.holds.row(&order) else {
            return self.remember_release(order, how, until_us, out);
        };
        let (state, kind) = match (hold.state, how) {
            (HoldState::Held, Resolution::Capture) => (HoldState::Captured, RecordKind::HoldCaptured),
            (HoldState::Held, Resolution::Release | Resolution::Reject) => {
                (HoldState::Released, RecordKind::HoldReleased)
            }
            (HoldState::Captured, Resolution::Return) => (HoldState::Returned, RecordKind::HoldReleased),
            _ => return,
        };
        let rows = inventory::resolve(&self.state, &self.context(), &hold.customer, &hold.lines, how);
        let row = HoldRow { state, ..hold.clone() };
        let mut fact = Fact::new(kind, hash_of(&order)).with(Row::Hold(Box::new(row)));
        fact.rows.extend(rows);
        self.record(fact, out);
    }

    /// Participant: tells home that its return needs no repetition. While the hold still waits for
    /// the capture that went before, it does.
    pub(crate) fn acknowledge_return(
        &mut self,
        home: ShardId,
        order: OrderId,
        how: Resolution,
        out: &mut Effects,
    ) {
        let held = self.state.holds.row(&order).is_some_and(|hold| hold.state == HoldState::Held);
        if how == Resolution::Return && !held {
            out.outbound.push((home, PeerMessage::Returned { order }));
        }
    }

    /// A release for a hold that never came: remembered, so that the hold is refused if it comes.
    fn remember_release(&mut self, order: OrderId, how: Resolution, until_us: u64, out: &mut Effects) {
        if !matches!(how, Resolution::Release | Resolution::Reject) || until_us <= self.now_us {
            return;
        }
        let row = HoldRow {
            order,
            customer: Default::default(),
            lines: Lines::new(),
            state: HoldState::Released,
            deadline_us: until_us,
        };
        self.record(Fact::new(RecordKind::HoldReleased, hash_of(&order)).with(Row::Hold(Box::new(row))), out);
    }

    /// Home: a participant asks what became of an order.
    pub(crate) fn asked(&mut self, from: ShardId, order: OrderId, out: &mut Effects) {
        self.bury(order, out);
        let row = self.state.orders.row(&order);
        let how = match row.map(|row| row.state) {
            None | Some(OrderState::Rejected) => Resolution::Reject,
            Some(OrderState::Reserving | OrderState::Pending) => return,
            Some(OrderState::Cancelled | OrderState::Expired) => Resolution::Release,
            Some(_) => Resolution::Capture,
        };
        let until_us = row.map_or(self.now_us, |row| row.held_until_us);
        let returned = row.is_some_and(|row| was_sold(row) && row.state == OrderState::Cancelled);
        if returned {
            out.outbound.push((from, PeerMessage::Resolve { order, how: Resolution::Capture, until_us }));
            out.outbound.push((from, PeerMessage::Resolve { order, how: Resolution::Return, until_us }));
        } else {
            out.outbound.push((from, PeerMessage::Resolve { order, how, until_us }));
        }
    }

    /// What a shard does first: gives up what it had not finished, and asks about what it holds.
    pub(crate) fn take_office(&mut self, out: &mut Effects) {
        let reserving = |row: &OrderRow| row.state == OrderState::Reserving;
        let mut unfinished: Vec<OrderId> =
            self.state.orders.iter().filter(|entry| reserving(&entry.row)).map(|entry| entry.key).collect();
        unfinished.sort_unstable();
        for order in unfinished {
            self.give_up(order, Refusal::Stopped, out);
        }
        self.return_again(out);
        let open = |row: &HoldRow| row.state == HoldState::Held;
        let mut held: Vec<OrderId> =
            self.state.holds.iter().filter(|entry| open(&entry.row)).map(|entry| entry.key).collect();
        held.sort_unstable();
        for order in held {
            let home = self.options.map.shard(order.slot());
            out.outbound.push((home, PeerMessage::Ask { order }));
        }
    }
}

/// True if the order was called off after it was paid.
fn was_sold(row: &OrderRow) -> bool {
    row.payment.as_ref().is_some_and(|payment| payment.refunds.iter().any(|refund| refund.cancels))
}
