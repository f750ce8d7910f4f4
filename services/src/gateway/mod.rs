//! Payment gateways: what asks the world for money. A worker reads intents from the log, calls the
//! gateway and records what it said; nothing on the hot path waits for it.

mod jobs;
pub mod reconcile;
pub mod simulated;
pub mod worker;

use std::fmt;

use onrush_proto::{GatewayResult, Money, OrderId, Text};

pub use crate::retry::Retry;
pub use simulated::Simulated;

/// The gateway in use.
pub enum Gateway {
    /// In process, with its own books; no real money moves.
    Simulated(Simulated),
}

/// What is asked of a gateway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Op {
    /// Authorise, and capture if it is one step.
    Charge,
    /// Take an authorised amount.
    Capture,
    /// Give an authorised amount back.
    Void,
    /// Give taken money back.
    Refund,
}

impl Op {
    /// All operations.
    pub const ALL: [Self; 4] = [Self::Charge, Self::Capture, Self::Void, Self::Refund];

    /// The name in a gateway key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

/// The gateway's idempotency key: `<order>:<attempt>:<op>` (for refunds the refund's number). The
/// same key always gets the first result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GatewayKey {
    /// The order.
    pub order: OrderId,
    /// The attempt's or refund's number.
    pub number: u16,
    /// What is asked.
    pub op: Op,
}

impl fmt::Display for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.order, self.number, self.op.name())
    }
}

/// An attempt to take money.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Its key.
    pub key: GatewayKey,
    /// How much.
    pub amount: Money,
    /// The caller's token of the payment method.
    pub method: Text<47>,
    /// True if authorisation and capture are one step.
    pub capture: bool,
}

/// No answer came: whether the gateway acted is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected an answer of the gateway, found none in time")]
pub struct NoAnswer;

/// A push from the gateway: something became of a key. It may come twice, late, or never; what
/// it is about is read from the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Webhook {
    /// The event's id.
    pub event: u64,
    /// What it is about.
    pub key: GatewayKey,
}

impl Gateway {
    /// What an operator should know at start.
    pub fn notice(&self) -> &'static str {
        match self {
            Self::Simulated(_) => "payments: simulated gateway, no real money moves",
        }
    }

    /// Asks for money. `call` counts the calls under this key, from 0.
    pub async fn charge(&self, charge: Charge, call: u32) -> Result<GatewayResult, NoAnswer> {
        match self {
            Self::Simulated(gateway) => gateway.charge(charge, call).await,
        }
    }

    /// What became of a charge or a capture; `None` if the gateway never heard of it.
    pub async fn query(&self, key: GatewayKey, call: u32) -> Result<Option<GatewayResult>, NoAnswer> {
        match self {
            Self::Simulated(gateway) => gateway.query(key, call).await,
        }
    }

    /// Takes (a part of) an authorised amount; the rest goes back.
    pub async fn capture(
        &self,
        key: GatewayKey,
        amount: Money,
        call: u32,
    ) -> Result<GatewayResult, NoAnswer> {
        match self {
            Self::Simulated(gateway) => gateway.capture(key, amount, call).await,
        }
    }

    /// Gives an authorised amount back.
    pub async fn void(&self, key: GatewayKey, amount: Money, call: u32) -> Result<(), NoAnswer> {
        match self {
            Self::Simulated(gateway) => gateway.void(key, amount, call).await,
        }
    }

    /// Gives taken money back; false if the gateway refuses.
    pub async fn refund(&self, key: GatewayKey, amount: Money, call: u32) -> Result<bool, NoAnswer> {
        match self {
            Self::Simulated(gateway) => gateway.refund(key, amount, call).await,
        }
    }
}
