//! How far orders, their delivery and their attempts to pay are, and where they may go from there.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::row::{AttemptState, OrderRow, OrderState, Refund, RefundState};

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
