//! Payment gateways: what asks the world for money. A worker reads intents from the log, calls the
//! gateway and records what it said; nothing on the hot path waits for it.

mod approval;
mod buyer;
mod decline;
mod endpoint;
mod exponent;
mod failover;
mod gateways;
mod hearing;
mod jobs;
mod method;
pub mod paypal;
pub mod reconcile;
mod settled;
pub mod simulated;
pub mod stripe;
pub mod worker;

use std::fmt;
use std::time::Duration;

use onrush_proto::{Currency, GatewayResult, Money, OrderId, Text};

pub use crate::breaker::BreakerState;
pub use crate::retry::Retry;
pub(crate) use approval::asked;
pub use approval::{Approval, ReturnUrl, ReturnUrlError, awaited, start};
pub use decline::DeclineClass;
pub use endpoint::EndpointError;
pub use failover::follow_up;
pub use gateways::{GatewayError, GatewayOptions, Gateways};
pub use hearing::{Hearing, routes};
pub use method::{GatewayKind, Routes, RoutesError, is_card_number};
pub use paypal::PayPal;
pub(crate) use settled::Settled;
pub use simulated::Simulated;
pub use stripe::Stripe;

/// One gateway.
pub enum Gateway {
    /// In process, with its own books; no real money moves.
    Simulated(Box<Simulated>),
    /// Stripe's API.
    Stripe(Box<Stripe>),
    /// PayPal's API.
    PayPal(Box<PayPal>),
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

impl GatewayKey {
    /// A key from its text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (order, number, op) = (parts.next()?, parts.next()?, parts.next()?);
        let op = Op::ALL.into_iter().find(|known| known.name() == op)?;
        let key = Self { order: order.parse().ok()?, number: number.parse().ok()?, op };
        parts.next().is_none().then_some(key)
    }
}

/// An attempt to take money.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Its key.
    pub key: GatewayKey,
    /// How much.
    pub amount: Money,
    /// The caller's tokens of the payment method, the one to use first.
    pub method: Text<47>,
    /// True if authorisation and capture are one step.
    pub capture: bool,
    /// When the attempt began, in us since the epoch.
    pub started_us: u64,
}

/// What asking for money came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Charged {
    /// It is settled.
    Done(GatewayResult),
    /// The buyer is to approve it first.
    Action(Approval),
}

/// How a buyer stands to what is to be approved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Consent {
    /// Nothing was said yet.
    Awaited,
    /// It was given; the money is to be taken, or on its way.
    Given,
    /// All is done.
    Settled(GatewayResult),
}

/// What follows a charge that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its key.
    pub key: GatewayKey,
    /// The gateway's name of the charge.
    pub reference: Text<63>,
    /// How much.
    pub amount: Money,
}

/// Money that is to go back.
#[derive(Clone, Debug)]
pub struct Refunding {
    /// Its key.
    pub key: GatewayKey,
    /// How much.
    pub amount: Money,
    /// The charges that brought money, by the gateway's names; mostly one.
    pub charges: Vec<Text<63>>,
}

impl Refunding {
    /// The same as a step of one charge.
    fn of(&self, reference: Text<63>) -> Step {
        Step { key: self.key, reference, amount: self.amount }
    }
}

/// Why there is no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// No answer came: whether the gateway acted is unknown.
    #[error("expected an answer of the gateway, found none in time")]
    NoAnswer,
    /// The gateway has it and is not done: the buyer or a bank has to act.
    #[error("expected the gateway to be done, found it waiting for others")]
    Pending,
    /// This call certainly did nothing; another makes sense after the pause.
    #[error("expected to reach the gateway, found it closed for {} ms", .0.as_millis())]
    Untouched(Duration),
}

/// A push from the gateway: something became of a key. It may come twice, late, or never; what
/// it is about is read from the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Webhook {
    /// The event's id.
    pub event: u64,
    /// What it is about.
    pub key: GatewayKey,
}

/// What a gateway says now of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    /// The attempt.
    key: GatewayKey,
    /// What became of it; `None` = it is not done.
    result: Option<GatewayResult>,
}

/// What a gateway's books say of one charge, in minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Booked {
    /// Taken.
    pub captured: i64,
    /// Given back.
    pub refunded: i64,
}

impl Gateway {
    /// Which one it is.
    pub fn kind(&self) -> GatewayKind {
        match self {
            Self::Simulated(_) => GatewayKind::Simulated,
            Self::Stripe(_) => GatewayKind::Stripe,
            Self::PayPal(_) => GatewayKind::PayPal,
        }
    }

