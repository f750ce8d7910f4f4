//! Messages to browsers by web push (RFC 8030): sealed for the browser, signed for its push service, and never
//! to an address that is not public.

mod reach;
mod seal;
mod vapid;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_128;

use super::notice::Letter;
use super::occasion::Occasion;
use super::outlet::SendError;
use super::subscription::Subscription;
use crate::clock::now_us;
use reach::Lookup;
pub use reach::Reach;
use seal::Keys;
use vapid::Vapid;
pub(super) use vapid::generate;

/// How long a call may take, and a connection.
const CALL_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a service keeps a message for a browser that is away: older news is none.
const TTL_S: &str = "86400";
/// The pause after a service was busy and named none.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are left for the text when everything around it is at its longest.
pub(super) const TEXT_BYTES_MAX: usize = seal::MESSAGE_BYTES_MAX - 256;

/// Web push.
pub struct Push {
    client: Client,
    reach: Reach,
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("expected an HTTP client, found: {0}")]
pub struct PushError(reqwest::Error);

/// The key pair that browsers know us by.
pub(super) struct Identity(Vapid);

impl Identity {
    /// The key pair as it was kept; `contact` answers for what is sent.
    pub(super) fn read(pkcs8: &[u8], contact: &str) -> Option<Self> {
        Vapid::read(pkcs8, format!("mailto:{contact}")).ok().map(Self)
    }

    /// The public key as browsers take it.
    pub(super) fn public_key(&self) -> String {
        self.0.public_key()
    }
}

impl Push {
    /// Connects when the first message is sent. No proxy: it would connect where we would not.
    pub fn new(reach: Reach) -> Result<Self, PushError> {
        let client = Client::builder()
            .timeout(CALL_MAX)
            .connect_timeout(CONNECT_MAX)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(Lookup(reach)))
            .user_agent(concat!("onrush/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(PushError)?;
        Ok(Self { client, reach })
    }

    /// Where messages may go.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// An endpoint that a browser may give.
    pub(super) fn endpoint(&self, text: &str) -> Option<Url> {
        self.reach.endpoint(text)
    }

    pub(super) async fn send(
        &self,
        letter: &Letter,
        to: &Subscription,
        identity: &Identity,
    ) -> Result<(), SendError> {
        let never = |problem: &str| SendError::Never(format!("push: {problem}"));
        // What was allowed when the browser subscribed may not be any more.
        let url =
            self.endpoint(&to.endpoint).ok_or_else(|| never("the endpoint is not one that may be called"))?;
        let message = message(letter).to_string();
        let keys = (bytes(&to.p256dh), bytes(&to.auth));
        let sealed = match &keys {
            (Some(point), Some(secret)) => seal::seal(message.as_bytes(), Keys { point, secret }).ok(),
            _ => None,
        };
        let sealed = sealed.ok_or_else(|| never("expected keys that a short message can be sealed with"))?;
        let origin = url.origin().ascii_serialization();
        let authorization = identity.0.authorization(&origin, now_us());
        let authorization = authorization.map_err(|_| never("expected a signature, found none"))?;
        let urgency = match letter.notice.occasion {
            Occasion::ShippingUpdate => "high",
            Occasion::OrderConfirmation | Occasion::PaymentReceipt => "normal",
        };
        let request = self
            .client
            .post(url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("TTL", TTL_S)
            .header("Urgency", urgency)
            .header("Topic", topic(letter))
            .body(sealed);
        // The URL is the browser's secret. What the service says is read by nobody.
        let answer = request.send().await.map_err(|error| {
            SendError::Later(format!(
                "push: {origin}: expected an answer, found: {}",
                told(&error.without_url())
            ))
        })?;
        said(&origin, answer.status(), answer.headers())
    }
}

/// What the page's worker gets.
fn message(letter: &Letter) -> serde_json::Value {
    json!({
        "title": letter.text.subject,
        "body": letter.text.body,
        "occasion": letter.notice.occasion.name(),
        "order_id": letter.notice.order,
    })
}

/// News of the same order and occasion replace each other while a browser is away.
fn topic(letter: &Letter) -> String {
    let about = format!("{}/{}", letter.notice.order, letter.notice.occasion.name());
    format!("{:032x}", xxh3_128(about.as_bytes()))
}

fn said(origin: &str, status: StatusCode, headers: &HeaderMap) -> Result<(), SendError> {
    let problem = format!("push: {origin} refused with {}", status.as_u16());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(SendError::Gone(problem)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Err(SendError::NotBefore(pause(headers, now_us()), problem))
        }
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Err(SendError::Later(problem))
        }
        // A redirect would lead where nobody looked.
        _ => Err(SendError::Never(problem)),
    }
}

/// The pause that a busy service asks for: in seconds, or until a time.
fn pause(headers: &HeaderMap, now_us: u64) -> Duration {
    let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if let Ok(seconds) = text.parse() {
        return Duration::from_secs(seconds);
    }
    let until = jiff::fmt::rfc2822::parse(text).ok().map(|until| until.timestamp().as_microsecond());
    let left = until.and_then(|until_us| u64::try_from(until_us).ok()).map(|at| at.saturating_sub(now_us));
    left.map_or(PAUSE, Duration::from_micros)
}

/// What a browser's script writes: base64url, with or without its end.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// A public key that messages can be sealed for.
pub(super) fn is_key(text: &str) -> bool {
    text.len() <= 2 * seal::POINT_BYTES && bytes(text).is_some_and(|point| seal::is_point(&point))
}

/// A secret of the right length.
pub(super) fn is_secret(text: &str) -> bool {
    text.len() <= 2 * seal::SECRET_BYTES
        && bytes(text).is_some_and(|secret| secret.len() == seal::SECRET_BYTES)
}

/// The error with what is behind it.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(behind) = source {
        text = format!("{text}: {behind}");
        source = behind.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_helps() {
        let sorted =
            |status: u16| said("https://p.example", StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        for status in [200, 201, 202] {
            assert!(sorted(status).is_ok(), "{status}");
        }
        for status in [404, 410] {
            assert!(matches!(sorted(status), Err(SendError::Gone(_))), "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 403, 413] {
            assert!(matches!(sorted(status), Err(SendError::Never(_))), "{status}");
        }
        for status in [408, 500, 502, 504] {
            assert!(matches!(sorted(status), Err(SendError::Later(_))), "{status}");
        }
        for status in [429, 503] {
            assert!(matches!(sorted(status), Err(SendError::NotBefore(PAUSE, _))), "{status}");
        }
    }

    #[test]
    fn a_busy_service_names_a_pause_or_a_time() {
        let mut headers = HeaderMap::new();
        let now_us = 1_700_000_000_000_000;
        for (text, seconds) in [
            ("120", 120),
            ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
            ("Tue, 14 Nov 2023 22:13:10 GMT", 0),
            ("soon", 1),
            ("", 1),
        ] {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(pause(&headers, now_us), Duration::from_secs(seconds), "{text}");
        }
    }
}
