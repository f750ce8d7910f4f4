//! How far orders, their delivery and their attempts to pay are, and where they may go from there.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::payment::{AttemptState, Refund, RefundState};
use crate::row::{OrderRow, OrderState, StateChange};

impl OrderState {
    /// True if the order's graph has the edge `self -> to`.
    pub fn may_become(self, to: Self) -> bool {
        use OrderState::*;
        match self {
            Queued => matches!(to, Reserving | Rejected),
            Reserving => matches!(to, Pending | Rejected),
            Pending => matches!(to, Paid | Cancelled | Expired),
            // Money that arrives late takes the stock again if there is any.
            Expired => to == Paid,
            Paid => matches!(to, Fulfilling | Cancelled | PartiallyRefunded | Refunded),
            Fulfilling => matches!(to, Shipped | Cancelled | PartiallyRefunded | Refunded),
            Shipped => matches!(to, Delivered | PartiallyRefunded | Refunded),
            Delivered => matches!(to, PartiallyRefunded | Refunded),
            PartiallyRefunded => {
                matches!(to, PartiallyRefunded | Refunded | Fulfilling | Shipped | Delivered | Cancelled)
            }
            Rejected | Cancelled | Refunded => false,
        }
    }

    /// True while the order's deadline runs.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Reserving | Self::Pending)
    }

    /// True while the order's units on its own shard are held.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Reserving | Self::Pending)
    }

    /// True while it is open whether the order comes to be.
    pub fn is_unborn(self) -> bool {
        matches!(self, Self::Queued | Self::Reserving)
    }

    /// True if the order's units count as sold.
    pub fn is_sold(self) -> bool {
        use OrderState::*;
        matches!(self, Paid | Fulfilling | Shipped | Delivered | PartiallyRefunded | Refunded)
    }
}

/// How far an order got on its way to the buyer, whatever became of its money.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Archive, Serialize, Deserialize,
)]
pub enum Delivery {
    /// Not begun.
    #[default]
    Waiting,
    /// Being packed.
    Fulfilling,
    /// With the carrier.
    Shipped,
    /// Arrived.
    Delivered,
}

impl Delivery {
    /// The stage that a state of the order names, if it names one.
    pub fn of(state: OrderState) -> Option<Self> {
        match state {
            OrderState::Fulfilling => Some(Self::Fulfilling),
            OrderState::Shipped => Some(Self::Shipped),
            OrderState::Delivered => Some(Self::Delivered),
            _ => None,
        }
    }
}

impl OrderRow {
    /// True if the order may go to `to`: its graph has the edge, and delivery goes on from where it
    /// stands. What has left the house is not called off any more.
    pub fn may_become(&self, to: OrderState) -> bool {
        use Delivery::*;
        let delivery = match to {
            OrderState::Fulfilling => self.delivery == Waiting,
            OrderState::Shipped => self.delivery == Fulfilling,
            OrderState::Delivered => self.delivery == Shipped,
            OrderState::Cancelled => self.delivery <= Fulfilling,
            _ => true,
        };
        delivery && self.state.may_become(to)
    }

    /// Takes the order to `to`. That a queued one is priced is no news to its history.
    pub fn enter(&mut self, to: OrderState, now_us: u64) {
        if to != self.state && to != OrderState::Reserving {
            self.history.push(StateChange { state: to, at_us: now_us });
        }
        self.state = to;
        self.changed_us = now_us;
    }

    /// Every state it was in, oldest first. Before it was accepted over several shards it was
    /// `Reserving`; one on a single shard is born `Pending`.
    pub fn states(&self) -> impl Iterator<Item = StateChange> + '_ {
        use OrderState::{Pending, Rejected, Reserving};
        let born = match self.history.first().map(|change| change.state) {
            None => self.state,
            Some(Pending | Rejected) => Reserving,
            Some(_) => Pending,
        };
        let first = StateChange { state: born, at_us: self.id.time_us() };
        std::iter::once(first).chain(self.history.iter().copied())
    }

    /// The refund that calls the order off, while the gateway has it.
    pub fn calling_off(&self) -> Option<&Refund> {
        let refunds = self.payment.as_ref().map_or(&[][..], |payment| &payment.refunds);
        refunds.iter().find(|refund| refund.cancels && refund.state == RefundState::Pending)
    }
}

impl AttemptState {
    /// True while the gateway keeps money for it that is not taken yet.
    pub fn is_reserved(self) -> bool {
        matches!(self, Self::Authorised | Self::Capturing)
    }

    /// True while the gateway has the next word.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Processing | Self::Unknown | Self::Capturing)
    }
}

#[cfg(test)]
mod tests {
    use super::OrderState::*;
    use super::*;
    use crate::id::OrderId;
    use crate::key::IdempotencyKey;
    use crate::money::{Currency, Money};
    use crate::row::Lines;
    use crate::slot::Slot;

    /// Ids count time in ms.
    const BORN_US: u64 = 1_700_000_000_000_000;

    /// What an order tells that was born so and entered these states, one each us; times in us after its birth.
    fn through(born: OrderState, states: &[OrderState]) -> Vec<(OrderState, u64)> {
        let mut order = OrderRow {
            id: OrderId::new(Slot(3), BORN_US, 0, 9),
            customer: "ada".parse().unwrap(),
            lines: Lines::new(),
            total: Money::new(0, Currency::EUR),
            state: born,
            delivery: Delivery::Waiting,
            held_until_us: 0,
            changed_us: BORN_US,
            key: IdempotencyKey::NONE,
            body: 0,
            history: Default::default(),
            payment: None,
        };
        for (state, at_us) in states.iter().zip(BORN_US + 1..) {
            order.enter(*state, at_us);
            assert_eq!((order.state, order.changed_us), (*state, at_us));
        }
        order.states().map(|change| (change.state, change.at_us - BORN_US)).collect()
    }

    #[test]
    fn an_order_tells_every_state_it_was_in() {
        for (born, states, told) in [
            (Pending, &[][..], &[(Pending, 0)][..]),
            (Pending, &[Expired, Paid], &[(Pending, 0), (Expired, 1), (Paid, 2)]),
            (Reserving, &[], &[(Reserving, 0)]),
            (Reserving, &[Pending, Cancelled], &[(Reserving, 0), (Pending, 1), (Cancelled, 2)]),
            (Reserving, &[Rejected], &[(Reserving, 0), (Rejected, 1)]),
            (Queued, &[], &[(Queued, 0)]),
            (Queued, &[Reserving, Pending], &[(Reserving, 0), (Pending, 2)]),
            (
                Pending,
                &[Paid, PartiallyRefunded, PartiallyRefunded, Fulfilling],
                &[(Pending, 0), (Paid, 1), (PartiallyRefunded, 2), (Fulfilling, 4)],
            ),
        ] {
            assert_eq!(through(born, states), told, "{born:?} and then {states:?}");
        }
    }
}
