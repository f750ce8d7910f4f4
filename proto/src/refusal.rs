//! Refusals: business answers, not errors. Each names the field, what was expected and what was found.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::id::OrderId;
use crate::known::Known;
use crate::payment::PaymentState;
use crate::row::{HoldState, OrderState};

/// Why a command was refused. Nothing changed.
///
/// Where several apply the first in the order of this list wins; lines are checked in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Refusal {
    /// The caller's deadline passed before the command was decided.
    DeadlineExceeded,
    /// A bounded queue is full; try again later.
    Overloaded,
    /// The shard stopped after a failed durable write; the outcome of what it had is unknown.
    Stopped,
    /// Another node leads the shard; nothing was begun here.
    NotLeader {
        /// The number of the node that leads, as far as is known here; 0 = nobody is known to.
        leader: u64,
    },
    /// The engine's process cannot be reached; the outcome of what was under way is unknown.
    Unreachable,
    /// The key was used with another body.
    KeyReused,
    /// The first call with this key is still running.
    KeyInProgress,
    /// An order without lines.
    NoLines,
    /// More lines than an order may have.
    TooManyLines {
        /// Lines given.
        found: usize,
    },
    /// A quantity outside 1..=1,000,000.
    BadQuantity {
        /// Index of the line.
        line: u16,
        /// What was given.
        found: i64,
    },
    /// Two lines with the same SKU.
    DuplicateSku {
        /// Index of the later line.
        line: u16,
        /// Index of the earlier one.
        first: u16,
    },
    /// A SKU that the catalogue does not know.
    UnknownSku {
        /// Index of the line.
        line: u16,
    },
    /// A SKU that is withdrawn from sale.
    Inactive {
        /// Index of the line.
        line: u16,
    },
    /// A line priced in another currency than the first.
    MixedCurrencies {
        /// Index of the line.
        line: u16,
    },
    /// The price is above the caller's ceiling.
    PriceChanged {
        /// Index of the line.
        line: u16,
        /// The price of one unit in minor units.
        price: i64,
        /// The caller's ceiling in minor units.
        ceiling: i64,
    },
    /// Quantity x price, or the sum of the lines, leaves 64 bits.
    AmountOverflow {
        /// Index of the line.
        line: u16,
    },
    /// Not enough available.
    OutOfStock {
        /// Index of the line.
        line: u16,
        /// Units asked for.
        asked: u32,
        /// Units available.
        available: i64,
    },
    /// The customer's limit for the SKU would be passed.
    LimitExceeded {
        /// Index of the line.
        line: u16,
        /// The limit in units.
        limit: u32,
        /// Units the customer has already.
        bought: u32,
    },
    /// The field holds a value that is never right.
    Invalid {
        /// Path of the field.
        #[rkyv(with = Known)]
        field: &'static str,
        /// What was expected.
        #[rkyv(with = Known)]
        expected: &'static str,
    },
    /// No such order.
    UnknownOrder {
        /// What was asked for.
        order: OrderId,
    },
    /// No such attempt.
    UnknownAttempt {
        /// What was asked for.
        attempt: u16,
    },
    /// No such refund.
    UnknownRefund {
        /// What was asked for.
        refund: u16,
    },
    /// No such product.
    UnknownProduct,
    /// No such document, name or position.
    NotFound,
    /// The order's graph has no such edge.
    IllegalTransition {
        /// Where the order stands.
        from: OrderState,
        /// Where it was to go.
        to: OrderState,
    },
    /// The order is being called off: its money is on the way back.
    BeingCancelled {
        /// The refund that calls it off.
        refund: u16,
    },
    /// The payment does not allow this now.
    IllegalPayment {
        /// Where the payment stands.
        state: PaymentState,
    },
    /// The hold was resolved before, in another way.
    HoldResolved {
        /// How.
        by: HoldState,
    },
    /// More than what is left to capture.
    CaptureAboveAuthorised {
        /// Minor units asked for.
        asked: i64,
        /// Minor units left.
        left: i64,
    },
    /// More than what is left to refund.
    RefundAboveCaptured {
        /// Minor units asked for.
        asked: i64,
        /// Minor units left.
        left: i64,
    },
    /// Compare-and-set found another version.
    VersionMismatch {
        /// The caller's version.
        expected: u64,
        /// The row's.
        found: u64,
    },
    /// Fewer units may be backordered than are owed already.
    BackorderBelowOwed {
        /// Units that were to be allowed.
        asked: u32,
        /// Units sold or held beyond what is on hand.
        owed: i64,
    },
    /// Stock would fall below what is held.
    BelowHeld {
        /// Units on hand after the change.
        on_hand: i64,
        /// Units held.
        held: i64,
    },
    /// The name belongs to somebody else.
    NameTaken,
    /// Records from that position on were released.
    OffsetOutOfRange {
        /// The first position that can be read.
        first: u64,
        /// The position asked for.
        found: u64,
    },
    /// The consumer group has another generation by now: its shards were dealt anew.
    StaleGeneration {
        /// The generation that would do.
        expected: u64,
        /// The caller's.
        found: u64,
    },
}

