//! Orders over several shards: hold, confirm, release.
//!
//! Home records the order as reserving, then asks every participant for a hold; a hold never
//! waits, so there is nothing to deadlock. When all are durable one record at home accepts the
//! order. Participants never expire a hold by themselves: past the deadline they ask home, whose
//! recorded answer decides. A home that takes office gives up every reserving order.
//!
//! Two orders may each hold what the other wants. Who is refused for units that are only held lets
//! go of everything and tries once more, asking one shard after the other in their order; whoever
//! holds the first of them comes through. The refusal of a second try stands.

use std::collections::BTreeMap;

use onrush_proto::{
    Command, CreateOrder, Fact, HoldRow, HoldState, Line, Lines, OrderId, OrderRow, OrderState, Payment,
    RecordKind, Refusal, Request, Row, ShardId, Slot,
};
use smallvec::SmallVec;

use super::decide::is_short;
use super::{Effects, HoldRequest, Input, Origin, Part, PeerMessage, ReplyTo, Shard};
use crate::rules::inventory::{self, Holdable, Resolution};
use crate::rules::{Accepted, orders};
use crate::tables::hash_of;

/// An order that waits for its holds.
pub(crate) struct Reservation {
    origin: Origin,
    request: Request,
    /// Participants that have not answered.
    waiting: SmallVec<[ShardId; 4]>,
    /// In a second try, the shards to come, home among them.
    queue: BTreeMap<ShardId, Part>,
    /// True for a second try: its refusal stands.
    second: bool,
    priced: Lines,
}

impl Shard {
    /// Begins an order over several shards: its lines here are held, all others are asked for at once.
    pub(crate) fn reserve(
        &mut self,
        origin: Origin,
        request: &Request,
        create: &CreateOrder,
        accepted: Accepted,
        out: &mut Effects,
    ) {
        let onrush_proto::Receipt::Order { order, .. } = accepted.receipt else { return };
        self.record(accepted.fact, out);
        let mut parts = self.parts(create);
        parts.remove(&self.options.id);
        let waiting = parts.keys().copied().collect();
        for (owner, lines) in parts {
            self.ask_for_hold(order, owner, lines, out);
        }
        let (request, queue) = (request.clone(), BTreeMap::new());
        let reservation =
            Reservation { origin, request, waiting, queue, second: false, priced: Lines::new() };
        self.open_reservation(order, reservation);
    }

    /// Begins the second try of an order that others stood in the way of, and that may have stood in
    /// theirs: one shard after the other in their order, so of those that want the same units one
    /// comes through.
    fn reserve_in_order(&mut self, origin: Origin, request: Request, out: &mut Effects) {
        let Command::CreateOrder(create) = &request.command else { return };
        match orders::queue(&self.state, &self.context(), &request, create) {
            Err(refusal) => self.refuse(origin, request.key, refusal, out),
            Ok(Accepted { fact, receipt: onrush_proto::Receipt::Order { order, .. } }) => {
                self.record(fact, out);
                let (waiting, queue) = (SmallVec::new(), self.parts(create));
                let reservation =
                    Reservation { origin, request, waiting, queue, second: true, priced: Lines::new() };
                self.open_reservation(order, reservation);
                self.go_on(order, out);
            }
            Ok(_) => {}
        }
    }

    /// An order's lines by the shard that they live on.
    fn parts(&self, create: &CreateOrder) -> BTreeMap<ShardId, Part> {
        let mut parts: BTreeMap<ShardId, Part> = BTreeMap::new();
        for (index, line) in create.lines.iter().enumerate() {
            let owner = self.options.map.shard(Slot::of(line.sku.as_bytes()));
            parts.entry(owner).or_default().push((index as u16, *line));
        }
        parts
    }

    fn ask_for_hold(&self, order: OrderId, owner: ShardId, lines: Part, out: &mut Effects) {
        let Some(row) = self.state.orders.row(&order) else { return };
        let (customer, currency, deadline_us) = (row.customer, row.total.currency, row.held_until_us);
        let hold = HoldRequest { order, customer, currency, lines, deadline_us };
        out.outbound.push((owner, PeerMessage::Hold(Box::new(hold))));
    }

