//! Money back: several refunds of one payment at once, of which only some may go through.

use onrush_proto::{Command, OrderState, Outcome, Receipt, RefundPayment, Refusal, Reply, SettleRefund};

use super::paying::THROTTLED_NS;
use super::{Driver, Due, Ticket, is_passing};
use crate::operation::Operation;

/// Steps of a buy's keys: its refunds, and their results.
const REFUND_STEP: u32 = 4_000;
const SETTLE_REFUND_STEP: u32 = 5_000;

impl Driver<'_> {
    /// All refunds of an order, due now.
    pub(super) fn plan_refunds(&mut self, buy: Ticket, now_ns: u64) {
        let Some(refunds) = self.plan.special.refunds.filter(|_| !self.last_call) else { return };
        for number in 0..u16::from(refunds.at_once) {
            self.later(now_ns, buy, Due::Refund { buy, number });
        }
    }

    pub(super) fn ask_refund(&mut self, at_ns: u64, buy: Ticket, number: u16) {
        let Some(refunds) = self.plan.special.refunds else { return };
        let Some((placed, serial, _)) = self.placed(buy) else { return };
        let minor = (placed.total_minor as f64 * refunds.share) as i64;
        let command = Command::RefundPayment(RefundPayment { order: placed.order, minor });
        let request = self.keyed(serial, REFUND_STEP + u32::from(number), command);
        let flight = self.send(Operation::Refund, at_ns, buy, request);
        self.number(flight, number);
    }

    fn number(&mut self, flight: Ticket, number: u16) {
        if let Some(flight) = self.flights.find(flight) {
            flight.number = number;
        }
    }

    pub(super) fn refund_answered(&mut self, ticket: Ticket, number: u16, reply: &Reply, now_ns: u64) {
        let granted = match &reply.outcome {
            Outcome::Accepted(Receipt::Refund { refund, .. }) => {
                if !self.target.settles() {
                    let due = Due::SettleRefund { buy: ticket, refund: *refund };
                    self.later(now_ns, ticket, due);
                }
                true
            }
            Outcome::Refused(Refusal::RefundAboveCaptured { .. }) => false,
            Outcome::Refused(Refusal::Stopped) => return self.doubt_refund(ticket),
            Outcome::Refused(refusal) if is_passing(refusal) => {
                return self.later(now_ns + THROTTLED_NS, ticket, Due::Refund { buy: ticket, number });
            }
            other => {
                return self.journal.violations.note(|| {
                    format!("a refund goes through or is too much: expected either, found {other:?}")
                });
            }
        };
        self.tally.refunds[usize::from(!granted)] += 1;
        let Some(buy) = self.buys.find(ticket) else { return };
        buy.refunds[usize::from(!granted)] += 1;
        self.check_refunds(ticket);
    }

    /// Once the last one is answered, exactly as many went through as there was money for.
    fn check_refunds(&mut self, ticket: Ticket) {
        let Some(refunds) = self.plan.special.refunds else { return };
        let Some(buy) = self.buys.find(ticket) else { return };
        let ([granted, refused], placed) = (buy.refunds, buy.placed);
        let Some(placed) = placed.filter(|_| granted + refused == refunds.at_once) else { return };
        if granted != refunds.granted {
            let (expected, order) = (refunds.granted, placed.order);
            self.journal.violations.note(|| {
                format!("order {order}: expected {expected} refunds to go through, found {granted}")
            });
        }
        self.journal.tell(placed.number, OrderState::PartiallyRefunded);
    }

    fn doubt_refund(&mut self, buy: Ticket) {
        if let Some((placed, ..)) = self.placed(buy) {
            self.journal.doubt(placed.number);
        }
    }

    pub(super) fn settle_refund(&mut self, at_ns: u64, buy: Ticket, refund: u16) {
        let Some((placed, serial, _)) = self.placed(buy) else { return };
        let settle = SettleRefund { order: placed.order, refund, succeeded: true };
        let step = SETTLE_REFUND_STEP + u32::from(refund);
        let request = self.keyed(serial, step, Command::SettleRefund(settle));
        let flight = self.send(Operation::SettleRefund, at_ns, buy, request);
        self.number(flight, refund);
    }

    pub(super) fn refund_settled(&mut self, buy: Ticket, refund: u16, reply: &Reply, now_ns: u64) {
        if let Outcome::Refused(refusal) = &reply.outcome
            && is_passing(refusal)
        {
            self.later(now_ns + THROTTLED_NS, buy, Due::SettleRefund { buy, refund });
        }
    }
}