/// The machine-readable name of a refusal, the same on every edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Reason(pub &'static str);

impl Refusal {
    /// The stable name, e.g. `OUT_OF_STOCK`.
    pub fn reason(&self) -> Reason {
        Reason(match self {
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Overloaded => "OVERLOADED",
            Self::Stopped => "SHARD_STOPPED",
            Self::NotLeader { .. } => "NOT_LEADER",
            Self::Unreachable => "ENGINE_UNREACHABLE",
            Self::KeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::KeyInProgress => "IDEMPOTENCY_KEY_IN_PROGRESS",
            Self::NoLines => "NO_LINES",
            Self::TooManyLines { .. } => "TOO_MANY_LINES",
            Self::BadQuantity { .. } => "BAD_QUANTITY",
            Self::DuplicateSku { .. } => "DUPLICATE_SKU",
            Self::UnknownSku { .. } => "UNKNOWN_SKU",
            Self::Inactive { .. } => "PRODUCT_INACTIVE",
            Self::MixedCurrencies { .. } => "MIXED_CURRENCIES",
            Self::PriceChanged { .. } => "PRICE_CHANGED",
            Self::AmountOverflow { .. } => "AMOUNT_OVERFLOW",
            Self::LimitExceeded { .. } => "LIMIT_EXCEEDED",
            Self::OutOfStock { .. } => "OUT_OF_STOCK",
            Self::Invalid { .. } => "INVALID_FIELD",
            Self::UnknownOrder { .. } => "UNKNOWN_ORDER",
            Self::UnknownAttempt { .. } => "UNKNOWN_ATTEMPT",
            Self::UnknownRefund { .. } => "UNKNOWN_REFUND",
            Self::UnknownProduct => "UNKNOWN_PRODUCT",
            Self::NotFound => "NOT_FOUND",
            Self::IllegalTransition { .. } => "ILLEGAL_TRANSITION",
            Self::BeingCancelled { .. } => "ORDER_BEING_CANCELLED",
            Self::IllegalPayment { .. } => "ILLEGAL_PAYMENT_STATE",
            Self::HoldResolved { .. } => "HOLD_RESOLVED",
            Self::CaptureAboveAuthorised { .. } => "CAPTURE_ABOVE_AUTHORISED",
            Self::RefundAboveCaptured { .. } => "REFUND_ABOVE_CAPTURED",
            Self::VersionMismatch { .. } => "VERSION_MISMATCH",
            Self::BackorderBelowOwed { .. } => "BACKORDER_BELOW_OWED",
            Self::BelowHeld { .. } => "BELOW_HELD",
            Self::NameTaken => "NAME_TAKEN",
            Self::OffsetOutOfRange { .. } => "OFFSET_OUT_OF_RANGE",
            Self::StaleGeneration { .. } => "STALE_GENERATION",
        })
    }

    /// The path of the field at fault, if one is: `lines[3].quantity`.
    pub fn field(&self) -> Option<String> {
        let line = |line: &u16, leaf: &str| Some(format!("lines[{line}].{leaf}"));
        match self {
            Self::NoLines | Self::TooManyLines { .. } => Some("lines".into()),
            Self::BadQuantity { line: at, .. } => line(at, "quantity"),
            Self::DuplicateSku { line: at, .. } | Self::UnknownSku { line: at } => line(at, "sku"),
            Self::Inactive { line: at } | Self::MixedCurrencies { line: at } => line(at, "sku"),
            Self::PriceChanged { line: at, .. } => line(at, "max_unit_price"),
            Self::AmountOverflow { line: at } => line(at, "quantity"),
            Self::LimitExceeded { line: at, .. } | Self::OutOfStock { line: at, .. } => line(at, "quantity"),
            Self::Invalid { field, .. } => Some((*field).into()),
            Self::UnknownOrder { .. } => Some("order_id".into()),
            Self::UnknownAttempt { .. } => Some("attempt".into()),
            Self::UnknownRefund { .. } => Some("refund".into()),
            Self::UnknownProduct => Some("sku".into()),
            Self::CaptureAboveAuthorised { .. } | Self::RefundAboveCaptured { .. } => Some("amount".into()),
            Self::VersionMismatch { .. } => Some("version".into()),
            Self::KeyReused | Self::KeyInProgress => Some("request_id".into()),
            Self::IllegalTransition { .. } | Self::BeingCancelled { .. } | Self::IllegalPayment { .. } => {
                Some("order_id".into())
            }
            Self::BackorderBelowOwed { .. } => Some("backorder".into()),
            Self::BelowHeld { .. } => Some("change".into()),
            Self::OffsetOutOfRange { .. } => Some("from".into()),
            Self::StaleGeneration { .. } => Some("generation".into()),
            Self::DeadlineExceeded | Self::Overloaded | Self::Stopped | Self::Unreachable => None,
            Self::NotLeader { .. } | Self::NotFound | Self::HoldResolved { .. } | Self::NameTaken => None,
        }
    }
}

