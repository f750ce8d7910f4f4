//! Orders: sent, sent again, given up on, accepted.

use onrush_proto::{
    Command, CreateOrder, Money, OrderId, OrderLine, Outcome, Receipt, Refusal, Reply, Request,
};

use super::{Buy, Driver, Due, Placed, Ticket, key_of};
use crate::demand::{Basket, Wish};
use crate::journal::Unheard;
use crate::operation::{Operation, Verdict};
use crate::plan::{Item, SECOND_NS, customer_id};

/// First back-off of a client; it doubles with each retry.
const BACK_OFF_NS: u64 = 100_000_000;
/// Step 0 of a buy's keys is its order.
pub(super) const ORDER_STEP: u32 = 0;

/// An order of a customer for some of these items.
pub(crate) fn order_command(items: &[Item], hold_us: u64, customer: u32, lines: &Basket) -> Command {
    let line =
        |(item, quantity): &(u32, u32)| OrderLine::new(items[*item as usize].sku, i64::from(*quantity));
    let lines = lines.iter().map(line).collect();
    Command::CreateOrder(CreateOrder { customer: customer_id(customer), lines, hold_us })
}

impl Driver<'_> {
    /// Lets the next buyer in, if one is due.
    pub(super) fn arrive(&mut self, now_ns: u64) -> bool {
        let Some(at_ns) = self.arrivals.next_if(|at_ns| *at_ns <= now_ns) else { return false };
        let Some(wish) = self.plan.demand.wish(self.next_serial, at_ns, &mut self.wishes) else {
            return true;
        };
        self.tally.offered += 1;
        if self.is_shut() {
            self.turn_away(&wish, at_ns);
            return true;
        }
        let filed = self.filed(&wish, at_ns);
        let buy = self.open_buy(wish.customer, wish.lines, false);
        if let Some(buy) = self.buys.find(buy) {
            buy.filed = filed;
        }
        self.hold(buy);
        self.send_order(at_ns, buy);
        self.send_back(at_ns);
        self.send_twice(at_ns, buy);
        self.release(buy);
        true
    }

    /// How the first send of a wish is filed.
    fn filed(&self, wish: &Wish, at_ns: u64) -> Operation {
        let item = wish.lines.first().map_or(0, |line| line.0);
        self.plan.special.sorting.operation(wish.customer, item, at_ns)
    }

    /// True if as many requests are under way as the door allows.
    fn is_shut(&self) -> bool {
        let door = self.plan.special.door;
        door.is_some_and(|door| self.target.in_flight() >= door.in_flight_max || !self.target.has_room())
    }

    /// Where buyers do not queue at the client, one for whom there is no room has an answer at once.
    fn turn_away(&mut self, wish: &Wish, at_ns: u64) {
        let filed = self.filed(wish, at_ns);
        self.count_turned_away(filed, at_ns);
    }

    fn count_turned_away(&mut self, filed: Operation, at_ns: u64) {
        let now_ns = self.now_ns();
        self.recorder.record(filed, Verdict::Throttled, now_ns.saturating_sub(at_ns), now_ns);
        self.tally.turned_away += 1;
    }

    /// The same for one whom the target gave back.
    fn send_back(&mut self, at_ns: u64) {
        if self.plan.special.door.is_none() {
            return;
        }
        let Some((tag, _)) = self.stalled.take() else { return };
        let Some(flight) = self.flights.remove(tag) else { return };
        self.count_turned_away(flight.operation, at_ns);
        if let Some(buy) = flight.buy {
            self.release(buy);
        }
    }

    pub(super) fn open_buy(&mut self, customer: u32, lines: Basket, last_call: bool) -> Ticket {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.buys.insert(Buy {
            serial,
            customer,
            lines,
            placed: None,
            uses: 0,
            sends: 0,
            retries: 0,
            declines: 0,
            calls: 0,
            refunds: [0; 2],
            filed: Operation::CreateOrder,
            last_call,
            doubtful: false,
            unknown: false,
        })
    }

    /// Some buyers press the button two or three times.
    fn send_twice(&mut self, at_ns: u64, buy: Ticket) {
        let Some(habit) = self.plan.impatience else { return };
        if !self.habits.chance(habit.again) {
            return;
        }
        for _ in 0..1 + self.habits.below(2) {
            let after_ns = self.habits.below(habit.again_within_ns);
            self.later(at_ns + after_ns, buy, Due::Send { buy });
        }
    }

    pub(super) fn send_order(&mut self, at_ns: u64, ticket: Ticket) {
        let Some(buy) = self.buys.find(ticket) else { return };
        let operation = match (buy.last_call, buy.sends) {
            (true, _) => Operation::LastCall,
            (false, 0) => buy.filed,
            (false, _) => Operation::CreateOrderAgain,
        };
        buy.sends = buy.sends.saturating_add(1);
        let (serial, last_call) = (buy.serial, buy.last_call);
        let command = order_command(&self.plan.items, self.plan.hold_us, buy.customer, &buy.lines);
        let request = self.keyed(serial, ORDER_STEP, command);
        let flight = self.send(operation, at_ns, ticket, request);
        if let (Some(habit), false) = (self.plan.impatience, last_call) {
            self.timers.set(at_ns + habit.timeout_ns, Due::Timeout { flight });
        }
    }

    /// Another order under the same key, half of the time for another item: it must be refused.
    pub(super) fn send_other_body(&mut self, at_ns: u64, ticket: Ticket) {
        let items = self.plan.items.len() as u64;
        let (another_item, step) = (self.habits.chance(0.5), 1 + self.habits.below(items.max(2) - 1));
        let Some(buy) = self.buys.find(ticket) else { return };
        let Some((item, quantity)) = buy.lines.first().copied() else { return };
        let (item, quantity) = if another_item {
            (((u64::from(item) + step) % items) as u32, quantity)
        } else {
            (item, quantity + 1)
        };
        let serial = buy.serial;
        let command = Command::CreateOrder(CreateOrder {
            customer: customer_id(buy.customer),
            lines: smallvec::smallvec![OrderLine::new(
                self.plan.items[item as usize].sku,
                i64::from(quantity) + i64::from(items == 1)
            )],
            hold_us: self.plan.hold_us,
        });
        let request = Request::new(key_of(self.plan.seed, serial, ORDER_STEP), command);
        self.send(Operation::CreateOrderOtherBody, at_ns, ticket, request);
    }

    pub(super) fn other_body_answered(&mut self, ticket: Ticket, reply: &Reply) {
        self.tally.answered += 1;
        let allowed = matches!(
            reply.outcome,
            Outcome::Refused(Refusal::KeyReused | Refusal::Overloaded | Refusal::KeyInProgress)
        );
        if !allowed {
            let serial = self.buys.find(ticket).map_or(0, |buy| buy.serial);
            self.journal.violations.note(|| {
                let found = &reply.outcome;
                format!("another body under the key of buy {serial}: expected KeyReused, found {found:?}")
            });
        }
    }

    pub(super) fn order_answered(&mut self, ticket: Ticket, reply: &Reply, abandoned: bool, now_ns: u64) {
        self.tally.answered += u64::from(!self.last_call);
        match &reply.outcome {
            Outcome::Accepted(Receipt::Order { order, total, held_until_us }) => {
                self.order_placed(ticket, (*order, *total, *held_until_us), now_ns);
            }
            Outcome::Refused(Refusal::OutOfStock { .. }) => self.note_sold_out(ticket, now_ns),
            Outcome::Refused(Refusal::Overloaded | Refusal::KeyInProgress) if !abandoned => {
                self.try_again(ticket, now_ns);
            }
            Outcome::Refused(Refusal::Stopped) => self.left_in_doubt(ticket),
            Outcome::Refused(_) => {}
            other => self
                .journal
                .violations
                .note(|| format!("an order is accepted or refused: expected either, found {other:?}")),
        }
    }

    /// No answer came, however often the connection asked: there may be an order.
    fn left_in_doubt(&mut self, ticket: Ticket) {
        let Some(buy) = self.buys.find(ticket) else { return };
        if buy.placed.is_none() && !buy.unknown {
            buy.unknown = true;
            self.journal.unknown += 1;
            let unheard = Unheard { serial: buy.serial, customer: buy.customer, lines: buy.lines.clone() };
            self.journal.unheard.push(unheard);
        }
    }

    fn note_sold_out(&mut self, ticket: Ticket, now_ns: u64) {
        let wanted = self.wants_sale(ticket);
        if wanted && self.tally.sold_out_ns.is_none() {
            self.tally.sold_out_ns = Some(now_ns);
        }
    }

    /// True if the buy is for what the sale is about.
    fn wants_sale(&mut self, ticket: Ticket) -> bool {
        let sells_out = self.plan.sells_out;
        self.buys.find(ticket).is_some_and(|buy| buy.lines.iter().any(|(item, _)| *item < sells_out))
    }

    fn order_placed(&mut self, ticket: Ticket, receipt: (OrderId, Money, u64), now_ns: u64) {
        let (order, total, held_until_us) = receipt;
        let Some(buy) = self.buys.find(ticket) else { return };
        if let Some(first) = buy.placed {
            let same = (first.order, first.total_minor, first.held_until_us);
            if same != (order, total.minor, held_until_us) {
                self.journal.violations.note(|| {
                    let first = first.order;
                    format!("one order per key: expected {first} as first answered, found {order}")
                });
            }
            return;
        }
        let number = self.journal.enter(order, total.minor, (buy.serial, buy.customer), &buy.lines);
        buy.placed = Some(Placed { order, total_minor: total.minor, held_until_us, number });
        if std::mem::take(&mut buy.unknown) {
            self.journal.unknown -= 1;
        }
        let last_call = buy.last_call;
        self.count_acceptance(ticket, last_call, now_ns);
        self.plan_payment(ticket, last_call, now_ns);
        if let Some(habit) = self.plan.impatience
            && !last_call
            && self.habits.chance(habit.other_body)
        {
            let after_ns = self.habits.below(habit.again_within_ns);
            self.later(now_ns + after_ns, ticket, Due::OtherBody { buy: ticket });
        }
    }

    fn count_acceptance(&mut self, ticket: Ticket, last_call: bool, now_ns: u64) {
        if self.wants_sale(ticket) {
            self.tally.last_sold_ns = Some(now_ns);
        }
        if last_call {
            self.tally.last_calls += 1;
            return;
        }
        self.tally.accepted += 1;
        if now_ns >= (self.plan.start_s * SECOND_NS as f64) as u64 && self.tally.sold_out_ns.is_none() {
            self.tally.accepted_in_window += 1;
        }
    }

    /// True if this answer gets lost on its way to the client.
    pub(super) fn loses_answer(&mut self, operation: Operation) -> bool {
        let buys = operation.is_order() && operation != Operation::CreateOrderOtherBody;
        buys && self.plan.impatience.is_some_and(|habit| self.habits.chance(habit.lost))
    }

    /// The client waits no longer. What it does not know, the books may still learn later.
    pub(super) fn time_out(&mut self, at_ns: u64, tag: Ticket) {
        let Some(flight) = self.flights.find(tag) else { return };
        let (operation, lost, Some(buy)) = (flight.operation, flight.lost, flight.buy) else { return };
        let latency_ns = at_ns.saturating_sub(flight.intended_ns);
        flight.abandoned = true;
        self.recorder.record(operation, Verdict::Error, latency_ns, at_ns);
        if let Some(buy) = self.buys.find(buy) {
            buy.doubtful = true;
        }
        self.try_again(buy, at_ns);
        if lost {
            self.flights.remove(tag);
            self.release(buy);
        }
    }

    /// Backs off and sends again, or gives up after the last retry.
    fn try_again(&mut self, ticket: Ticket, now_ns: u64) {
        let Some(habit) = self.plan.impatience else { return };
        let Some(buy) = self.buys.find(ticket) else { return };
        if buy.placed.is_some() || buy.last_call {
            return;
        }
        if buy.retries >= habit.retries_max {
            self.tally.given_up += 1;
            if buy.doubtful && !buy.unknown {
                buy.unknown = true;
                self.journal.unknown += 1;
            }
            return;
        }
        let bound_ns = BACK_OFF_NS << buy.retries;
        buy.retries += 1;
        let after_ns = if habit.jitter { self.habits.below(bound_ns) } else { bound_ns };
        self.later(now_ns + after_ns, ticket, Due::Send { buy: ticket });
    }
}
