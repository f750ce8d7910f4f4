//! An aggregator of carriers over HTTP, in the form of EasyPost's API: a shipment is made (which costs
//! nothing and brings the rates), bought, read and refunded, each under an idempotency key.

mod message;

use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;

use super::{CALL_MAX, CarrierError, Label, Offer, Parcel, Rate, Tracking};
use crate::base_url::base_url;
use crate::config::Secret;
use crate::shipping::address::Address;
use message::{Chosen, Found, NewShipment, Problem, Purchase, Wrapped, cut};

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The pause after a 429 that names none, and the longest that one may name.
const BUSY: Duration = Duration::from_secs(1);
const BUSY_MAX: Duration = Duration::from_secs(60);
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// An aggregator over HTTP.
pub struct HttpCarrier {
    client: Client,
    base: Url,
    key: Secret,
    webhook_secret: Secret,
    from: Address,
}

/// How to reach an aggregator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpOptions {
    /// Where its API begins.
    pub base: String,
    /// The key that says who we are.
    pub key: Secret,
    /// What signs its pushes; none = they are not believed.
    pub webhook_secret: Secret,
    /// Where parcels come from.
    pub from: Address,
    /// How long one call may take before nobody knows.
    pub timeout: Duration,
}

impl HttpOptions {
    /// The usual patience.
    pub const TIMEOUT: Duration = CALL_MAX;
}

/// An adapter that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpCarrierError {
    /// The base URL cannot be used.
    #[error("shipping-api-base: expected https, or http to this machine, found {0:?}")]
    Base(String),
    /// The client cannot be made.
    #[error("expected an HTTP client, found: {0}")]
    Client(reqwest::Error),
}

impl HttpCarrier {
    /// An adapter. No call is made yet.
    pub fn new(options: HttpOptions) -> Result<Self, HttpCarrierError> {
        let base = base_url(&options.base).ok_or_else(|| HttpCarrierError::Base(options.base.clone()))?;
        let client = Client::builder()
            .timeout(options.timeout)
            .connect_timeout(CONNECT_MAX)
            .redirect(Policy::none())
            .user_agent(concat!("onrush/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(HttpCarrierError::Client)?;
        let HttpOptions { key, webhook_secret, from, .. } = options;
        Ok(Self { client, base, key, webhook_secret, from })
    }

    /// Where its API begins.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What signs its pushes.
    pub(in crate::shipping) fn webhook_secret(&self) -> &Secret {
        &self.webhook_secret
    }

    pub(super) async fn offer(&self, parcel: &Parcel) -> Result<(String, Vec<Rate>), CarrierError> {
        let Some(to) = &parcel.to else {
            let (code, detail) = ("ADDRESS_MISSING", "the customer has no address");
            return Err(CarrierError::Refused { code: code.into(), detail: detail.into() });
        };
        let body = Wrapped { shipment: NewShipment::new(parcel, &self.from, to) };
        let key = format!("{}:offer", parcel.key);
        let found = self.answer(self.post("shipments", &key, &body)).await?;
        Ok((found.id.clone(), found.rates()))
    }

    pub(super) async fn buy(&self, offer: &Offer, key: &str) -> Result<Label, CarrierError> {
        let body = Purchase { rate: Chosen { id: &offer.rate.id } };
        let path = format!("shipments/{}/buy", segment(&offer.reference));
        let found = self.answer(self.post(&path, &format!("{key}:label"), &body)).await?;
        // An answer without a label is no answer: what became of it is asked.
        found.label().ok_or(CarrierError::NoAnswer)
    }

    pub(super) async fn find(&self, offer: &Offer) -> Result<Option<Label>, CarrierError> {
        Ok(self.read(offer).await?.label())
    }

    pub(super) async fn track(&self, offer: &Offer) -> Result<Tracking, CarrierError> {
        Ok(self.read(offer).await?.tracking())
    }

    pub(super) async fn void(&self, offer: &Offer, key: &str) -> Result<bool, CarrierError> {
        let found = self.read(offer).await?;
        if found.label().is_none() {
            return Ok(true);
        }
        let path = format!("shipments/{}/refund", segment(&offer.reference));
        let sent = self.answer(self.post(&path, &format!("{key}:void"), &serde_json::json!({}))).await;
        match sent {
            Ok(found) => Ok(found.is_voided()),
            Err(CarrierError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn read(&self, offer: &Offer) -> Result<Found, CarrierError> {
        let path = format!("shipments/{}", segment(&offer.reference));
        self.answer(self.request(Method::GET, &path)).await
    }

    fn post(&self, path: &str, key: &str, body: &impl Serialize) -> RequestBuilder {
        let request = self.request(Method::POST, path).json(body);
        match HeaderValue::from_str(key) {
            Ok(key) => request.header(KEY, key),
            Err(_) => request,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/v2/{path}", self.base());
        self.client.request(method, url).basic_auth(self.key.expose(), None::<&str>)
    }

    /// Sends a request and sorts what comes of it: only what surely did nothing is a refusal.
    async fn answer(&self, request: RequestBuilder) -> Result<Found, CarrierError> {
        let response = request.send().await.map_err(|error| {
            // The URL may hold what is nobody's business.
            tracing::debug!(error = %error.without_url(), "the carrier gave no answer");
            CarrierError::NoAnswer
        })?;
        let status = response.status();
        let pause = retry_after(&response);
        let body = read(response).await?;
        match status {
            _ if status.is_success() => serde_json::from_slice(&body).map_err(|error| {
                tracing::warn!(%error, "the carrier's answer could not be read");
                CarrierError::NoAnswer
            }),
            StatusCode::TOO_MANY_REQUESTS => Err(CarrierError::Busy(pause)),
            StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN => {
                Err(CarrierError::Credentials(status.to_string()))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => Err(CarrierError::NoAnswer),
            _ if status.is_client_error() => {
                let Problem { error } = serde_json::from_slice(&body).unwrap_or_default();
                let code =
                    if error.code.is_empty() { format!("HTTP_{}", status.as_u16()) } else { error.code };
                Err(CarrierError::Refused { code: cut(&code), detail: cut(&error.message) })
            }
            _ => Err(CarrierError::NoAnswer),
        }
    }
}

/// A name of the carrier's as one part of a path, whatever it holds.
fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(BUSY, Duration::from_secs).min(BUSY_MAX)
}

/// The body, up to a bound.
async fn read(mut response: Response) -> Result<Vec<u8>, CarrierError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| CarrierError::NoAnswer)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            tracing::warn!("the carrier's answer is longer than {ANSWER_BYTES_MAX} bytes");
            return Err(CarrierError::NoAnswer);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_out_by_https_or_stays_on_this_machine() {
        for (base, good) in [
            ("https://api.example.com", true),
            ("http://127.0.0.1:8090/", true),
            ("http://localhost:1", true),
            ("http://api.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("ftp://127.0.0.1", false),
            ("", false),
        ] {
            let options = HttpOptions {
                base: base.into(),
                key: Secret::new("k"),
                webhook_secret: Secret::new(""),
                from: Address::default(),
                timeout: HttpOptions::TIMEOUT,
            };
            assert_eq!(HttpCarrier::new(options).is_ok(), good, "{base}");
        }
    }

    #[test]
    fn a_reference_stays_one_part_of_the_path() {
        assert_eq!(segment("shp_1-a"), "shp_1-a");
        assert_eq!(segment("../users?x#y"), "%2E%2E%2Fusers%3Fx%23y");
    }
}
