//! A login under way: what a browser was sent to the provider with.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::access::now_s;
use crate::status::Rejection;
use crate::user::session;

/// How long somebody may take at the provider, in seconds.
const FLIGHT_S: u64 = 10 * 60;
/// What the signature is of, beside the text: other cookies of ours are no flights.
const PURPOSE: &str = "flight\n";

/// A login under way. Has no `Debug`.
#[derive(Serialize, Deserialize)]
pub(super) struct Flight {
    state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    until_s: u64,
    /// Whose account whoever logs in there is to be linked to; `None`: their own, if they have one.
    pub(super) link: Option<Owner>,
}

/// The owner of an account, who showed it by a password.
#[derive(Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) user: String,
    /// The version of what they showed it by: a password that is changed meanwhile shows nothing.
    pub(super) credentials: u64,
    /// The version of what is on record of the account's link: one that is taken back meanwhile, or made, counts.
    pub(super) links: u64,
}

impl Flight {
    pub(super) fn new(link: Option<Owner>) -> Result<Self, Rejection> {
        let random = || {
            let mut bytes = [0; 32];
            session::fill(&mut bytes).map(|()| URL_SAFE_NO_PAD.encode(bytes))
        };
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        Ok(Self { state, nonce, verifier, until_s: now_s() + FLIGHT_S, link })
    }

    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// True if it is this login's.
    pub(super) fn has_state(&self, state: &str) -> bool {
        verify_slices_are_equal(self.state.as_bytes(), state.as_bytes()).is_ok()
    }

    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()))
    }

    /// As a cookie that comes along when the provider sends the browser back (`Lax`), and nobody else makes.
    pub(super) fn cookie(&self, key: &hmac::Key, secure: bool) -> String {
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        let tag = hmac::sign(key, format!("{PURPOSE}{text}").as_bytes());
        set(secure, &format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)), FLIGHT_S)
    }

    /// What takes that cookie away.
    pub(super) fn gone(secure: bool) -> String {
        set(secure, "", 0)
    }

    /// The login that this browser began, if it is still under way.
    pub(super) fn of(headers: &HeaderMap, key: &hmac::Key, secure: bool) -> Option<Self> {
        let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(known, _)| *known == name(secure))?;
        let (text, tag) = value.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(key, format!("{PURPOSE}{text}").as_bytes(), &tag).ok()?;
        let flight: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (flight.until_s > now_s()).then_some(flight)
    }
}

fn name(secure: bool) -> &'static str {
    if secure { "__Host-onrush_login" } else { "onrush_login" }
}

fn set(secure: bool, value: &str, for_s: u64) -> String {
    let (name, end) = (name(secure), if secure { "; Secure" } else { "" });
    format!("{name}={value}; Path=/; Max-Age={for_s}; HttpOnly; SameSite=Lax{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn a_flight_is_read_from_the_cookie_that_we_signed_until_it_ends() {
        let (key, other) = (hmac::Key::new(hmac::HMAC_SHA256, &[1]), hmac::Key::new(hmac::HMAC_SHA256, &[2]));
        let flight = Flight::new(None).unwrap();
        let set = flight.cookie(&key, true);
        assert!(set.starts_with("__Host-onrush_login=") && set.ends_with("; SameSite=Lax; Secure"), "{set}");
        let cookie = set.split(';').next().unwrap();
        let found = Flight::of(&headers(&format!("a=b; {cookie}")), &key, true).unwrap();
        assert!(found.has_state(flight.state()) && found.verifier == flight.verifier);
        assert!(!found.has_state("") && !found.has_state(&flight.nonce));
        let old = Flight { until_s: now_s() - 1, ..flight }.cookie(&key, true);
        let bent = cookie.replacen("__Host-onrush_login=ey", "__Host-onrush_login=eY", 1);
        let half = cookie.rsplit_once('.').unwrap().0;
        for strange in [old.split(';').next().unwrap(), &bent, half, "__Host-onrush_login=.", "a=b"] {
            assert!(Flight::of(&headers(strange), &key, true).is_none(), "{strange}");
        }
        assert!(Flight::of(&headers(cookie), &other, true).is_none());
        assert!(Flight::of(&headers(cookie), &key, false).is_none());
    }
}