    /// What an operator should know at start.
    fn notice(&self) -> String {
        match self {
            Self::Simulated(_) => "payments: simulated gateway, no real money moves".into(),
            Self::Stripe(gateway) => format!("payments: Stripe at {}, real money moves", gateway.base()),
            Self::PayPal(gateway) => format!("payments: PayPal at {}, real money moves", gateway.base()),
        }
    }

    /// Asks for money. `call` counts the calls under this key, from 0.
    async fn charge(&self, charge: &Charge, call: u32) -> Result<Charged, Trouble> {
        match self {
            Self::Simulated(gateway) => gateway.charge(*charge, call).await.map(Charged::Done),
            Self::Stripe(gateway) => gateway.charge(charge).await,
            Self::PayPal(gateway) => gateway.charge(charge).await,
        }
    }

    /// What became of a charge that got no answer; `None` if the gateway never heard of it.
    async fn find_charge(&self, charge: &Charge, call: u32) -> Result<Option<Charged>, Trouble> {
        match self {
            Self::Simulated(gateway) => Ok(gateway.query(charge.key, call).await?.map(Charged::Done)),
            Self::Stripe(gateway) => gateway.find_charge(charge).await,
            Self::PayPal(_) => PayPal::find_charge(charge),
        }
    }

    /// How the buyer stands to a charge that is to be approved, by the gateway's name of it.
    async fn consent(&self, reference: &str) -> Result<Consent, Trouble> {
        match self {
            // It asks nobody.
            Self::Simulated(_) => Err(Trouble::Pending),
            Self::Stripe(gateway) => gateway.consent(reference).await,
            Self::PayPal(gateway) => gateway.consent(reference).await,
        }
    }

    /// Takes the money of a charge that the buyer approved, or sees what became of it.
    async fn take(&self, charge: &Charge, reference: &str) -> Result<GatewayResult, Trouble> {
        match self {
            Self::Simulated(_) => Err(Trouble::Pending),
            Self::Stripe(gateway) => gateway.take(reference).await,
            Self::PayPal(gateway) => gateway.take(charge, reference).await,
        }
    }

    /// Calls off a charge that is to be approved; it may have been settled meanwhile.
    async fn abandon(&self, charge: &Charge, reference: &str) -> Result<GatewayResult, Trouble> {
        match self {
            Self::Simulated(_) => Err(Trouble::Pending),
            Self::Stripe(gateway) => gateway.abandon(charge, reference).await,
            Self::PayPal(gateway) => gateway.abandon(reference).await,
        }
    }

    /// Takes (a part of) an authorised amount; the rest goes back. `asked` says that an earlier call
    /// may have done it.
    async fn capture(&self, step: &Step, asked: bool, call: u32) -> Result<GatewayResult, Trouble> {
        match self {
            Self::Simulated(gateway) => {
                if asked && let Some(result) = gateway.query(step.key, call).await? {
                    return Ok(result);
                }
                gateway.capture(step.key, step.amount, call).await
            }
            Self::Stripe(gateway) => gateway.capture(step, asked).await,
            Self::PayPal(gateway) => gateway.capture(step).await,
        }
    }

    /// Gives an authorised amount back. `asked` says that an earlier call may have done it.
    async fn void(&self, step: &Step, asked: bool, call: u32) -> Result<(), Trouble> {
        match self {
            Self::Simulated(gateway) => gateway.void(step.key, step.amount, call).await,
            Self::Stripe(gateway) => gateway.void(step, asked).await,
            Self::PayPal(gateway) => gateway.void(step).await,
        }
    }

    /// Gives taken money back; false if the gateway refuses.
    async fn refund(&self, step: &Step, asked: bool, call: u32) -> Result<bool, Trouble> {
        match self {
            Self::Simulated(gateway) => gateway.refund(step.key, step.amount, call).await,
            Self::Stripe(gateway) => gateway.refund(step, asked).await,
            Self::PayPal(gateway) => gateway.refund(step).await,
        }
    }

    /// Whether a refund was made; `None` if the gateway never heard of it.
    async fn find_refund(&self, step: &Step) -> Result<Option<bool>, Trouble> {
        match self {
            // It keeps keys for good: asking again is asking.
            Self::Simulated(_) => Ok(None),
            Self::Stripe(gateway) => gateway.refunded(step).await,
            Self::PayPal(gateway) => gateway.refunded(step).await,
        }
    }

    /// What the books say of a charge.
    async fn booked(&self, reference: &str, currency: Currency) -> Result<Booked, Trouble> {
        match self {
            Self::Simulated(gateway) => Ok(gateway.booked(reference)),
            Self::Stripe(gateway) => gateway.booked(reference, currency).await,
            Self::PayPal(gateway) => gateway.booked(reference, currency).await,
        }
    }
}
