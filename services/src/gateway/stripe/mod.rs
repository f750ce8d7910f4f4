//! Stripe's API: payment intents that are confirmed as they are made, captured, cancelled and refunded,
//! each under the key of what is asked. What got no answer is looked for by that key before it is asked
//! again, under the same key.

mod message;
mod refund;
mod webhook;

use std::time::Duration;

use onrush_proto::{Currency, GatewayResult, Money, OrderId, Text};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};

use super::decline::{self, kept as code};
use super::endpoint::{self, Answer, Endpoint, EndpointError, segment};
use super::{
    Booked, Charge, Charged, Consent, GatewayKey, Op, ReturnUrl, Seen, Step, Trouble, exponent, method,
};
use crate::clock::now_us;
use crate::config::Secret;
pub(super) use webhook::{Event, is_signed};

use message::{Found, Intent, Page, Problem};

/// The version of the API that is spoken here, whatever the account's default is.
const VERSION: &str = "2024-06-20";
const VERSION_HEADER: HeaderName = HeaderName::from_static("stripe-version");
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Stripe forgets keys after 24 h. From here on silence is never answered by asking again.
const KEY_LIFE: Duration = Duration::from_secs(23 * 3_600);
/// Intents read at once.
const PAGE: usize = 100;

/// Stripe.
pub struct Stripe {
    endpoint: Endpoint,
    key: Secret,
    webhook_secret: Secret,
    return_url: Option<ReturnUrl>,
}

/// How to reach Stripe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StripeOptions {
    /// Where its API begins.
    pub base: String,
    /// The key that says who we are.
    pub key: Secret,
    /// What signs its webhooks; none = they are not believed.
    pub webhook_secret: Secret,
    /// Where buyers come back to who proved that a card is theirs; none = what they would have to prove is
    /// declined.
    pub return_url: Option<ReturnUrl>,
    /// How long one call may take before nobody knows.
    pub timeout: Duration,
}

impl StripeOptions {
    /// The usual patience.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
}

/// An intent in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    /// Its name.
    pub(super) id: String,
    /// The order it is for; `None` = it is not ours.
    pub(super) order: Option<OrderId>,
    /// True if it took money.
    pub(super) took: bool,
}

/// Which intents to list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since<'a> {
    /// Those behind this one.
    After(&'a str),
    /// Those made at this time or later, and before this one.
    From {
        /// In us since the epoch.
        from_us: u64,
        /// An intent.
        older_than: Option<&'a str>,
    },
}

/// A refusal of ours that Stripe would repeat.
struct Refused {
    code: Text<31>,
    /// True if an intent or refund has moved on since we looked.
    moved: bool,
}

/// What a call came to.
enum Said<T> {
    Done(T),
    Declined(Text<31>),
    Refused(Refused),
}

