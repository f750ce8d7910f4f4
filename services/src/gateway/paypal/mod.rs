//! PayPal's API: an order is made under the key of the attempt and captured, or authorised and captured
//! later. An answer that says "made" has not taken money yet: only a completed capture has.

pub(super) mod listing;
mod message;
mod refund;
mod reservation;
mod token;
mod webhook;

use std::time::Duration;

use onrush_proto::{Currency, GatewayResult, Text};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::decline::{self, kept as code};
use super::endpoint::{self, Answer, Endpoint, EndpointError, segment};
use super::{Booked, Charge, Charged, Consent, GatewayKey, Op, ReturnUrl, Seen, Trouble, method};
use crate::clock::now_us;
use crate::config::Secret;
use message::{Order, Problem, decimal};
use token::Token;
pub(super) use webhook::Event;
use webhook::{Certificates, Signed};

/// PayPal answers a repeated request under its key for 6 h. From here on silence is never answered by
/// asking again.
const KEY_LIFE: Duration = Duration::from_secs(5 * 3_600);
const KEY_HEADER: HeaderName = HeaderName::from_static("paypal-request-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Orders of PayPal are told from other references by this.
const REFERENCE: &str = "pp_";
/// A token that names an order which the buyer approved, rather than a kept method.
const APPROVED: &str = "order:";
/// A token that says: an order is to be made, and the buyer to approve it.
const TO_APPROVE: &str = "order";
/// What PayPal says of what it does not know, or not any more.
const FORGOTTEN: &str = "RESOURCE_NOT_FOUND";

/// PayPal.
pub struct PayPal {
    endpoint: Endpoint,
    token: Token,
    certificates: Certificates,
    webhook_id: String,
    return_url: Option<ReturnUrl>,
}

/// How to reach PayPal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PayPalOptions {
    /// Where its API begins.
    pub base: String,
    /// `client_id:secret`.
    pub key: Secret,
    /// PayPal's name of the webhook that we hear; empty = none is believed.
    pub webhook_id: String,
    /// Where buyers come back to who approved an order or did not; none = nobody is asked to.
    pub return_url: Option<ReturnUrl>,
    /// How long one call may take before nobody knows.
    pub timeout: Duration,
}

impl PayPalOptions {
    /// The usual patience.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
}

/// What a call came to.
enum Said<T> {
    Done(T),
    /// PayPal says no, and would say no again.
    Refused(Text<31>),
}

