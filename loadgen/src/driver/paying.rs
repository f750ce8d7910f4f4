//! A small simulated payer: attempt, the gateway's word, and again or off after a decline.

use onrush_proto::{
    CancelOrder, Command, GatewayResult, OrderState, Outcome, Receipt, Refusal, Reply, SettleAttempt,
    StartPayment, Text,
};

use super::{Driver, Due, Placed, Ticket, key_of};
use crate::gateway::GatewayDays;
use crate::operation::Operation;
use crate::plan::SECOND_NS;
use crate::random::mix;

/// Steps of a buy's keys: attempts from 1, their results from here, and the cancellation.
const SETTLE_STEP: u32 = 1_000;
const CANCEL_STEP: u32 = 2_000;
const UNKNOWN_STEP: u32 = 3_000;
/// A payer that was throttled comes back after this time.
pub(super) const THROTTLED_NS: u64 = 20_000_000;
/// A buyer declined this often calls the order off.
const DECLINES_MAX: u8 = 2;

/// Whether a gateway declines an attempt: a function of its key, so a repeat says the same.
pub(crate) fn declines(seed: u64, serial: u32, attempt: u16, share: f64) -> bool {
    let bits = mix(key_of(seed, serial, SETTLE_STEP + u32::from(attempt)).0 as u64);
    ((bits >> 11) as f64 / (1u64 << 53) as f64) < share
}

/// What the simulated gateway says.
pub(crate) fn gateway_result(declined: bool) -> GatewayResult {
    if declined {
        GatewayResult::Declined { code: Text::new("insufficient_funds").unwrap_or(Text::EMPTY) }
    } else {
        GatewayResult::Captured { reference: Text::new("simulated").unwrap_or(Text::EMPTY) }
    }
}

/// A payment attempt with a simulated card; a gateway behind the target knows the one it declines.
pub(crate) fn start_command(order: onrush_proto::OrderId, declined: bool) -> Command {
    let card = if declined { "pm_card_insufficient_funds" } else { "pm_simulated" };
    let method = Text::new(card).unwrap_or(Text::EMPTY);
    Command::StartPayment(Box::new(StartPayment { order, method, capture: true }))
}

/// The gateway's word on an attempt.
pub(crate) fn settle_command(order: onrush_proto::OrderId, attempt: u16, declined: bool) -> Command {
    Command::SettleAttempt(Box::new(SettleAttempt { order, attempt, result: gateway_result(declined) }))
}

