//! What a command is answered with.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::id::OrderId;
use crate::money::Money;
use crate::payment::{PaymentState, RefundState};
use crate::refusal::Refusal;
use crate::row::{DocumentRow, NameRow, OrderRow, OrderState, StockRow};
use crate::slot::Lsn;
use crate::text::Text;

/// The first acceptance of a command: stored with its key, so a retry gets the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Receipt {
    /// An order was accepted.
    Order {
        /// Its name.
        order: OrderId,
        /// Sum of the lines.
        total: Money,
        /// Until when the stock is held, shard time in us.
        held_until_us: u64,
    },
    /// An order moved along its graph (cancelled, fulfilling, shipped, delivered).
    OrderMoved {
        /// The order.
        order: OrderId,
        /// Where it stands now.
        state: OrderState,
    },
    /// A payment attempt was recorded; the gateway is asked next.
    AttemptStarted {
        /// The order.
        order: OrderId,
        /// The attempt's number.
        attempt: u16,
        /// What is asked for.
        amount: Money,
    },
    /// An attempt's result was recorded.
    AttemptSettled {
        /// The order.
        order: OrderId,
        /// The attempt's number.
        attempt: u16,
        /// Where the order stands now.
        order_state: OrderState,
        /// Where the payment stands now.
        payment_state: PaymentState,
    },
    /// The capture of an authorised payment was recorded; the gateway is asked next.
    CaptureStarted {
        /// The order.
        order: OrderId,
        /// The attempt whose reservation it takes from.
        attempt: u16,
        /// What is to be taken; the rest is voided.
        amount: Money,
    },
    /// A refund was recorded or settled.
    Refund {
        /// The order.
        order: OrderId,
        /// The refund's number.
        refund: u16,
        /// What goes back.
        amount: Money,
        /// How it stands.
        state: RefundState,
    },
    /// Stock was changed.
    Stock {
        /// Units in the warehouse.
        on_hand: i64,
        /// Units held.
        held: i64,
        /// For the next compare-and-set.
        version: u64,
    },
    /// A product was put.
    Product {
        /// For the next compare-and-set.
        version: u64,
    },
    /// A document was put or deleted.
    Document {
        /// For the next compare-and-set.
        version: u64,
    },
    /// A name was claimed, confirmed or released.
    Name {
        /// True if it stands for good.
        confirmed: bool,
    },
    /// A consumer group's position was recorded.
    Offset {
        /// The last record done with.
        lsn: u64,
    },
    /// A consumer group's rejection of an event was recorded.
    Rejected {
        /// How often the event was tried by now.
        tries: u16,
        /// True if it was given up: it is in `dead.letters`, and the position is past it.
        dead: bool,
    },
}

/// How a consumer group stands on a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct GroupStanding {
    /// The group.
    pub group: Text<47>,
    /// The topic's number.
    pub topic: u8,
    /// The last record done with; `None` if it never said.
    pub lsn: Option<u64>,
    /// Its generation; 0 = it has none.
    pub generation: u64,
    /// The event that was rejected last; 0 = none.
    pub tried: u64,
    /// How often it was.
    pub tries: u16,
}

/// What the engine did with a command.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub enum Outcome {
    /// Accepted and durable.
    Accepted(Receipt),
    /// Refused; nothing changed.
    Refused(Refusal),
    /// An order that was asked for.
    Order(Box<OrderRow>),
    /// Stock that was asked for.
    Stock(Box<StockRow>),
    /// A document that was asked for.
    Document(Box<DocumentRow>),
    /// A name that was asked for.
    Name(Box<NameRow>),
    /// A group's position that was asked for.
    Offset(Lsn),
    /// How groups stand that were asked for.
    Groups(Vec<GroupStanding>),
}

/// An outcome on its way back.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Reply {
    /// What the engine did.
    pub outcome: Outcome,
    /// True if a retry got the first acceptance again.
    pub replayed: bool,
    /// The log position that made it durable (the end of the log for refusals and reads).
    pub lsn: Lsn,
}
