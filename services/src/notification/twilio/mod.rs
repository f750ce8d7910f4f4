//! Text messages by Twilio's API. It knows no idempotency keys: a text that got no answer is looked for
//! among the last ones to that number before it is sent again.

mod message;
mod signature;

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};

use super::outlet::SendError;
use crate::base_url::base_url;
use crate::config::Secret;
use message::{Listed, Made, Refusal};
pub(super) use message::{Outcome, STOPPED, named, outcome};
pub(super) use signature::is_signed;

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Texts to one number that are looked through for one without an answer.
const LOOKED_THROUGH: usize = 50;
/// How far Twilio's clock may be behind ours.
const CLOCK_SLACK_US: u64 = 60_000_000;

/// Twilio.
pub struct Twilio {
    client: Client,
    base: Url,
    sid: String,
    token: Secret,
    from: String,
}

/// How to reach Twilio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TwilioOptions {
    /// Where its API begins.
    pub base: String,
    /// The account.
    pub sid: String,
    /// What says that we are it; it signs Twilio's calls too.
    pub token: Secret,
    /// Who texts are from: a number, a sender's name or a messaging service.
    pub from: String,
    /// How long one call may take before nobody knows.
    pub timeout: Duration,
}

impl TwilioOptions {
    /// The usual patience.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// An adapter that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TwilioError {
    /// The base URL cannot be used.
    #[error("twilio-api-base: expected https, or http to this machine, found {0:?}")]
    Base(String),
    /// The client cannot be made.
    #[error("expected an HTTP client, found: {0}")]
    Client(reqwest::Error),
}

/// A text message.
pub(super) struct Text<'a> {
    /// To whom, as E.164 has it.
    pub to: &'a str,
    /// What it says.
    pub body: &'a str,
    /// Where Twilio says what became of it.
    pub callback: Option<String>,
    /// When it happened what it tells, in us since the epoch.
    pub event_us: u64,
    /// True if it may have been sent before.
    pub again: bool,
}

impl Twilio {
    /// An adapter. No call is made yet.
    pub fn new(options: TwilioOptions) -> Result<Self, TwilioError> {
        let base = base_url(&options.base).ok_or_else(|| TwilioError::Base(options.base.clone()))?;
        let client = Client::builder()
            .timeout(options.timeout)
            .connect_timeout(CONNECT_MAX)
            .redirect(Policy::none())
            .user_agent(concat!("onrush/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(TwilioError::Client)?;
        let TwilioOptions { sid, token, from, .. } = options;
        Ok(Self { client, base, sid, token, from })
    }

    /// Where its API begins.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What signs its calls.
    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    pub(super) async fn send(&self, text: &Text<'_>) -> Result<(), SendError> {
        if text.again && self.has_taken(text).await? {
            return Ok(());
        }
        // A sender's name has at most eleven letters, and may begin like a service's id.
        let sender = match self.from.len() == 34 && self.from.starts_with("MG") {
            true => "MessagingServiceSid",
            false => "From",
        };
        let mut form = vec![("To", text.to), (sender, self.from.as_str()), ("Body", text.body)];
        form.extend(text.callback.as_deref().map(|url| ("StatusCallback", url)));
        let made: Made = self.said(self.request(Method::POST).form(&form)).await?;
        made.verdict()
    }

    /// True if it has this very text to this number since the event.
    async fn has_taken(&self, text: &Text<'_>) -> Result<bool, SendError> {
        let size = LOOKED_THROUGH.to_string();
        let request = self.request(Method::GET).query(&[("To", text.to), ("PageSize", &size)]);
        let listed: Listed = self.said(request).await?;
        let since_us = text.event_us.saturating_sub(CLOCK_SLACK_US);
        Ok(listed.messages.iter().any(|made| made.says(text.body) && made.is_since(since_us)))
    }

    fn request(&self, method: Method) -> RequestBuilder {
        let url = format!("{}/2010-04-01/Accounts/{}/Messages.json", self.base(), self.sid);
        self.client.request(method, url).basic_auth(&self.sid, Some(self.token.expose()))
    }

    /// Sends a request and sorts what comes of it.
    async fn said<T: serde::de::DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, SendError> {
        // The URL holds the account and maybe a number: nobody's business.
        let unheard = |error: reqwest::Error| {
            SendError::Later(format!("twilio: expected an answer, found: {}", error.without_url()))
        };
        let mut response = request.send().await.map_err(unheard)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unheard)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(SendError::Later(format!("twilio: expected at most {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(refused(status, &headers, &body));
        }
        serde_json::from_slice(&body)
            .map_err(|error| SendError::Later(format!("twilio: expected a message, found: {error}")))
    }
}

/// What a refusal means. Its text is for people and quotes the number: only its code is kept.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> SendError {
    let Refusal { code } = serde_json::from_slice(body).unwrap_or_default();
    let problem = match code {
        0 => format!("twilio: refused with {}", status.as_u16()),
        _ => format!("twilio: refused with {}, {}", status.as_u16(), message::named(code)),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            SendError::NotBefore(Duration::from_secs(asked.unwrap_or(1)), problem)
        }
        // Whoever has the wrong account or token: an operator mends that, and the text waits.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            tracing::error!(status = status.as_u16(), code, "Twilio does not know us; look at TWILIO_SID");
            SendError::Later(problem)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => SendError::Later(problem),
        _ if code == message::STOPPED => SendError::Gone(problem),
        _ if status.is_client_error() => SendError::Never(problem),
        _ => SendError::Later(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_sorted_by_what_helps() {
        let mut headers = HeaderMap::new();
        let sorted = |status: u16, code: u32, headers: &HeaderMap| {
            let body =
                format!(r#"{{"code":{code},"message":"The number +49170 is not valid","status":{status}}}"#);
            let error = refused(StatusCode::from_u16(status).unwrap(), headers, body.as_bytes());
            assert!(!error.to_string().contains("+49170"), "{error}");
            error
        };
        assert!(
            matches!(sorted(400, 21211, &headers), SendError::Never(problem) if problem.contains("21211"))
        );
        assert!(matches!(sorted(400, 21610, &headers), SendError::Gone(_)));
        for status in [401, 403, 404, 408, 409, 500, 502, 503, 302] {
            assert!(matches!(sorted(status, 20003, &headers), SendError::Later(_)), "{status}");
        }
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let busy = sorted(429, 20429, &headers);
        assert!(matches!(busy, SendError::NotBefore(pause, _) if pause == Duration::from_secs(7)), "{busy}");
        for body in ["", "<html>", "[]", r#"{"code":"x"}"#] {
            let error = refused(StatusCode::BAD_REQUEST, &headers, body.as_bytes());
            assert_eq!(error, SendError::Never("twilio: refused with 400".into()), "{body}");
        }
    }
}
