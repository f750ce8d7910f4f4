//! The page that asks a user, and what ties its form to the browser that got it.
//!
//! A form counts with the cookie that came with it: its ticket is a MAC over cookie, request and time. So
//! no other site can send a form in a user's name, nor with its own account in a user's browser, and
//! nothing in the request changes between what was shown and what is decided.

use aws_lc_rs::hmac;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Provider;
use super::redirect_uri;
use super::request::AuthorizationRequest;
use crate::access::now_s;
use crate::backend::Backend;
use crate::http::{Page, escaped};
use crate::status::Rejection;
use crate::user::session;

/// How long a form may lie open, in seconds.
const FORM_S: u64 = 15 * 60;

/// What a browser and a form have in common.
pub(super) struct Consent<'a> {
    provider: &'a Provider,
    key: &'a hmac::Key,
    cookie: String,
}

impl<'a> Consent<'a> {
    /// Of a browser that may have a cookie of ours already; else it gets one.
    pub(super) async fn of(
        provider: &'a Provider,
        backend: &Backend,
        headers: &HeaderMap,
    ) -> Result<Self, Rejection> {
        let key = provider.form_key(backend).await?;
        let cookie = match cookie(headers, name(provider)) {
            Some(cookie) => cookie,
            None => {
                let mut bytes = [0; 32];
                session::fill(&mut bytes)?;
                URL_SAFE_NO_PAD.encode(bytes)
            }
        };
        Ok(Self { provider, key, cookie })
    }

    /// The page about a request, with what went wrong before.
    pub(super) fn page(&self, request: &AuthorizationRequest, status: StatusCode, problem: &str) -> Response {
        let wishes: String =
            request.scopes.iter().map(|scope| format!("<li>{}</li>", scope.wish())).collect();
        let problem = match problem {
            "" => String::new(),
            text => format!("<p role=\"alert\">{}</p>", escaped(text)),
        };
        let ticket = self.ticket(request, now_s() + FORM_S);
        let body = format!(
            "{problem}<p><strong>{}</strong> wants to</p><ul>{wishes}</ul>\
             <form method=\"post\" action=\"/oauth2/authorize\" autocomplete=\"on\">{}\
             <input type=\"hidden\" name=\"scope\" value=\"{}\">\
             <input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
             <p><label>E-mail <input type=\"email\" name=\"email\" autocomplete=\"username\"></label></p>\
             <p><label>Password <input type=\"password\" name=\"password\" autocomplete=\"current-password\"></label></p>\
             <p><button name=\"decision\" value=\"allow\">Log in and allow</button> \
             <button name=\"decision\" value=\"deny\">Deny</button></p></form>",
            escaped(&request.client.name),
            request.hidden(),
            request.scopes,
        );
        let mut page = Page::new(status, "Allow access", body);
        page.leads_to = redirect_uri::source(&request.redirect_uri).unwrap_or_default();
        let mut response = page.into_response();
        let (name, cookie) = (name(self.provider), &self.cookie);
        let secure = if self.provider.is_secure() { "; Secure" } else { "" };
        // Lax: who comes from a program's site brings the cookie along, and so keeps forms of other tabs good.
        let cookie = format!("{name}={cookie}; Path=/; Max-Age={FORM_S}; HttpOnly; SameSite=Lax{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// True if a ticket came with this browser's page about this request.
    pub(super) fn admits(&self, request: &AuthorizationRequest, ticket: &str) -> bool {
        let Some((until, tag)) = ticket.split_once('.') else { return false };
        let Ok(tag) = URL_SAFE_NO_PAD.decode(tag) else { return false };
        let fresh = until.parse::<u64>().is_ok_and(|until| until > now_s());
        fresh && hmac::verify(self.key, self.text(request, until).as_bytes(), &tag).is_ok()
    }

    fn ticket(&self, request: &AuthorizationRequest, until_s: u64) -> String {
        let until = until_s.to_string();
        let tag = hmac::sign(self.key, self.text(request, &until).as_bytes());
        format!("{until}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn text(&self, request: &AuthorizationRequest, until: &str) -> String {
        format!("consent\n{until}\n{}\n{}", self.cookie, request.canonical())
    }
}

/// Bound to this host by its name where there is TLS.
fn name(provider: &Provider) -> &'static str {
    if provider.is_secure() { "__Host-onrush_form" } else { "onrush_form" }
}

/// A cookie of this name that looks like one of ours.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (value.len() == 43 && value.bytes().all(plain)).then(|| value.to_owned())
}
