//! A gateway that answers late, twice, out of order, or first with silence.

use onrush_proto::{AttemptState, Command, GatewayResult, OrderId, SettleAttempt, SettleRefund};

use super::shop::text;
use crate::dice::Dice;
use crate::mirror::Mirror;

/// Knows the truth of every attempt: it follows from the seed and the attempt alone.
pub(crate) struct Gateway {
    seed: u64,
    /// What was said before, to be said again.
    said: Vec<Command>,
}

/// Most answers kept for repetition.
const SAID_MAX: usize = 64;

impl Gateway {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, said: Vec::new() }
    }

    /// Says something: of what waits, of what was said before, or nothing.
    pub(crate) fn speak(&mut self, mirror: &Mirror, dice: &mut Dice) -> Option<Command> {
        if !self.said.is_empty() && dice.percent(20) {
            return Some(self.said[dice.index(self.said.len())].clone());
        }
        let refunds = mirror.refunds_due.len();
        let command = if refunds > 0 && dice.percent(35) {
            let (order, refund) = *mirror.refunds_due.iter().nth(dice.index(refunds))?;
            self.refund(order, refund)
        } else {
            let (order, attempt) = *mirror.attempts_due.iter().nth(dice.index(mirror.attempts_due.len()))?;
            match dice.below(10) {
                0 => settle(order, attempt, GatewayResult::Unknown),
                // A decline may be followed by money that moved after all.
                1 => settle(order, attempt, GatewayResult::Declined { code: text("try_again") }),
                _ => self.attempt(mirror, order, attempt),
            }
        };
        if self.said.len() == SAID_MAX {
            self.said.remove(0);
        }
        self.said.push(command.clone());
        Some(command)
    }

    /// The truth of everything that waits.
    pub(crate) fn truths(&self, mirror: &Mirror) -> Vec<Command> {
        let attempts =
            mirror.attempts_due.iter().map(|(order, attempt)| self.attempt(mirror, *order, *attempt));
        let refunds = mirror.refunds_due.iter().map(|(order, refund)| self.refund(*order, *refund));
        attempts.chain(refunds).collect()
    }

    fn truth(&self, order: OrderId, number: u16) -> u64 {
        Dice::new(self.seed ^ order.0 as u64 ^ (order.0 >> 64) as u64, u64::from(number)).below(100)
    }

    fn attempt(&self, mirror: &Mirror, order: OrderId, attempt: u16) -> Command {
        let payment = mirror.order(order).and_then(|row| row.payment.as_ref());
        let asked = payment.and_then(|payment| payment.attempts.iter().find(|one| one.number == attempt));
        let capture = asked.is_some_and(|asked| asked.capture);
        let reference = text(&format!("ref-{attempt}"));
        if asked.is_some_and(|asked| asked.state == AttemptState::Capturing) {
            let result = match self.truth(order, 2_000 + attempt) {
                0..85 => GatewayResult::Captured { reference },
                _ => GatewayResult::CaptureFailed { code: text("authorization_expired") },
            };
            return settle(order, attempt, result);
        }
        let result = match self.truth(order, attempt) {
            0..70 if capture => GatewayResult::Captured { reference },
            0..70 => GatewayResult::Authorised { reference },
            _ => GatewayResult::Declined { code: text("insufficient_funds") },
        };
        settle(order, attempt, result)
    }

    fn refund(&self, order: OrderId, refund: u16) -> Command {
        let succeeded = self.truth(order, 1_000 + refund) < 85;
        Command::SettleRefund(SettleRefund { order, refund, succeeded })
    }
}

fn settle(order: OrderId, attempt: u16, result: GatewayResult) -> Command {
    Command::SettleAttempt(Box::new(SettleAttempt { order, attempt, result }))
}
