//! The provider over HTTP: its documents, its keys, its token endpoint. Each answer is bounded in size and time,
//! and each URL that it names must be one that a secret may travel to.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use jsonwebtoken::jwk::Jwk;
use onrush_proto::Refusal;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};

use super::flight::Flight;
use super::id_token::{self, Person};
use crate::base_url::base_url;
use crate::config::OidcOptions;
use crate::status::{Denial, Rejection};

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 10;
const CONNECT_MAX: Duration = Duration::from_secs(3);
const CALL_MAX: Duration = Duration::from_secs(10);
/// Most calls under way: what strangers make us ask is bounded.
const CALLS_MAX: usize = 64;
/// How long the provider's documents are believed.
const KEPT: Duration = Duration::from_secs(3_600);
/// How long one that failed is left alone: whoever waited meanwhile is not a call each.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// How soon the keys are looked at again for one that is not among them.
const KEYS_PAUSE: Duration = Duration::from_secs(10);

/// A provider whose users may log in.
pub struct OidcClient {
    options: OidcOptions,
    http: Client,
    calls: Semaphore,
    /// Held while they are fetched: whoever comes meanwhile waits for that answer.
    metadata: Mutex<Kept<Metadata>>,
    keys: Mutex<Kept<Vec<Jwk>>>,
}

/// What was fetched and when, and when that last failed.
struct Kept<T> {
    found: Option<(T, Instant)>,
    failed: Option<Instant>,
}

#[derive(Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: Option<String>,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Granted {
    id_token: String,
    access_token: Option<String>,
}

impl Metadata {
    /// True if it is of this provider and leads nowhere that a secret must not go. In the clear to this machine
    /// it leads only if the provider is on it: no other one sends us there.
    fn is_usable(&self, issuer: &str) -> bool {
        let here = issuer.starts_with("http://");
        let is_safe = |url: &String| {
            base_url(url).is_some_and(|url| url.fragment().is_none() && (here || url.scheme() == "https"))
        };
        let urls = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        self.issuer == issuer && urls.into_iter().chain(&self.userinfo_endpoint).all(is_safe)
    }
}

impl<T> Kept<T> {
    const NOTHING: Self = Self { found: None, failed: None };

    /// What it was, if it is no older than this.
    fn within(&self, age_max: Duration) -> Option<&T> {
        self.found.as_ref().filter(|(_, at)| at.elapsed() < age_max).map(|(value, _)| value)
    }

    /// Refused shortly after a failure.
    fn admit(&self) -> Result<(), Rejection> {
        match self.failed.is_some_and(|at| at.elapsed() < FAILED_PAUSE) {
            true => Err(unavailable()),
            false => Ok(()),
        }
    }

    fn note(&mut self, fetched: Result<T, Rejection>) -> Result<&T, Rejection> {
        match fetched {
            Ok(value) => Ok(&self.found.insert((value, Instant::now())).0),
            Err(rejection) => {
                self.failed = Some(Instant::now());
                Err(rejection)
            }
        }
    }
}

impl OidcClient {
    /// A client that has not called yet.
    pub fn new(options: OidcOptions) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .timeout(CALL_MAX)
            .connect_timeout(CONNECT_MAX)
            .redirect(Policy::none())
            .user_agent(concat!("onrush/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let (metadata, keys) = (Mutex::new(Kept::NOTHING), Mutex::new(Kept::NOTHING));
        Ok(Self { options, http, calls: Semaphore::new(CALLS_MAX), metadata, keys })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.options.issuer
    }

    /// Where a browser is sent to log in.
    pub(super) async fn authorization_url(
        &self,
        callback: &str,
        flight: &Flight,
    ) -> Result<String, Rejection> {
        let endpoint = self.metadata().await?.authorization_endpoint;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.options.client_id)
            .append_pair("redirect_uri", callback)
            .append_pair("scope", "openid profile email")
            .append_pair("state", flight.state())
            .append_pair("nonce", &flight.nonce)
            .append_pair("code_challenge", &flight.challenge())
            .append_pair("code_challenge_method", "S256");
        let between = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{between}{}", query.finish()))
    }

    /// An answer of another provider is not taken for this one's (RFC 9207).
    pub(super) async fn check_issuer(&self, said: Option<&str>) -> Result<(), Rejection> {
        let needed = self.metadata().await?.authorization_response_iss_parameter_supported;
        match said {
            Some(issuer) if issuer == self.options.issuer => Ok(()),
            None if !needed => Ok(()),
            _ => {
                let message =
                    "iss: expected the provider that the browser was sent to, found another or none";
                Err(Denial::new("LOGIN_STATE_MISMATCH", message).of("iss").into())
            }
        }
    }

    /// Who logged in, by the code that the browser brought.
    pub(super) async fn person(
        &self,
        code: &str,
        callback: &str,
        flight: &Flight,
    ) -> Result<Person, Rejection> {
        let metadata = self.metadata().await?;
        let granted = self.redeem(&metadata, code, callback, &flight.verifier).await?;
        let header = id_token::header(&granted.id_token)?;
        let key = self.key(&metadata, header.kid.as_deref()).await?;
        let key = key.ok_or_else(|| id_token::invalid("a key of the provider", "another one"))?;
        let expected = id_token::Expected {
            issuer: &self.options.issuer,
            client_id: &self.options.client_id,
            nonce: &flight.nonce,
        };
        let person = id_token::read(&granted.id_token, &header, &key, &expected)?;
        match (&person.email, &metadata.userinfo_endpoint, &granted.access_token) {
            // Not every provider says it in the ID token.
            (None, Some(endpoint), Some(token)) => {
                let more: Person = self.fetch(self.http.get(endpoint).bearer_auth(token)).await?;
                match more.sub == person.sub {
                    true => Ok(more),
                    false => Err(id_token::invalid("one person", "two").into()),
                }
            }
            _ => Ok(person),
        }
    }