    fn open_reservation(&mut self, order: OrderId, reservation: Reservation) {
        let key = reservation.request.key;
        if !key.is_none() {
            self.begin_call(key, self.options.id);
        }
        self.reservations.insert(order, reservation);
    }

    /// Participant: home asks for a hold.
    pub(crate) fn hold(&mut self, home: ShardId, request: Box<HoldRequest>, out: &mut Effects) {
        let order = request.order;
        if self.lagging {
            let refused = PeerMessage::HoldRefused { order, refusal: Refusal::Overloaded, contested: false };
            return out.outbound.push((home, refused));
        }
        let mut decision = self.decide_hold(&request);
        if self.backlog && decision.as_ref().is_err_and(is_short) {
            if !self.sweep_all(out) {
                self.postponed = Some(Input::Peer { from: home, message: PeerMessage::Hold(request) });
                return;
            }
            decision = self.decide_hold(&request);
        }
        let message = match decision {
            Err(refusal) => {
                let contested = self.is_contested(&request, &refusal);
                PeerMessage::HoldRefused { order, refusal, contested }
            }
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

    /// True if units that are held, and may come back, are all that is in the way.
    fn is_contested(&self, request: &HoldRequest, refusal: &Refusal) -> bool {
        let line = |at: u16| request.lines.iter().find(|(index, _)| *index == at).map(|(_, line)| line);
        match *refusal {
            Refusal::OutOfStock { line: at, asked, .. } => {
                let stock = line(at).and_then(|line| self.state.stock.row(&line.sku));
                stock.is_some_and(|stock| stock.on_hand + i64::from(stock.backorder) >= i64::from(asked))
            }
            Refusal::LimitExceeded { line: at, limit, .. } => {
                line(at).is_some_and(|line| line.quantity <= i64::from(limit))
            }
            _ => false,
        }
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
        let Some(reservation) = self.reservations.get(&order) else { return };
        // Lines here may be next, and fall short of units that are due.
        if reservation.second && !self.sweep_all(out) {
            let message = PeerMessage::Held { order, lines };
            self.postponed = Some(Input::Peer { from, message });
            return;
        }
        let Some(reservation) = self.reservations.get_mut(&order) else { return };
        reservation.waiting.retain(|shard| *shard != from);
        reservation.priced.extend(lines);
        self.go_on(order, out);
    }

    /// Home: asks the next shard, or accepts the order if all hold their lines.
    fn go_on(&mut self, order: OrderId, out: &mut Effects) {
        while let Some(reservation) = self.reservations.get_mut(&order)
            && reservation.waiting.is_empty()
        {
            let Some((owner, lines)) = reservation.queue.pop_first() else {
                return self.all_held(order, out);
            };
            if owner != self.options.id {
                reservation.waiting.push(owner);
                self.ask_for_hold(order, owner, lines, out);
            } else if let Err(refusal) = self.hold_here(order, &lines, out) {
                self.give_up(order, refusal, out);
            }
        }
    }

    fn hold_here(&mut self, order: OrderId, lines: &Part, out: &mut Effects) -> Result<(), Refusal> {
        let row = self.state.orders.row(&order).ok_or(Refusal::NotFound)?;
        let fact = orders::hold_queued(&self.state, &self.context(), row, lines)?;
        self.record(fact, out);
        Ok(())
    }

    fn all_held(&mut self, order: OrderId, out: &mut Effects) {
        let (Some(reservation), Some(row)) = (self.reservations.get(&order), self.state.orders.row(&order))
        else {
            return;
        };
        if row.held_until_us <= self.now_us {
            return self.give_up(order, Refusal::DeadlineExceeded, out);
        }
        match orders::accept(&self.context(), row, &reservation.priced) {
            Err(refusal) => self.give_up(order, refusal, out),
            Ok(accepted) => {
                if let Some(Reservation { origin, request, .. }) = self.close_reservation(order) {
                    self.accept(origin, &request, accepted, out);
                }
            }
        }
    }

    /// Home: a participant cannot hold its lines. Where only holds are in the way, two orders may
    /// each hold what the other wants: this one lets go and tries a second time, in shard order.
    pub(crate) fn hold_refused(
        &mut self,
        from: ShardId,
        order: OrderId,
        (refusal, contested): (Refusal, bool),
        out: &mut Effects,
    ) {
        let Some(reservation) = self.reservations.get(&order) else { return };
        let again = contested && !reservation.second && !self.is_late(&reservation.request);
        if !again {
            return self.give_up(order, refusal, out);
        }
        if !self.sweep_all(out) {
            let message = PeerMessage::HoldRefused { order, refusal, contested };
            self.postponed = Some(Input::Peer { from, message });
            return;
        }
        if let Some(Reservation { origin, request, .. }) = self.withdraw(order, out) {
            self.reserve_in_order(origin, request, out);
        }
    }

    /// Home: gives up an order that has not come to be, and tells who waits.
    pub(crate) fn give_up(&mut self, order: OrderId, refusal: Refusal, out: &mut Effects) {
        if let Some(Reservation { origin, request, .. }) = self.withdraw(order, out) {
            self.refuse(origin, request.key, refusal, out);
        }
    }

    /// Home: gives up an order that has not come to be, and tells every participant.
    fn withdraw(&mut self, order: OrderId, out: &mut Effects) -> Option<Reservation> {
        let row = self.state.orders.row(&order)?;
        let fact = orders::reject(&self.state, &self.context(), row);
        self.record(fact, out);
        self.resolve_elsewhere(order, RecordKind::OrderRejected, out);
        self.close_reservation(order)
    }

    /// Who waits here for baskets that are forgotten. Clients of other shards are theirs to answer.
    pub(super) fn forget_reservations(&mut self) -> Vec<ReplyTo> {
        let clients = std::mem::take(&mut self.reservations).into_values();
        clients
            .filter_map(|reservation| match reservation.origin {
                Origin::Client(to) => Some(to),
                Origin::Keeper(..) => None,
            })
            .collect()
    }

    fn close_reservation(&mut self, order: OrderId) -> Option<Reservation> {
        let reservation = self.reservations.remove(&order)?;
        self.running.remove(&reservation.request.key);
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
            RecordKind::RefundSucceeded if returns_units(row) => {
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
        let row = HoldRow { state, ..hold.clone() };
        let mut fact = Fact::new(kind, hash_of(&order)).with(Row::Hold(Box::new(row)));
        let part = (&hold.customer, &hold.lines[..]);
        inventory::resolve(&self.state, &self.context(), part, how, &mut fact.rows);
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
            Some(OrderState::Queued | OrderState::Reserving | OrderState::Pending) => return,
            Some(OrderState::Cancelled | OrderState::Expired) => Resolution::Release,
            Some(_) => Resolution::Capture,
        };
        let until_us = row.map_or(self.now_us, |row| row.held_until_us);
        if row.is_some_and(returns_units) {
            out.outbound.push((from, PeerMessage::Resolve { order, how: Resolution::Capture, until_us }));
            out.outbound.push((from, PeerMessage::Resolve { order, how: Resolution::Return, until_us }));
        } else {
            out.outbound.push((from, PeerMessage::Resolve { order, how, until_us }));
        }
    }

    /// What a shard does first: gives up what it had not finished, and asks about what it holds. False if the
    /// batch was full before it was done: a frame has to fit a segment.
    pub(crate) fn take_office(&mut self, out: &mut Effects) -> bool {
        let unfinished: Vec<OrderId> = self.state.unborn().map(|order| order.id).collect();
        for order in unfinished {
            if self.is_full(out) {
                return false;
            }
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
        true
    }
}

/// True if the order was called off after it was paid. Late money that only came and went sold nothing.
pub(super) fn returns_units(row: &OrderRow) -> bool {
    let calls_off = |payment: &Payment| payment.refunds.iter().any(|refund| refund.cancels);
    row.state == OrderState::Cancelled && row.payment.as_deref().is_some_and(calls_off)
}
