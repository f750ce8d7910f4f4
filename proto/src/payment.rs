//! The money of an order: its intent with attempts, refunds and postings, and the ledger that they add up to.

#![allow(missing_docs, reason = "rkyv derives public items of variant structs without docs")]

use rkyv::{Archive, Deserialize, Serialize};
use smallvec::SmallVec;

use crate::money::Currency;
use crate::text::Text;

/// Where the money of an order stands (after Stripe's PaymentIntent).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
pub enum PaymentState {
    /// No attempt is under way.
    RequiresPaymentMethod,
    /// The buyer must act (3-D Secure, approval).
    RequiresAction,
    /// An attempt is with the gateway, or its outcome is unknown.
    Processing,
    /// Authorised, not captured.
    RequiresCapture,
    /// Captured.
    Succeeded,
    /// Called off.
    Canceled,
}

/// The intent's attempts, refunds and ledger postings.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Payment {
    /// Where the money stands.
    pub state: PaymentState,
    /// Minor units reserved with the gateway.
    pub authorised: i64,
    /// Minor units taken.
    pub captured: i64,
    /// Minor units given back (settled refunds).
    pub refunded: i64,
    /// Every try, numbered from 1.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// Every refund, numbered from 1.
    pub refunds: Vec<Refund>,
    /// Every movement of money, in order.
    pub postings: SmallVec<[Posting; 2]>,
}

impl Payment {
    /// An intent without attempts.
    pub fn new() -> Self {
        Self {
            state: PaymentState::RequiresPaymentMethod,
            authorised: 0,
            captured: 0,
            refunded: 0,
            attempts: SmallVec::new(),
            refunds: Vec::new(),
            postings: SmallVec::new(),
        }
    }

    /// Sum of all refunds that have not failed, pending ones included, in minor units.
    pub fn refunds_open_or_settled(&self) -> i64 {
        self.refunds
            .iter()
            .filter(|refund| refund.state != RefundState::Failed)
            .filter(|refund| !crate::planted::planted(8) || refund.state != RefundState::Pending)
            .map(|refund| refund.minor)
            .sum()
    }
}

impl Default for Payment {
    fn default() -> Self {
        Self::new()
    }
}

/// One try to take the money.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first; part of the gateway's idempotency key.
    pub number: u16,
    /// How it went.
    pub state: AttemptState,
    /// True if authorisation and capture are one step.
    pub capture: bool,
    /// Minor units asked for.
    pub minor: i64,
    /// Minor units of it that are being captured, or were; 0 = it was never asked apart.
    pub capture_minor: i64,
    /// The caller's token of the payment method.
    pub method: Text<47>,
    /// The gateway's reference, once known.
    pub reference: Text<63>,
    /// Why it was declined.
    pub decline: Text<31>,
    /// Shard time of the start in us.
    pub started_us: u64,
}

/// How an attempt went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
pub enum AttemptState {
    /// With the gateway.
    Processing,
    /// Reserved.
    Authorised,
    /// Taken.
    Captured,
    /// Refused for good.
    Declined,
    /// No answer came: to be settled by query, webhook or the reconciler, never by a new key.
    Unknown,
    /// Reserved, then given back uncaptured.
    Voided,
    /// Reserved; its capture is with the gateway.
    Capturing,
}

/// What the gateway said of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum GatewayResult {
    /// The money is reserved.
    Authorised {
        /// The gateway's reference.
        reference: Text<63>,
    },
    /// The money is taken.
    Captured {
        /// The gateway's reference.
        reference: Text<63>,
    },
    /// The attempt failed for good.
    Declined {
        /// The gateway's decline code.
        code: Text<31>,
    },
    /// What was reserved cannot be taken any more.
    CaptureFailed {
        /// The gateway's code.
        code: Text<31>,
    },
    /// Nobody knows yet.
    Unknown,
}

/// Money on its way back.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Refund {
    /// 1 for the first; part of the gateway's idempotency key.
    pub number: u16,
    /// Minor units.
    pub minor: i64,
    /// How it went.
    pub state: RefundState,
    /// True if the order is called off once the money is back.
    pub cancels: bool,
    /// True for money that bought nothing: a second charge, or one for an order that was gone.
    pub surplus: bool,
    /// Shard time of the request in us.
    pub started_us: u64,
}

/// How a refund went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
pub enum RefundState {
    /// With the gateway.
    Pending,
    /// Given back.
    Succeeded,
    /// Refused by the gateway; does not count any more.
    Failed,
}

/// The ledger's accounts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
pub enum Account {
    /// The buyers' money outside.
    Customer,
    /// Reserved with a gateway.
    Authorised,
    /// Taken.
    Captured,
    /// Given back.
    Refunded,
    /// Kept by gateways.
    Fees,
}

impl Account {
    /// All accounts, in the order of [`LedgerRow::balances`].
    pub const ALL: [Self; 5] = [Self::Customer, Self::Authorised, Self::Captured, Self::Refunded, Self::Fees];
}

/// One movement of money: what one account loses the other gains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Posting {
    /// Loses `minor`.
    pub from: Account,
    /// Gains `minor`.
    pub to: Account,
    /// Minor units, positive.
    pub minor: i64,
    /// Shard time in us.
    pub at_us: u64,
}

/// Balances of one currency on one shard; they sum to zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The currency.
    pub currency: Currency,
    /// Minor units per account, in the order of [`Account::ALL`].
    pub balances: [i64; 5],
}