impl Driver<'_> {
    pub(super) fn plan_payment(&mut self, buy: Ticket, last_call: bool, now_ns: u64) {
        let payer = self.plan.payer;
        let call_off = self.plan.special.call_off;
        if last_call {
            self.later(now_ns, buy, Due::Pay { buy });
        } else if call_off > 0.0 && self.habits.chance(call_off) {
            let after_ns = self.within_ns(payer.within_s);
            self.later(now_ns + after_ns, buy, Due::Cancel { buy });
        } else if !self.habits.chance(payer.never) {
            let after_ns = self.within_ns(payer.within_s);
            self.later(now_ns + after_ns, buy, Due::Pay { buy });
        }
    }

    fn within_ns(&mut self, seconds: f64) -> u64 {
        (self.habits.unit() * seconds * SECOND_NS as f64) as u64
    }

    pub(super) fn placed(&mut self, ticket: Ticket) -> Option<(Placed, u32, u8)> {
        let buy = self.buys.find(ticket)?;
        Some((buy.placed?, buy.serial, buy.declines))
    }

    pub(super) fn start_payment(&mut self, at_ns: u64, buy: Ticket) {
        let Some((placed, serial, earlier)) = self.placed(buy) else { return };
        let attempt = 1 + u16::from(earlier);
        let command = start_command(placed.order, self.is_declined(serial, attempt));
        let request = self.keyed(serial, u32::from(attempt), command);
        let operation =
            if self.target.settles() { Operation::ProcessPayment } else { Operation::StartPayment };
        self.send(operation, at_ns, buy, request);
    }

    fn is_declined(&self, serial: u32, attempt: u16) -> bool {
        !self.last_call && declines(self.plan.seed, serial, attempt, self.plan.payer.decline)
    }

    /// Whether the gateway that the driver plays declines.
    fn declines_today(&self, serial: u32, attempt: u16) -> bool {
        match self.plan.special.gateway {
            Some(days) => !self.last_call && declines(self.plan.seed, serial, attempt, days.decline),
            None => self.is_declined(serial, attempt),
        }
    }

    /// The attempt as the gateway knows it.
    fn gateway_key(&self, serial: u32, attempt: u16) -> u64 {
        key_of(self.plan.seed, serial, SETTLE_STEP + u32::from(attempt)).0 as u64
    }

    pub(super) fn payment_started(&mut self, buy: Ticket, reply: &Reply, now_ns: u64) {
        match &reply.outcome {
            Outcome::Accepted(Receipt::AttemptStarted { attempt, .. }) => {
                let after_ns = self.gateway_ns(buy, *attempt);
                self.later(now_ns + after_ns, buy, Due::Settle { buy, attempt: *attempt });
            }
            Outcome::Accepted(Receipt::AttemptSettled { .. }) => self.payment_settled(buy, reply, now_ns),
            Outcome::Refused(refusal) if is_passing(refusal) => {
                self.later(now_ns + THROTTLED_NS, buy, Due::Pay { buy });
            }
            Outcome::Refused(Refusal::Stopped) => {
                if let Some((placed, ..)) = self.placed(buy) {
                    self.journal.doubt(placed.number);
                }
            }
            // Too late: the hold expired first. The audit reads where the order stands.
            _ => {}
        }
    }

    /// How long the gateway takes for its first word on an attempt.
    fn gateway_ns(&mut self, ticket: Ticket, attempt: u16) -> u64 {
        let Some(buy) = self.buys.find(ticket) else { return 0 };
        buy.calls = 0;
        let (serial, last_call) = (buy.serial, buy.last_call);
        match self.plan.special.gateway {
            _ if last_call => 0,
            Some(days) => days.call_ns(self.gateway_key(serial, attempt), 0),
            None => self.within_ns(self.plan.payer.gateway_s),
        }
    }

    /// The gateway says nothing: that goes on record once, and it is asked again under the same key.
    fn hears_nothing(&mut self, at_ns: u64, ticket: Ticket, attempt: u16) -> bool {
        let Some(days) = self.plan.special.gateway.filter(|_| !self.last_call) else { return false };
        let Some((placed, serial, _)) = self.placed(ticket) else { return false };
        let key = self.gateway_key(serial, attempt);
        let Some(buy) = self.buys.find(ticket) else { return false };
        let call = buy.calls;
        if days.answers(key, call, at_ns) {
            return false;
        }
        buy.calls = call.saturating_add(1);
        let next_ns = at_ns + GatewayDays::pause_ns(call) + days.call_ns(key, call.saturating_add(1));
        self.later(next_ns, ticket, Due::Settle { buy: ticket, attempt });
        if call == 0 {
            self.tally.silences += 1;
            let result = GatewayResult::Unknown;
            let command =
                Command::SettleAttempt(Box::new(SettleAttempt { order: placed.order, attempt, result }));
            let request = self.keyed(serial, UNKNOWN_STEP + u32::from(attempt), command);
            self.send(Operation::SettleUnknown, at_ns, ticket, request);
        }
        true
    }

    pub(super) fn settle_payment(&mut self, at_ns: u64, buy: Ticket, attempt: u16) {
        if self.hears_nothing(at_ns, buy, attempt) {
            return;
        }
        let Some((placed, serial, _)) = self.placed(buy) else { return };
        let command = settle_command(placed.order, attempt, self.declines_today(serial, attempt));
        let request = self.keyed(serial, SETTLE_STEP + u32::from(attempt), command);
        self.send(Operation::SettlePayment, at_ns, buy, request);
    }

    pub(super) fn payment_settled(&mut self, buy: Ticket, reply: &Reply, now_ns: u64) {
        let Some((placed, ..)) = self.placed(buy) else { return };
        match &reply.outcome {
            Outcome::Accepted(Receipt::AttemptSettled { order_state, .. }) => {
                self.journal.tell(placed.number, *order_state);
                match order_state {
                    OrderState::Paid => {
                        self.tally.paid += 1;
                        self.plan_refunds(buy, now_ns);
                    }
                    OrderState::Pending => self.declined(buy, now_ns),
                    _ => {}
                }
            }
            Outcome::Refused(refusal) if is_passing(refusal) => {
                // The attempt's number is not in a refusal; attempts run from 1 with the declines.
                let attempt = 1 + self.buys.find(buy).map_or(0, |buy| u16::from(buy.declines));
                self.later(now_ns + THROTTLED_NS, buy, Due::Settle { buy, attempt });
            }
            _ => {}
        }
    }

    fn declined(&mut self, ticket: Ticket, now_ns: u64) {
        let Some(buy) = self.buys.find(ticket) else { return };
        buy.declines += 1;
        if buy.declines < DECLINES_MAX {
            let after_ns = self.within_ns(self.plan.payer.within_s);
            self.later(now_ns + after_ns, ticket, Due::Pay { buy: ticket });
        } else {
            self.later(now_ns, ticket, Due::Cancel { buy: ticket });
        }
    }

    pub(super) fn cancel(&mut self, at_ns: u64, buy: Ticket) {
        let Some((placed, serial, _)) = self.placed(buy) else { return };
        let command = Command::CancelOrder(CancelOrder { order: placed.order });
        let request = self.keyed(serial, CANCEL_STEP, command);
        self.send(Operation::CancelOrder, at_ns, buy, request);
    }

    pub(super) fn cancelled(&mut self, buy: Ticket, reply: &Reply, now_ns: u64) {
        let Some((placed, ..)) = self.placed(buy) else { return };
        match &reply.outcome {
            Outcome::Accepted(Receipt::OrderMoved { state, .. }) => self.journal.tell(placed.number, *state),
            Outcome::Refused(refusal) if is_passing(refusal) => {
                self.later(now_ns + THROTTLED_NS, buy, Due::Cancel { buy });
            }
            Outcome::Refused(Refusal::Stopped) => self.journal.doubt(placed.number),
            _ => {}
        }
    }
}

/// True for a refusal that another try may not meet.
pub(crate) fn is_passing(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Overloaded | Refusal::KeyInProgress | Refusal::DeadlineExceeded)
}
