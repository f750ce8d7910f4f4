//! What Stripe says, as far as it is read.

use onrush_proto::{Currency, GatewayResult, Text};
use serde::Deserialize;
use serde::de::Deserializer;

use super::{charge_key, inward};
use crate::gateway::decline::{self, kept as code};
use crate::gateway::{Approval, Booked, Charged, GatewayKey, Trouble};

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
    next_action: Option<NextAction>,
}

/// What the buyer is to do; other ways than a page to go to are for Stripe's own library.
#[derive(Deserialize, Debug)]
struct NextAction {
    redirect_to_url: Option<Page3ds>,
}

#[derive(Deserialize, Debug)]
struct Page3ds {
    url: Option<String>,
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

    /// True if it is for the buyer to go on.
    pub(super) fn waits_for_the_buyer(&self) -> bool {
        self.status == "requires_action"
    }

    /// What asking for money came to.
    pub(super) fn outcome(&self) -> Result<Charged, Trouble> {
        if let Some(result) = self.charged() {
            return Ok(Charged::Done(result));
        }
        let page = self.next_action.as_ref().and_then(|action| action.redirect_to_url.as_ref()?.url.as_ref());
        let approval =
            page.filter(|_| self.waits_for_the_buyer()).and_then(|url| Approval::new(url, &self.id));
        approval.map(Charged::Action).ok_or(Trouble::Pending)
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

    /// True if it took money.
    pub(super) fn took(&self) -> bool {
        self.amount_received > 0
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
        match known.into_iter().flatten().find(|text| !text.is_empty()) {
            // Longer than what is kept.
            Some("payment_intent_authentication_failure") => code(decline::NOT_AUTHENTICATED),
            Some(known) => code(known),
            None => code("card_declined"),
        }
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
        let unproved = r#","last_payment_error":{"code":"payment_intent_authentication_failure"}"#;
        for (status, more, charged, captured) in [
            ("succeeded", "", taken, taken),
            ("requires_capture", "", held, None),
            ("processing", "", None, None),
            ("requires_action", "", None, None),
            ("canceled", "", declined("canceled"), lost),
            ("requires_payment_method", error, declined("lost_card"), lost),
            ("requires_payment_method", unproved, declined("authentication_failed"), lost),
        ] {
            let intent = intent(status, more);
            assert_eq!((intent.charged(), intent.captured()), (charged, captured), "{status}");
            assert!(!intent.is_unconfirmed(), "{status}");
        }
        assert!(intent("requires_confirmation", "").is_unconfirmed());
        assert!(intent("requires_payment_method", "").is_unconfirmed());
    }

    #[test]
    fn a_page_for_the_buyer_is_told_and_nothing_else_that_looks_like_one() {
        let page = |action: &str| {
            let text = format!(r#"{{"id":"pi_1","status":"requires_action","next_action":{action}}}"#);
            serde_json::from_str::<Intent>(&text).unwrap().outcome()
        };
        let url = "https://hooks.stripe.com/3d_secure_2/1";
        let good = format!(r#"{{"type":"redirect_to_url","redirect_to_url":{{"url":"{url}"}}}}"#);
        assert_eq!(page(&good), Ok(Charged::Action(Approval::new(url, "pi_1").unwrap())));
        for action in [
            "null".into(),
            r#"{"type":"use_stripe_sdk","use_stripe_sdk":{"type":"three_d_secure_redirect"}}"#.into(),
            r#"{"type":"redirect_to_url","redirect_to_url":{"url":null}}"#.into(),
            good.replace("https:", "javascript:"),
        ] {
            assert_eq!(page(&action), Err(Trouble::Pending), "{action}");
        }
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
