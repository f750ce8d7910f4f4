//! An authorization request, read once and strictly: from the query at first, from the form again.

use std::fmt::Write as _;

use super::client::{self, Client};
use super::refused;
use crate::access::{Scope, Scopes};
use crate::backend::Backend;
use crate::http::{Fields, escaped};
use crate::status::Rejection;

const STATE_BYTES_MAX: usize = 1_024;
/// It is kept with the grant.
const NONCE_BYTES_MAX: usize = 255;
/// A SHA-256 in base64url.
const CHALLENGE_BYTES: usize = 43;
/// What is read of a request; everything else is passed over.
const NAMES: [&str; 12] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "request",
    "request_uri",
];

/// A request that a user may be asked about.
pub(super) struct AuthorizationRequest {
    pub(super) client: Client,
    pub(super) redirect_uri: String,
    pub(super) scopes: Scopes,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) challenge: String,
}

/// A request that no user is asked about.
pub(super) enum BadRequest {
    /// Who asks is not known to live where the answer would go: it is said here.
    Here(String),
    /// The client is told.
    Back(Back),
    /// Ours.
    Rejected(Rejection),
}

/// An answer that goes back by the browser.
pub(super) struct Back {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) error: &'static str,
    pub(super) description: String,
}

impl From<Rejection> for BadRequest {
    fn from(rejection: Rejection) -> Self {
        match rejection.reason().http {
            400 => Self::Here(rejection.message()),
            _ => Self::Rejected(rejection),
        }
    }
}

impl From<crate::field::FieldError> for BadRequest {
    fn from(error: crate::field::FieldError) -> Self {
        Self::Here(error.to_string())
    }
}

impl AuthorizationRequest {
    /// Reads a request. Until client and address are known to belong together nothing goes anywhere.
    pub(super) async fn read(backend: &Backend, fields: &Fields) -> Result<Self, BadRequest> {
        for name in NAMES {
            fields.one(name)?;
        }
        let unknown = || BadRequest::Here("client_id: expected the id of a client, found another".into());
        let client = client::find(backend, fields.need("client_id")?).await?.ok_or_else(unknown)?;
        let uri = fields.need("redirect_uri")?;
        if !client.lives_at(uri) {
            let message = "redirect_uri: expected one that the client has registered, byte by byte";
            return Err(BadRequest::Here(message.into()));
        }
        let state = fields.one("state")?.map(str::to_owned);
        let back = |error, description: &str| {
            BadRequest::Back(Back {
                redirect_uri: uri.to_owned(),
                // One that is refused does not come back either.
                state: state.clone().filter(|state| is_plain(state, STATE_BYTES_MAX)),
                error,
                description: refused::plain(description),
            })
        };
        let (scopes, challenge) =
            demands(fields, client.scopes).map_err(|(error, description)| back(error, description))?;
        let nonce = fields.one("nonce")?.map(str::to_owned);
        if state.as_deref().is_some_and(|state| !is_plain(state, STATE_BYTES_MAX)) {
            return Err(back("invalid_request", "state: expected at most 1024 characters of ASCII"));
        }
        if nonce.as_deref().is_some_and(|nonce| !is_plain(nonce, NONCE_BYTES_MAX)) {
            return Err(back("invalid_request", "nonce: expected at most 255 characters of ASCII"));
        }
        Ok(Self { redirect_uri: uri.to_owned(), client, scopes, state, nonce, challenge })
    }

    /// The same as hidden fields of a form.
    pub(super) fn hidden(&self) -> String {
        let mut html = String::new();
        for (name, value) in self.pairs() {
            let value = escaped(value);
            // A String takes what is written.
            let _ = write!(html, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
        }
        html
    }

    /// The same as one text, for a signature.
    pub(super) fn canonical(&self) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(self.pairs());
        text.append_pair("scope", &self.scopes.to_string());
        text.finish()
    }

    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let mut pairs = vec![
            ("client_id", self.client.id.as_str()),
            ("redirect_uri", &self.redirect_uri),
            ("response_type", "code"),
            ("code_challenge", &self.challenge),
            ("code_challenge_method", "S256"),
        ];
        pairs.extend(self.state.as_deref().map(|state| ("state", state)));
        pairs.extend(self.nonce.as_deref().map(|nonce| ("nonce", nonce)));
        pairs
    }
}

/// Characters that one sees, and spaces (RFC 6749, appendix A).
fn is_plain(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// What is asked for: scopes and the challenge, or the standard's name of what is wrong.
fn demands(fields: &Fields, allowed: Scopes) -> Result<(Scopes, String), (&'static str, &'static str)> {
    let one = |name| fields.one(name).ok().flatten();
    if one("request").is_some() {
        return Err(("request_not_supported", "request: expected none"));
    }
    if one("request_uri").is_some() {
        return Err(("request_uri_not_supported", "request_uri: expected none"));
    }
    match one("response_type") {
        Some("code") => {}
        None => return Err(("invalid_request", "response_type: expected code, found none")),
        Some(_) => return Err(("unsupported_response_type", "response_type: expected code")),
    }
    if one("response_mode").is_some_and(|mode| mode != "query") {
        return Err(("invalid_request", "response_mode: expected query or none"));
    }
    // Left out, the method would be plain, which whoever reads the request can undo.
    let challenge =
        one("code_challenge").ok_or(("invalid_request", "code_challenge: expected one (PKCE)"))?;
    if one("code_challenge_method") != Some("S256") {
        return Err(("invalid_request", "code_challenge_method: expected S256"));
    }
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if challenge.len() != CHALLENGE_BYTES || !challenge.bytes().all(base64url) {
        return Err(("invalid_request", "code_challenge: expected a SHA-256 in base64url"));
    }
    let invalid = ("invalid_scope", "scope: expected scopes that the client may ask for");
    let scopes: Scopes = one("scope").and_then(|text| text.parse().ok()).ok_or(invalid)?;
    if scopes.is_empty() || !allowed.cover(scopes) || scopes.iter().all(|scope| scope == Scope::OfflineAccess)
    {
        return Err(invalid);
    }
    // Nobody is logged in here but by the form.
    if one("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "none")) {
        return Err(("login_required", "prompt: expected that the user may be asked"));
    }
    Ok((scopes, challenge.to_owned()))
}