    async fn redeem(
        &self,
        metadata: &Metadata,
        code: &str,
        callback: &str,
        verifier: &str,
    ) -> Result<Granted, Rejection> {
        let OidcOptions { client_id, client_secret, .. } = &self.options;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback),
            ("code_verifier", verifier),
        ];
        let mut request = self.http.post(&metadata.token_endpoint);
        let ways = metadata.token_endpoint_auth_methods_supported.as_deref();
        let by_header = ways.is_none_or(|ways| ways.iter().any(|way| way == "client_secret_basic"));
        match client_secret {
            Some(secret) if by_header => {
                request = request.basic_auth(encoded(client_id), Some(encoded(secret.expose())));
            }
            Some(secret) => {
                form.extend([("client_id", client_id.as_str()), ("client_secret", secret.expose())]);
            }
            None => form.push(("client_id", client_id)),
        }
        match self.ask(request.form(&form)).await? {
            // It may be the code's fault, which anybody can bring.
            (StatusCode::BAD_REQUEST, _) => {
                let message = "code: expected one that the provider takes, found another";
                Err(Denial::new("LOGIN_REFUSED", message).into())
            }
            answer => read(answer),
        }
    }

    async fn metadata(&self) -> Result<Metadata, Rejection> {
        let mut kept = self.metadata.lock().await;
        if let Some(metadata) = kept.within(KEPT) {
            return Ok(metadata.clone());
        }
        kept.admit()?;
        let discovered = self.discover().await;
        kept.note(discovered).cloned()
    }

    async fn discover(&self) -> Result<Metadata, Rejection> {
        let issuer = &self.options.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let found: Metadata = self.fetch(self.http.get(url)).await?;
        if !found.is_usable(issuer) {
            tracing::error!(issuer, found = found.issuer, "the login provider's document is not usable");
            return Err(unavailable());
        }
        Ok(found)
    }

    /// The key of this id; without an id, the only one there is. One that is not known may be new: then the keys
    /// are fetched again, but not by everybody who invents an id.
    async fn key(&self, metadata: &Metadata, kid: Option<&str>) -> Result<Option<Jwk>, Rejection> {
        let mut kept = self.keys.lock().await;
        if let Some(known) = kept.within(KEPT).and_then(|keys| find(keys, kid)) {
            return Ok(Some(known));
        }
        if kept.within(KEYS_PAUSE).is_some() {
            return Ok(None);
        }
        kept.admit()?;
        let fetched: Result<KeySet, Rejection> = self.fetch(self.http.get(&metadata.jwks_uri)).await;
        // Kinds of keys that we do not know are nothing to us.
        let known = |set: KeySet| {
            set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect::<Vec<Jwk>>()
        };
        Ok(find(kept.note(fetched.map(known))?, kid))
    }

    async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Rejection> {
        read(self.ask(request).await?)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Rejection> {
        let _permit = self.calls.try_acquire().map_err(|_| Refusal::Overloaded)?;
        let lost = |error: reqwest::Error| {
            // The URL may hold what is nobody's business.
            tracing::warn!(error = %error.without_url(), "the login provider gave no answer");
            unavailable()
        };
        let mut response = request.send().await.map_err(lost)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                tracing::warn!(bytes_max = ANSWER_BYTES_MAX, "the login provider's answer is too long");
                return Err(unavailable());
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }
}

fn read<T: DeserializeOwned>((status, body): (StatusCode, Vec<u8>)) -> Result<T, Rejection> {
    if !status.is_success() {
        tracing::warn!(status = status.as_u16(), "the login provider refused or failed");
        return Err(unavailable());
    }
    // Neither the text nor the error is logged: there may be a token in it.
    serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        tracing::warn!(line, column, "the login provider's answer could not be read");
        unavailable()
    })
}

fn find(keys: &[Jwk], kid: Option<&str>) -> Option<Jwk> {
    match (kid, keys) {
        (Some(kid), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(kid)).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

fn unavailable() -> Rejection {
    let message = "expected an answer of the login provider, found none that can be used";
    Denial::new("LOGIN_PROVIDER_UNAVAILABLE", message).after(FAILED_PAUSE).into()
}

/// As in forms (RFC 6749, 2.3.1).
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_document_is_of_the_provider_itself_and_leads_nowhere_unsafe() {
        let document = |issuer: &str| {
            json!({
                "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize?tenant=1"),
                "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
                "userinfo_endpoint": format!("{issuer}/userinfo"),
            })
        };
        let usable = |document: Value, issuer: &str| {
            serde_json::from_value::<Metadata>(document).is_ok_and(|metadata| metadata.is_usable(issuer))
        };
        let (there, here) = ("https://id.example.com", "http://127.0.0.1:8080");
        assert!(usable(document(there), there) && usable(document(here), here));
        assert!(!usable(document(there), "https://id.example.com/"));
        for field in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
            for url in [
                "http://id.example.com/token",
                "http://127.0.0.1:6379/",
                "https://me:hush@id.example.com/token",
                "https://id.example.com/token#there",
                "javascript:alert(1)",
                "file:///etc/passwd",
                "/token",
            ] {
                let mut bent = document(there);
                bent[field] = json!(url);
                assert!(!usable(bent, there), "{field}: {url}");
            }
        }
        let mut without = document(there);
        without["jwks_uri"] = Value::Null;
        assert!(!usable(without, there));
    }
}