impl Refusal {
    /// What those say that are not about the command.
    fn of_the_host(&self) -> Option<&'static str> {
        Some(match self {
            Self::DeadlineExceeded => "the deadline passed before the command was decided",
            Self::Overloaded => "the engine is at its bound; try again later",
            Self::Stopped => "the shard stopped after a failed durable write; the outcome is unknown",
            Self::NotLeader { leader: 0 } => {
                "expected the node that leads the shard, found one that knows of none now; nothing was begun"
            }
            Self::Unreachable => "the engine cannot be reached; the outcome of what was under way is unknown",
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field() {
            write!(f, "{field}: ")?;
        }
        if let Some(text) = self.of_the_host() {
            return f.write_str(text);
        }
        match self {
            Self::KeyReused => write!(f, "the idempotency key was used with another body"),
            Self::KeyInProgress => write!(f, "the first call with this idempotency key is still running"),
            Self::NoLines => write!(f, "expected at least one line, found none"),
            Self::TooManyLines { found } => {
                write!(f, "expected at most {} lines, found {found}", crate::command::MAX_LINES)
            }
            Self::BadQuantity { found, .. } => {
                write!(f, "expected a quantity of 1 to {}, found {found}", crate::command::MAX_QUANTITY)
            }
            Self::DuplicateSku { first, .. } => {
                write!(f, "expected each SKU once, found that of lines[{first}]")
            }
            Self::UnknownSku { .. } => write!(f, "expected a SKU of the catalogue, found an unknown one"),
            Self::Inactive { .. } => write!(f, "expected a product on sale, found a withdrawn one"),
            Self::MixedCurrencies { .. } => write!(f, "expected the first line's currency, found another"),
            Self::PriceChanged { price, ceiling, .. } => {
                write!(f, "expected a price of at most {ceiling}, found {price}")
            }
            Self::AmountOverflow { .. } => write!(f, "expected an amount within 64 bits, found a larger one"),
            Self::LimitExceeded { limit, bought, .. } => {
                write!(f, "expected at most {limit} units per customer, found {bought} bought before")
            }
            Self::OutOfStock { asked, available, .. } => {
                write!(f, "expected {asked} units available, found {}", available.max(&0))
            }
            Self::Invalid { expected, .. } => write!(f, "expected {expected}"),
            Self::UnknownOrder { order } => write!(f, "no order {order}"),
            Self::UnknownAttempt { attempt } => write!(f, "no attempt {attempt}"),
            Self::UnknownRefund { refund } => write!(f, "no refund {refund}"),
            Self::UnknownProduct => write!(f, "no such product"),
            Self::NotFound => write!(f, "not found"),
            Self::IllegalTransition { from, to } => write!(f, "an order cannot go from {from:?} to {to:?}"),
            Self::BeingCancelled { refund } => {
                write!(f, "the order is being called off: refund {refund} is with the gateway")
            }
            Self::IllegalPayment { state } => write!(f, "not allowed while the payment is {state:?}"),
            Self::HoldResolved { by } => write!(f, "the hold was resolved before: {by:?}"),
            Self::CaptureAboveAuthorised { asked, left } => {
                write!(f, "expected at most {left} left to capture, found {asked}")
            }
            Self::RefundAboveCaptured { asked, left } => {
                write!(f, "expected at most {left} left to refund, found {asked}")
            }
            Self::VersionMismatch { expected, found } => {
                write!(f, "expected version {expected}, found {found}")
            }
            Self::BackorderBelowOwed { asked, owed } => {
                write!(f, "expected at least the {owed} units that are owed already, found {asked}")
            }
            Self::BelowHeld { on_hand, held } => {
                write!(f, "expected at least {held} units on hand (held), found {on_hand}")
            }
            Self::NameTaken => write!(f, "the name belongs to somebody else"),
            Self::OffsetOutOfRange { first, found } => {
                write!(f, "expected {first} or later (what was before is released), found {found}")
            }
            Self::StaleGeneration { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::NotLeader { leader } => {
                write!(f, "expected node {leader}, which leads the shard, found another; nothing was begun")
            }
            Self::DeadlineExceeded | Self::Overloaded | Self::Stopped | Self::Unreachable => Ok(()),
        }
    }
}