impl Stripe {
    /// An adapter. No call is made yet.
    pub fn new(options: StripeOptions) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::new("stripe-api-base", &options.base, options.timeout)?;
        let StripeOptions { key, webhook_secret, return_url, .. } = options;
        Ok(Self { endpoint, key, webhook_secret, return_url })
    }

    /// Where its API begins.
    pub fn base(&self) -> &str {
        self.endpoint.base()
    }

    /// What signs its webhooks.
    pub(super) fn webhook_secret(&self) -> &Secret {
        &self.webhook_secret
    }

    pub(super) async fn charge(&self, charge: &Charge) -> Result<Charged, Trouble> {
        let Some(amount) = outward(charge.amount) else {
            return Ok(Charged::Done(GatewayResult::Declined { code: code(decline::AMOUNT) }));
        };
        let token = method::first(&charge.method).to_owned();
        let capture_method = if charge.capture { "automatic" } else { "manual" };
        let form = [
            ("amount", amount.to_string()),
            ("currency", charge.amount.currency.as_str().to_ascii_lowercase()),
            ("payment_method", token),
            ("confirm", "true".into()),
            ("capture_method", capture_method.into()),
            ("automatic_payment_methods[enabled]", "true".into()),
            ("automatic_payment_methods[allow_redirects]", "never".into()),
            self.proof(charge.key),
            ("metadata[order_id]", charge.key.order.to_string()),
            ("metadata[onrush_key]", charge.key.to_string()),
        ];
        let request = self.post("payment_intents", &charge.key.to_string()).form(&form);
        match self.said::<Intent>(request).await? {
            Said::Done(intent) if intent.is_unconfirmed() => self.confirm(charge, &intent).await,
            Said::Done(intent) => intent.outcome(),
            Said::Declined(code) | Said::Refused(Refused { code, .. }) => {
                Ok(Charged::Done(GatewayResult::Declined { code }))
            }
        }
    }

    /// What becomes of a proof that only the buyer can give: the buyer's browser is sent for it and comes back,
    /// or it is a decline.
    fn proof(&self, key: GatewayKey) -> (&'static str, String) {
        match &self.return_url {
            Some(url) => ("return_url", url.of(key.order)),
            None => ("error_on_requires_action", "true".into()),
        }
    }

    /// An intent that was made and not confirmed has moved nothing.
    async fn confirm(&self, charge: &Charge, intent: &Intent) -> Result<Charged, Trouble> {
        let GatewayKey { order, number, .. } = charge.key;
        let path = format!("payment_intents/{}/confirm", segment(&intent.id));
        let form = [("payment_method", method::first(&charge.method).to_owned()), self.proof(charge.key)];
        let request = self.post(&path, &format!("{order}:{number}:confirm")).form(&form);
        match self.said::<Intent>(request).await? {
            Said::Done(intent) => intent.outcome(),
            Said::Declined(code) => Ok(Charged::Done(GatewayResult::Declined { code })),
            // Somebody confirmed it meanwhile.
            Said::Refused(_) => self.intent(&intent.id).await?.outcome(),
        }
    }

    /// Looks for a charge by its key. The search may lag behind by a minute: what it does not find is
    /// asked again under the same key, which Stripe does once, for as long as Stripe remembers keys.
    pub(super) async fn find_charge(&self, charge: &Charge) -> Result<Option<Charged>, Trouble> {
        let query = format!("metadata['onrush_key']:'{}'", charge.key);
        let request = self.get("payment_intents/search").query(&[("query", query.as_str())]);
        let found = match self.said::<Found>(request).await? {
            Said::Done(found) => found.data.into_iter().find(|intent| intent.key() == Some(charge.key)),
            // Not every account may search.
            Said::Declined(_) | Said::Refused(_) => None,
        };
        match found {
            Some(intent) if intent.is_unconfirmed() => self.confirm(charge, &intent).await.map(Some),
            Some(intent) => intent.outcome().map(Some),
            None => {
                let age_us = now_us().saturating_sub(charge.started_us);
                if age_us < KEY_LIFE.as_micros() as u64 { Ok(None) } else { Err(Trouble::NoAnswer) }
            }
        }
    }

    /// How the buyer stands to an intent that is to be approved.
    pub(super) async fn consent(&self, id: &str) -> Result<Consent, Trouble> {
        let intent = self.intent(id).await?;
        Ok(match intent.charged() {
            Some(result) => Consent::Settled(result),
            None if intent.waits_for_the_buyer() => Consent::Awaited,
            None => Consent::Given,
        })
    }

    /// An intent that was approved takes the money by itself.
    pub(super) async fn take(&self, id: &str) -> Result<GatewayResult, Trouble> {
        self.intent(id).await?.charged().ok_or(Trouble::Pending)
    }

    /// Cancels an intent that the buyer did not approve; one that was approved meanwhile says so. It is looked
    /// at first: Stripe repeats its answer under a key, also a failure after it did what it was asked.
    pub(super) async fn abandon(&self, charge: &Charge, id: &str) -> Result<GatewayResult, Trouble> {
        if let Some(result) = self.intent(id).await?.charged() {
            return Ok(result);
        }
        let GatewayKey { order, number, .. } = charge.key;
        let path = format!("payment_intents/{}/cancel", segment(id));
        match self.said::<Intent>(self.post(&path, &format!("{order}:{number}:cancel"))).await? {
            Said::Done(intent) => intent.charged().ok_or(Trouble::Pending),
            Said::Declined(_) | Said::Refused(_) => self.take(id).await,
        }
    }

    pub(super) async fn capture(&self, step: &Step, asked: bool) -> Result<GatewayResult, Trouble> {
        if asked {
            let intent = self.intent(step.reference.as_str()).await?;
            if let Some(result) = intent.captured() {
                return Ok(result);
            }
        }
        let Some(amount) = outward(step.amount) else {
            return Ok(GatewayResult::CaptureFailed { code: code(decline::AMOUNT) });
        };
        let path = format!("payment_intents/{}/capture", segment(step.reference.as_str()));
        let form = [("amount_to_capture", amount.to_string())];
        match self.said::<Intent>(self.post(&path, &step.key.to_string()).form(&form)).await? {
            Said::Done(intent) => intent.captured().ok_or(Trouble::Pending),
            Said::Declined(code) => Ok(GatewayResult::CaptureFailed { code }),
            Said::Refused(Refused { code, moved: false }) => Ok(GatewayResult::CaptureFailed { code }),
            Said::Refused(Refused { moved: true, .. }) => {
                self.intent(step.reference.as_str()).await?.captured().ok_or(Trouble::NoAnswer)
            }
        }
    }

    pub(super) async fn void(&self, step: &Step, asked: bool) -> Result<(), Trouble> {
        // A failure after it was done stands under the key, and would be the answer again and again.
        if asked && self.intent(step.reference.as_str()).await?.holds_nothing() {
            return Ok(());
        }
        let path = format!("payment_intents/{}/cancel", segment(step.reference.as_str()));
        match self.said::<Intent>(self.post(&path, &step.key.to_string())).await? {
            Said::Done(_) => Ok(()),
            Said::Declined(code) | Said::Refused(Refused { code, .. }) => {
                let intent = self.intent(step.reference.as_str()).await?;
                if intent.holds_nothing() {
                    return Ok(());
                }
                tracing::error!(key = %step.key, %code, intent = %intent.status, "a reservation was not given back");
                Err(Trouble::NoAnswer)
            }
        }
    }

    /// The intent as it is now.
    async fn intent(&self, id: &str) -> Result<Intent, Trouble> {
        let request = self.get(&format!("payment_intents/{}", segment(id)));
        match self.said(request.query(&[("expand[]", "latest_charge")])).await? {
            Said::Done(intent) => Ok(intent),
            Said::Declined(_) | Said::Refused(_) => Err(Trouble::NoAnswer),
        }
    }

    /// What an intent that a webhook names says of its attempt; `None` if it is not one of ours.
    pub(super) async fn look(&self, id: &str) -> Result<Option<Seen>, Trouble> {
        let request = self.get(&format!("payment_intents/{}", segment(id)));
        match self.said::<Intent>(request).await? {
            Said::Done(intent) => Ok(intent.key().map(|key| Seen { key, result: intent.charged() })),
            Said::Declined(_) | Said::Refused(_) => Ok(None),
        }
    }

    /// What the books say of a charge.
    pub(super) async fn booked(&self, reference: &str, currency: Currency) -> Result<Booked, Trouble> {
        Ok(self.intent(reference).await?.booked(currency))
    }

    /// A page of intents, newest first.
    pub(super) async fn list(&self, since: Since<'_>) -> Result<Vec<Listed>, Trouble> {
        let mut query = vec![("limit", PAGE.to_string())];
        match since {
            Since::After(id) => query.push(("ending_before", id.to_owned())),
            Since::From { from_us, older_than } => {
                query.push(("created[gte]", (from_us / 1_000_000).to_string()));
                query.extend(older_than.map(|id| ("starting_after", id.to_owned())));
            }
        }
        let page = match self.said::<Page>(self.get("payment_intents").query(&query)).await? {
            Said::Done(page) => page,
            Said::Declined(_) | Said::Refused(_) => return Err(Trouble::NoAnswer),
        };
        let listed = |intent: Intent| Listed {
            order: intent.key().map(|key| key.order),
            took: intent.took(),
            id: intent.id,
        };
        Ok(page.data.into_iter().map(listed).collect())
    }

    fn post(&self, path: &str, key: &str) -> RequestBuilder {
        let request = self.request(Method::POST, path);
        match HeaderValue::from_str(key) {
            Ok(key) => request.header(KEY_HEADER, key),
            Err(_) => request,
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.endpoint.request(method, &format!("v1/{path}"));
        request.bearer_auth(self.key.expose()).header(VERSION_HEADER, VERSION)
    }

    /// Sends a request and sorts what comes of it.
    async fn said<T: serde::de::DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<Said<T>, Trouble> {
        let answer = endpoint::send(request).await?;
        match answer.status {
            status if status.is_success() => answer.json().map(Said::Done),
            StatusCode::TOO_MANY_REQUESTS => Err(answer.busy()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(answer.barred("STRIPE_API_KEY")),
            // The first call under this key is still at it.
            StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => Err(Trouble::NoAnswer),
            status if status.is_client_error() => sorted(&answer),
            _ => Err(Trouble::NoAnswer),
        }
    }
}

/// What a refusal with a body means. Its text is for people and may quote what was sent: it is not kept.
fn sorted<T>(answer: &Answer) -> Result<Said<T>, Trouble> {
    let Problem { error } = serde_json::from_slice(&answer.body).unwrap_or_default();
    if error.r#type == "idempotency_error" {
        // The key was used for something else than we say now: only looking helps.
        tracing::error!("the gateway knows this key with another body");
        return Err(Trouble::NoAnswer);
    }
    if error.r#type == "card_error" || answer.status == StatusCode::PAYMENT_REQUIRED {
        let known = [error.decline_code.as_str(), error.code.as_str()];
        let first = known.into_iter().find(|text| !text.is_empty()).unwrap_or("card_declined");
        return Ok(Said::Declined(code(first)));
    }
    let status = answer.status.as_u16();
    tracing::error!(
        status,
        code = %code(&error.code),
        param = %code(&error.param),
        "the gateway refused what it was asked: a mistake of ours, or of who chose the method"
    );
    let moved = error.code.ends_with("_unexpected_state") || error.code.ends_with("_already_refunded");
    let code = if error.code.is_empty() { code("invalid_request") } else { code(&error.code) };
    Ok(Said::Refused(Refused { code, moved }))
}

/// Stripe's amount in our units; one that cannot be said is told as it stands.
fn inward(value: i64, currency: Currency) -> i64 {
    exponent::stripe(currency).inward(value, currency).unwrap_or(value)
}

/// Our amount in Stripe's units.
fn outward(amount: Money) -> Option<i64> {
    exponent::stripe(amount.currency).outward(amount)
}

/// A charge's key in the metadata of an intent.
fn charge_key(text: &str) -> Option<GatewayKey> {
    GatewayKey::parse(text).filter(|key| key.op == Op::Charge)
}