impl PayPal {
    /// An adapter. No call is made yet.
    pub fn new(options: PayPalOptions) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::new("paypal-api-base", &options.base, options.timeout)?;
        let (token, certificates) = (Token::new(options.key), Certificates::default());
        let PayPalOptions { webhook_id, return_url, .. } = options;
        Ok(Self { endpoint, token, certificates, webhook_id, return_url })
    }

    /// Where its API begins.
    pub fn base(&self) -> &str {
        self.endpoint.base()
    }

    pub(super) async fn charge(&self, charge: &Charge) -> Result<Charged, Trouble> {
        let declined = |code| Ok(Charged::Done(GatewayResult::Declined { code }));
        let Some(value) = decimal(charge.amount) else { return declined(code(decline::AMOUNT)) };
        let token = method::first(&charge.method);
        let token = token.strip_prefix(method::PAYPAL_PREFIX).unwrap_or(token);
        if token == TO_APPROVE && self.return_url.is_none() {
            return declined(code(decline::NO_ROUTE));
        }
        let order = match token.strip_prefix(APPROVED) {
            Some(id) => self.approved(charge, id, &value).await?,
            None => self.create(charge, token, &value).await?,
        };
        match order {
            Said::Done(order) => match order.approval().filter(|_| self.return_url.is_some()) {
                Some(approval) => Ok(Charged::Action(approval)),
                None => self.carry_out(charge, order).await.map(Charged::Done),
            },
            Said::Refused(code) => declined(code),
        }
    }

    /// Makes an order that a kept method pays for, or that the buyer is to approve.
    async fn create(&self, charge: &Charge, token: &str, value: &str) -> Result<Said<Order>, Trouble> {
        let GatewayKey { order, number, .. } = charge.key;
        let amount = json!({"currency_code": charge.amount.currency.as_str(), "value": value});
        // PayPal takes money once per invoice, even when it has forgotten the key.
        let invoice = format!("{order}:{number}");
        let unit = json!({"custom_id": charge.key.to_string(), "invoice_id": invoice, "amount": amount});
        let mut wallet = serde_json::Map::new();
        if token != TO_APPROVE {
            wallet.insert("vault_id".into(), token.into());
        }
        if let Some(url) = self.return_url.as_ref().map(|url| url.of(order)) {
            let context = json!({
                "return_url": url, "cancel_url": url,
                "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING",
            });
            wallet.insert("experience_context".into(), context);
        }
        let body = json!({
            "intent": if charge.capture { "CAPTURE" } else { "AUTHORIZE" },
            "purchase_units": [unit],
            "payment_source": {"paypal": wallet},
        });
        self.post("v2/checkout/orders", &charge.key.to_string(), &body).await
    }

    /// An order that the buyer approved in the browser. It must ask for what ours asks for, and pays for
    /// one attempt only.
    async fn approved(&self, charge: &Charge, id: &str, value: &str) -> Result<Said<Order>, Trouble> {
        let order = match self.get::<Order>(&format!("v2/checkout/orders/{}", segment(id))).await? {
            Said::Done(order) => order,
            refused @ Said::Refused(_) => return Ok(refused),
        };
        let ours = order.asks_for(value, charge.amount.currency);
        let intended = order.intent == if charge.capture { "CAPTURE" } else { "AUTHORIZE" };
        // Whose order this is stands on it: PayPal lets whoever made it write that.
        let named = order.custom_id() == charge.key.order.to_string();
        match ours && intended && named {
            true => Ok(Said::Done(order)),
            false => Ok(Said::Refused(code("ORDER_MISMATCH"))),
        }
    }

    /// Captures or authorises an order that is ready for it.
    async fn carry_out(&self, charge: &Charge, order: Order) -> Result<GatewayResult, Trouble> {
        if let Some(result) = order.charged()? {
            return Ok(result);
        }
        let GatewayKey { order: ours, number, .. } = charge.key;
        let step = if charge.capture { "capture" } else { "authorize" };
        let path = format!("v2/checkout/orders/{}/{step}", segment(&order.id));
        match self.post::<Order>(&path, &format!("{ours}:{number}:{step}"), &json!({})).await? {
            Said::Done(order) => order.charged()?.ok_or(Trouble::Pending),
            Said::Refused(refused) if refused.as_str().starts_with("ORDER_ALREADY_") => {
                let order = self.order(&order.id).await?.ok_or(Trouble::NoAnswer)?;
                order.charged()?.ok_or(Trouble::Pending)
            }
            Said::Refused(code) => Ok(GatewayResult::Declined { code }),
        }
    }

    /// There is no search: a charge without an answer is made again under the same key, for as long as
    /// PayPal remembers it, and PayPal answers with what it has.
    pub(super) fn find_charge(charge: &Charge) -> Result<Option<Charged>, Trouble> {
        let age_us = now_us().saturating_sub(charge.started_us);
        if age_us < KEY_LIFE.as_micros() as u64 { Ok(None) } else { Err(Trouble::NoAnswer) }
    }

    /// How the buyer stands to an order that is to be approved.
    pub(super) async fn consent(&self, reference: &str) -> Result<Consent, Trouble> {
        let order = match self.looked_up(reference).await? {
            Said::Done(order) => order,
            // PayPal forgets orders that nobody approves.
            Said::Refused(code) => return Ok(Consent::Settled(GatewayResult::Declined { code })),
        };
        Ok(match order.charged()? {
            Some(result) => Consent::Settled(result),
            None if order.is_approved() => Consent::Given,
            None => Consent::Awaited,
        })
    }

    /// Captures or authorises an order that the buyer approved. One that PayPal forgot has taken nothing: PayPal
    /// keeps what did.
    pub(super) async fn take(&self, charge: &Charge, reference: &str) -> Result<GatewayResult, Trouble> {
        match self.order(id_of(reference)).await? {
            Some(order) => self.carry_out(charge, order).await,
            None => Ok(GatewayResult::Declined { code: code(FORGOTTEN) }),
        }
    }

    /// What became of an order that the buyer was to approve. Nothing calls one off: money moves only when we
    /// ask for it, and PayPal forgets the rest.
    pub(super) async fn abandon(&self, reference: &str) -> Result<GatewayResult, Trouble> {
        let done = match self.looked_up(reference).await? {
            Said::Done(order) => order.charged()?,
            Said::Refused(_) => None,
        };
        Ok(done.unwrap_or(GatewayResult::Declined { code: code("canceled") }))
    }

    async fn looked_up(&self, reference: &str) -> Result<Said<Order>, Trouble> {
        self.get(&format!("v2/checkout/orders/{}", segment(id_of(reference)))).await
    }

    /// True if a push is signed by PayPal over these very bytes, for our webhook, not long ago. PayPal signs each
    /// try of a delivery anew.
    pub(super) async fn is_signed(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_s: u64,
    ) -> Result<bool, Trouble> {
        match Signed::of(headers, self.base(), now_s).filter(|_| !self.webhook_id.is_empty()) {
            Some(signed) => {
                self.certificates.is_signed(&self.endpoint, &signed, &self.webhook_id, body).await
            }
            None => Ok(false),
        }
    }

    /// What an order that a push names says of its attempt; `None` if it is not one of ours.
    pub(super) async fn look(&self, id: &str) -> Result<Option<Seen>, Trouble> {
        let order = match self.get::<Order>(&format!("v2/checkout/orders/{}", segment(id))).await? {
            Said::Done(order) => order,
            Said::Refused(_) => return Ok(None),
        };
        let key = GatewayKey::parse(order.custom_id()).filter(|key| key.op == Op::Charge);
        let result = match order.charged() {
            Err(Trouble::Pending) => None,
            said => said?,
        };
        Ok(key.map(|key| Seen { key, result }))
    }

    /// What the books say of a charge.
    pub(super) async fn booked(&self, reference: &str, currency: Currency) -> Result<Booked, Trouble> {
        Ok(self.order(id_of(reference)).await?.map(|order| order.booked(currency)).unwrap_or_default())
    }

    /// The order as it is now; `None` if PayPal does not know it, or not any more.
    async fn order(&self, id: &str) -> Result<Option<Order>, Trouble> {
        match self.get(&format!("v2/checkout/orders/{}", segment(id))).await? {
            Said::Done(order) => Ok(Some(order)),
            Said::Refused(issue) if issue.as_str() == FORGOTTEN => Ok(None),
            Said::Refused(_) => Err(Trouble::NoAnswer),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Said<T>, Trouble> {
        self.said(|| self.endpoint.request(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<Said<T>, Trouble> {
        let key = HeaderValue::from_str(key).map_err(|_| Trouble::NoAnswer)?;
        self.said(|| {
            let request = self.endpoint.request(Method::POST, path).json(body);
            request.header(KEY_HEADER, key.clone()).header(PREFER, "return=representation")
        })
        .await
    }

    /// Sends a request and sorts what comes of it.
    async fn said<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Said<T>, Trouble> {
        sorted(&self.answered(request).await?)
    }

    /// Sends a request. A token that is not good any more is fetched anew, once.
    async fn answered(&self, request: impl Fn() -> RequestBuilder) -> Result<Answer, Trouble> {
        let token = self.token.good(&self.endpoint).await?;
        let answer = endpoint::send(request().bearer_auth(token.expose())).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.token.forget(&token).await;
        let token = self.token.good(&self.endpoint).await?;
        endpoint::send(request().bearer_auth(token.expose())).await
    }
}

/// What an answer means.
fn sorted<T: DeserializeOwned>(answer: &Answer) -> Result<Said<T>, Trouble> {
    match answer.status {
        StatusCode::NO_CONTENT => serde_json::from_str("{}").map(Said::Done).map_err(|_| Trouble::NoAnswer),
        status if status.is_success() => answer.json().map(Said::Done),
        StatusCode::TOO_MANY_REQUESTS => Err(answer.busy()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(answer.barred("PAYPAL_API_KEY")),
        // The first call under this key is still at it.
        StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => Err(Trouble::NoAnswer),
        status if status.is_client_error() => refused(answer),
        _ => Err(Trouble::NoAnswer),
    }
}

/// What a refusal with a body means. Its text is for people and is not kept.
fn refused<T>(answer: &Answer) -> Result<Said<T>, Trouble> {
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    let issue = problem.issue();
    if matches!(issue, "DUPLICATE_INVOICE_ID" | "PREVIOUS_REQUEST_IN_PROGRESS") {
        // An earlier call has it, and PayPal does not say what became of it.
        tracing::error!(issue, "the gateway has this attempt already and does not say more");
        return Err(Trouble::NoAnswer);
    }
    let status = answer.status.as_u16();
    if status != 422 {
        tracing::error!(status, issue = %code(issue), "the gateway refused what it was asked");
    }
    Ok(Said::Refused(code(if issue.is_empty() { "invalid_request" } else { issue })))
}

/// PayPal's name of the order in a reference.
fn id_of(reference: &str) -> &str {
    reference.strip_prefix(REFERENCE).unwrap_or(reference)
}
