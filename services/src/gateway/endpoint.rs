//! A gateway's API over HTTP: one client, bounded answers, and what a failed call may have done.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};

use super::Trouble;
use crate::base_url::base_url;

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The pause after an answer that names none, and the longest that one may name.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The pause after a refusal that only an operator can mend.
const OPERATOR_PAUSE: Duration = Duration::from_secs(10);

/// Where an API is.
pub(super) struct Endpoint {
    client: Client,
    base: Url,
}

/// An API that cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The base URL cannot be used.
    #[error("{setting}: expected https, or http to this machine, found {found:?}")]
    Base {
        /// The setting.
        setting: &'static str,
        /// What it says.
        found: String,
    },
    /// The client cannot be made.
    #[error("expected an HTTP client, found: {0}")]
    Client(reqwest::Error),
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Endpoint {
    /// An API that begins at `base`. No call is made yet.
    pub(super) fn new(setting: &'static str, base: &str, timeout: Duration) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Base { setting, found: base.into() };
        let url = base_url(base).ok_or_else(wrong)?;
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_MAX)
            .redirect(Policy::none())
            .user_agent(concat!("onrush/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(EndpointError::Client)?;
        Ok(Self { client, base: url })
    }

    /// Where the API begins.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A look at another place, without anything that says who we are.
    pub(super) fn elsewhere(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// A call of a path below the base.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/{path}", self.base()))
    }
}

/// Sends a request. Whoever never got a connection has done nothing.
pub(super) async fn send(request: RequestBuilder) -> Result<Answer, Trouble> {
    let mut response = request.send().await.map_err(|error| {
        let untouched = error.is_connect() || error.is_builder();
        // The URL may hold what is nobody's business.
        tracing::debug!(error = %error.without_url(), untouched, "the gateway gave no answer");
        if untouched { Trouble::Untouched(PAUSE) } else { Trouble::NoAnswer }
    })?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Trouble::NoAnswer)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            tracing::warn!(bytes_max = ANSWER_BYTES_MAX, "the gateway's answer is too long");
            return Err(Trouble::NoAnswer);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body })
}

impl Answer {
    /// The pause that a busy gateway asks for.
    pub(super) fn busy(&self) -> Trouble {
        let seconds = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Trouble::Untouched(seconds.map_or(PAUSE, Duration::from_secs).min(PAUSE_MAX))
    }

    /// The gateway does not know us or does not let us: an operator has to act. Nothing of its text is
    /// shown, since it may name the key.
    pub(super) fn barred(&self, setting: &'static str) -> Trouble {
        let status = self.status.as_u16();
        tracing::error!(status, "the gateway does not accept our credentials; look at {setting}");
        Trouble::Untouched(OPERATOR_PAUSE)
    }

    /// The body as JSON; one that cannot be read is no answer.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| {
            tracing::warn!(%error, "the gateway's answer could not be read");
            Trouble::NoAnswer
        })
    }
}

/// A name of the gateway's as one part of a path, whatever it holds.
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_refused_by_its_setting_and_a_name_is_one_part_of_a_path() {
        let Err(error) = Endpoint::new("stripe-api-base", "http://api.stripe.com", PAUSE) else {
            panic!("expected a refusal");
        };
        assert!(error.to_string().starts_with("stripe-api-base: expected https"), "{error}");
        assert_eq!(segment("pi_1/../x?y"), "pi_1%2F%2E%2E%2Fx%3Fy");
    }
}
