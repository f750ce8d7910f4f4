//! What Stripe says, as far as it is read.

use onrush_proto::{Currency, GatewayResult, Text};
use serde::Deserialize;
use serde::de::Deserializer;

use super::{charge_key, inward};
use crate::gateway::decline::kept as code;
use crate::gateway::{Booked, GatewayKey};

/// A payment intent.
#[derive(Deserialize, Debug)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: String,
    #[serde(default)]
    amount_received: i64,
    #[serde(default)]
    metadata: Metadata,
    last_payment_error: Option<Refusal>,
    latest_charge: Option<Latest>,
}

/// What we wrote on it.
#[derive(Deserialize, Default, Debug)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) onrush_key: String,
}

/// The charge of an intent: its id, or the whole of it where it was asked for.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum Latest {
    Whole {
        #[serde(default)]
        amount_refunded: i64,
    },
    #[allow(dead_code, reason = "only told from the other form")]
    Id(String),
}

/// A page of intents, newest first.
#[derive(Deserialize, Debug)]
pub(super) struct Page {
    pub(super) data: Vec<Intent>,
}

/// What a search found.
pub(super) type Found = Page;

/// A refusal.
#[derive(Deserialize, Default, Debug)]
pub(super) struct Problem {
    #[serde(default)]
    pub(super) error: Refusal,
}

/// Why a call or a payment was refused.
#[derive(Deserialize, Default, Debug)]
pub(super) struct Refusal {
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) r#type: String,
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) code: String,
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) decline_code: String,
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) param: String,
}

fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Intent {
    /// The attempt it was made for.
    pub(super) fn key(&self) -> Option<GatewayKey> {
        charge_key(&self.metadata.onrush_key)
    }

    /// True if it was made and nothing was asked of anybody yet.
    pub(super) fn is_unconfirmed(&self) -> bool {
        let fresh = self.status == "requires_payment_method" && self.last_payment_error.is_none();
        fresh || self.status == "requires_confirmation"
    }

    /// What became of the charge; `None` = it is not done.
    pub(super) fn charged(&self) -> Option<GatewayResult> {
        let reference = Text::new(&self.id).ok()?;
        match self.status.as_str() {
            "succeeded" => Some(GatewayResult::Captured { reference }),
            "requires_capture" => Some(GatewayResult::Authorised { reference }),
            "canceled" => Some(GatewayResult::Declined { code: code("canceled") }),
            "requires_payment_method" => Some(GatewayResult::Declined { code: self.why() }),
            _ => None,
        }
    }

    /// What became of the capture; `None` = there was none.
    pub(super) fn captured(&self) -> Option<GatewayResult> {
        let reference = Text::new(&self.id).ok()?;
        match self.status.as_str() {
            "succeeded" => Some(GatewayResult::Captured { reference }),
            "canceled" | "requires_payment_method" => {
                Some(GatewayResult::CaptureFailed { code: code("authorization_expired") })
            }
            _ => None,
        }
    }

    /// True if there is no reservation of money.
    pub(super) fn holds_nothing(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "requires_payment_method" | "requires_confirmation")
    }

    /// What the books say.
    pub(super) fn booked(&self, currency: Currency) -> Booked {
        let refunded = match &self.latest_charge {
            Some(Latest::Whole { amount_refunded }) => *amount_refunded,
            Some(Latest::Id(_)) | None => 0,
        };
        Booked { captured: inward(self.amount_received, currency), refunded: inward(refunded, currency) }
    }

    fn why(&self) -> Text<31> {
        let error = self.last_payment_error.as_ref();
        let known = error.map(|error| [error.decline_code.as_str(), error.code.as_str()]);
        let first = known.into_iter().flatten().find(|text| !text.is_empty());
        code(first.unwrap_or("card_declined"))
    }
}

/// A refund.
#[derive(Deserialize, Debug)]
pub(super) struct Refund {
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) metadata: Metadata,
}

impl Refund {
    /// True if the money is back, false if it will not be; `None` = a bank is at it.
    pub(super) fn done(&self) -> Option<bool> {
        match self.status.as_str() {
            "succeeded" => Some(true),
            "failed" | "canceled" => Some(false),
            _ => None,
        }
    }
}

/// The refunds of one intent.
#[derive(Deserialize, Debug)]
pub(super) struct Refunds {
    pub(super) data: Vec<Refund>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_says_what_became_of_charge_and_capture() {
        let intent = |status: &str, more: &str| -> Intent {
            let text = format!(r#"{{"id":"pi_1","status":"{status}"{more}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let reference = Text::new("pi_1").unwrap();
        let declined = |text| Some(GatewayResult::Declined { code: code(text) });
        let lost = Some(GatewayResult::CaptureFailed { code: code("authorization_expired") });
        let (taken, held) =
            (Some(GatewayResult::Captured { reference }), Some(GatewayResult::Authorised { reference }));
        let error =
            r#","last_payment_error":{"code":"card_declined","decline_code":"lost_card","param":null}"#;
        for (status, more, charged, captured) in [
            ("succeeded", "", taken, taken),
            ("requires_capture", "", held, None),
            ("processing", "", None, None),
            ("requires_action", "", None, None),
            ("canceled", "", declined("canceled"), lost),
            ("requires_payment_method", error, declined("lost_card"), lost),
        ] {
            let intent = intent(status, more);
            assert_eq!((intent.charged(), intent.captured()), (charged, captured), "{status}");
            assert!(!intent.is_unconfirmed(), "{status}");
        }
        assert!(intent("requires_confirmation", "").is_unconfirmed());
        assert!(intent("requires_payment_method", "").is_unconfirmed());
    }

    #[test]
    fn books_are_read_in_our_units_from_either_form_of_a_charge() {
        let text = r#"{"id":"pi_1","status":"succeeded","amount_received":50000,
            "latest_charge":{"id":"ch_1","amount_refunded":10000},"metadata":{"onrush_key":"x"}}"#;
        let intent: Intent = serde_json::from_str(text).unwrap();
        assert_eq!(intent.booked("ISK".parse().unwrap()), Booked { captured: 500, refunded: 100 });
        assert_eq!(intent.key(), None);
        let text = r#"{"id":"pi_1","status":"succeeded","amount_received":5,"latest_charge":"ch_1"}"#;
        let intent: Intent = serde_json::from_str(text).unwrap();
        assert_eq!(intent.booked(Currency::EUR), Booked { captured: 5, refunded: 0 });
    }
}
