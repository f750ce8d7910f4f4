//! What was asked and what came of it: every latency is filed under this pair, so that cheap
//! refusals cannot hide slow acceptances.

use onrush_proto::{Outcome, Refusal, Reply};

/// What the client did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Operation {
    /// The first send of an order.
    CreateOrder,
    /// The same order again under the same key.
    CreateOrderAgain,
    /// Another order under a key that is taken.
    CreateOrderOtherBody,
    /// The first send of an order by a bot.
    BotOrder,
    /// An order for the one SKU that takes all on its shard.
    HotOrder,
    /// An order on another shard while there is no such SKU.
    AloneOrder,
    /// An order on another shard beside it.
    BesideOrder,
    /// An order while several times the capacity is offered.
    OverloadOrder,
    /// An order after that.
    AfterOrder,
    /// An order for units that came back, after the schedule's end.
    LastCall,
    /// A payment attempt begins.
    StartPayment,
    /// The gateway's word on an attempt.
    SettlePayment,
    /// Both in one: an attempt that the server's gateway settles.
    ProcessPayment,
    /// Silence of the gateway, on record.
    SettleUnknown,
    /// The buyer calls the order off.
    CancelOrder,
    /// A part of the money is to go back.
    Refund,
    /// The gateway's word on a refund.
    SettleRefund,
    /// A product page.
    GetProduct,
    /// Price and stock of what is in the basket.
    Validate,
    /// From a hold's deadline to its expiry record, on the shard's clock.
    ExpiryLag,
}

impl Operation {
    /// All operations, in the order of reports.
    pub(crate) const ALL: [Self; 20] = [
        Self::CreateOrder,
        Self::CreateOrderAgain,
        Self::CreateOrderOtherBody,
        Self::BotOrder,
        Self::HotOrder,
        Self::AloneOrder,
        Self::BesideOrder,
        Self::OverloadOrder,
        Self::AfterOrder,
        Self::LastCall,
        Self::StartPayment,
        Self::SettlePayment,
        Self::ProcessPayment,
        Self::SettleUnknown,
        Self::CancelOrder,
        Self::Refund,
        Self::SettleRefund,
        Self::GetProduct,
        Self::Validate,
        Self::ExpiryLag,
    ];

    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateOrder => "create_order",
            Self::CreateOrderAgain => "create_order_again",
            Self::CreateOrderOtherBody => "create_order_other_body",
            Self::BotOrder => "create_order_by_bots",
            Self::HotOrder => "create_order_hot",
            Self::AloneOrder => "create_order_alone",
            Self::BesideOrder => "create_order_beside",
            Self::OverloadOrder => "create_order_overload",
            Self::AfterOrder => "create_order_after",
            Self::LastCall => "last_call",
            Self::StartPayment => "start_payment",
            Self::SettlePayment => "settle_payment",
            Self::ProcessPayment => "process_payment",
            Self::SettleUnknown => "settle_unknown",
            Self::CancelOrder => "cancel_order",
            Self::Refund => "refund",
            Self::SettleRefund => "settle_refund",
            Self::GetProduct => "get_product",
            Self::Validate => "validate",
            Self::ExpiryLag => "expiry_lag",
        }
    }

    /// True for what a buyer sends within the schedule to get an order.
    pub(crate) fn is_order(self) -> bool {
        self as usize <= Self::AfterOrder as usize
    }

    /// True for the first send of an order: its acceptance is a new order.
    pub(crate) fn is_first_send(self) -> bool {
        self.is_order() && !matches!(self, Self::CreateOrderAgain | Self::CreateOrderOtherBody)
    }
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Verdict {
    /// Done, and durable.
    Accepted,
    /// Not enough units.
    SoldOut,
    /// The customer's limit, or more money back than is left.
    Limited,
    /// A key seen before: the first answer again, still running, or another body under it.
    Duplicate,
    /// The engine is at a bound; come back later.
    Throttled,
    /// Anything else, a client's time-out included.
    Error,
}

impl Verdict {
    /// All verdicts, in the order of reports.
    pub(crate) const ALL: [Self; 6] =
        [Self::Accepted, Self::SoldOut, Self::Limited, Self::Duplicate, Self::Throttled, Self::Error];

    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::SoldOut => "sold_out",
            Self::Limited => "limited",
            Self::Duplicate => "duplicate",
            Self::Throttled => "throttled",
            Self::Error => "error",
        }
    }

    /// How an answer counts.
    pub(crate) fn of(reply: &Reply) -> Self {
        match &reply.outcome {
            Outcome::Accepted(_) if reply.replayed => Self::Duplicate,
            Outcome::Refused(refusal) => Self::of_refusal(refusal),
            _ => Self::Accepted,
        }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::OutOfStock { .. } => Self::SoldOut,
            Refusal::LimitExceeded { .. } | Refusal::RefundAboveCaptured { .. } => Self::Limited,
            Refusal::KeyReused | Refusal::KeyInProgress => Self::Duplicate,
            Refusal::Overloaded => Self::Throttled,
            _ => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::{Lsn, Receipt};

    use super::*;

    fn verdict(outcome: Outcome, replayed: bool) -> Verdict {
        Verdict::of(&Reply { outcome, replayed, lsn: Lsn(0) })
    }

    #[test]
    fn operations_are_numbered_as_they_are_listed() {
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, number, "{operation:?}");
        }
        let orders: Vec<&str> =
            Operation::ALL.into_iter().filter(|one| one.is_order()).map(Operation::name).collect();
        assert!(orders.iter().all(|name| name.starts_with("create_order")), "{orders:?}");
        assert!(!Operation::CreateOrderAgain.is_first_send() && Operation::AfterOrder.is_first_send());
    }

    #[test]
    fn every_answer_has_its_column() {
        let accepted = Outcome::Accepted(Receipt::Offset { lsn: 1 });
        assert_eq!(verdict(accepted.clone(), false), Verdict::Accepted);
        assert_eq!(verdict(accepted, true), Verdict::Duplicate);
        for (refusal, expected) in [
            (Refusal::OutOfStock { line: 0, asked: 1, available: 0 }, Verdict::SoldOut),
            (Refusal::LimitExceeded { line: 0, limit: 2, bought: 2 }, Verdict::Limited),
            (Refusal::KeyReused, Verdict::Duplicate),
            (Refusal::KeyInProgress, Verdict::Duplicate),
            (Refusal::Overloaded, Verdict::Throttled),
            (Refusal::Stopped, Verdict::Error),
            (Refusal::UnknownProduct, Verdict::Error),
        ] {
            assert_eq!(verdict(Outcome::Refused(refusal), false), expected, "{refusal}");
        }
    }
}
