//! Logins: refresh tokens that change with every use.
//!
//! A login is a family of refresh tokens of which one is good. Whoever brings an older one has a copy,
//! so nobody can tell who is the owner: the family ends. All families of a user are one document,
//! changed by compare-and-set, so that of two that bring the same token at once one is the second.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onrush_proto::Refusal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::account;
use crate::access::now_s;
use crate::backend::Backend;
use crate::documents::{Versioned, key};
use crate::status::{Denial, Rejection};

/// How long a login lives without a refresh, in seconds.
const IDLE_S: u64 = 30 * 86_400;
/// Most logins of a user; one more ends the one that was quiet longest.
const FAMILIES_MAX: usize = 20;
/// Tries of a compare-and-set before the user counts as too busy.
const TRIES: usize = 16;
/// What a token of ours begins with, so that those who look for leaked secrets find it.
const PREFIX: &str = "onrush_rt_";
/// A user, a family and a secret.
const TOKEN_BYTES: usize = 16 + 16 + 32;

/// The logins of a user.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Sessions {
    families: Vec<Family>,
}

/// A login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Family {
    /// SHA-256 of its id, which is secret too: who knows it had a token.
    id_hash: String,
    /// SHA-256 of the good token's secret.
    secret_hash: String,
    /// Until when it may be refreshed, in Unix seconds.
    expires_s: u64,
}

/// A refresh token, taken apart. Has no `Debug`.
#[derive(Clone)]
pub(super) struct RefreshToken {
    user: String,
    family: [u8; 16],
    secret: [u8; 32],
}

/// A login that goes on: its new token and its public name.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) refresh_token: String,
    pub(super) session: String,
}

impl RefreshToken {
    /// A token as somebody brought it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(PREFIX)?;
        if text.len() > 2 * TOKEN_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (user, rest) = bytes.split_first_chunk::<16>()?;
        let (family, rest) = rest.split_first_chunk::<16>()?;
        let secret = <[u8; 32]>::try_from(rest).ok()?;
        Some(Self { user: Uuid::from_bytes(*user).to_string(), family: *family, secret })
    }

    fn fresh(user: &str) -> Result<Self, Rejection> {
        let (mut family, mut secret) = ([0; 16], [0; 32]);
        fill(&mut family)?;
        fill(&mut secret)?;
        Ok(Self { user: user.into(), family, secret })
    }

    fn next(&self) -> Result<Self, Rejection> {
        let mut next = self.clone();
        fill(&mut next.secret)?;
        Ok(next)
    }

    fn text(&self) -> Result<String, Rejection> {
        let user = Uuid::parse_str(&self.user)
            .map_err(|error| Rejection::Internal(format!("a user's id is no UUID: {error}")))?;
        let bytes = [user.as_bytes().as_slice(), &self.family, &self.secret].concat();
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn family(&self) -> Family {
        Family { id_hash: hash(&self.family), secret_hash: hash(&self.secret), expires_s: now_s() + IDLE_S }
    }

    fn login(self) -> Result<Login, Rejection> {
        let session = public(&hash(&self.family));
        Ok(Login { refresh_token: self.text()?, session, user: self.user })
    }
}

/// Begins a login.
pub(super) async fn begin(backend: &Backend, user: &str) -> Result<Login, Rejection> {
    let token = RefreshToken::fresh(user)?;
    let family = token.family();
    change(backend, user, |families| {
        if families.len() >= FAMILIES_MAX {
            // Refreshed ones went to the end.
            families.drain(..=families.len() - FAMILIES_MAX);
        }
        families.push(family.clone());
    })
    .await?;
    token.login()
}

/// Goes on with a login: the token is used up, and a new one stands for it.
pub(super) async fn refresh(backend: &Backend, token: &RefreshToken) -> Result<Login, Rejection> {
    let next = token.next()?;
    let family = next.family();
    let mut found = Found::Unknown;
    change(backend, &token.user, |families| {
        found = Found::Unknown;
        let id_hash = hash(&token.family);
        let Some(place) = families.iter().position(|family| same(&family.id_hash, &id_hash)) else { return };
        found = match same(&families[place].secret_hash, &hash(&token.secret)) {
            true => Found::Good,
            false => Found::Copy,
        };
        families.remove(place);
        if found == Found::Good {
            families.push(family.clone());
        }
    })
    .await?;
    match found {
        Found::Good => next.login(),
        Found::Copy => {
            tracing::warn!(user = token.user, "a refresh token came twice; its login was ended");
            Err(invalid())
        }
        Found::Unknown => Err(invalid()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Good,
    Copy,
    Unknown,
}

/// Ends the login of a token, good or used up. One that is over is as good.
pub(super) async fn end(backend: &Backend, token: &RefreshToken) -> Result<(), Rejection> {
    let id_hash = hash(&token.family);
    change(backend, &token.user, |families| families.retain(|family| !same(&family.id_hash, &id_hash))).await
}

/// Ends all logins of a user.
pub(super) async fn end_all(backend: &Backend, user: &str) -> Result<(), Rejection> {
    change(backend, user, Vec::clear).await
}

/// True if the login of this public name goes on.
pub(super) async fn lives(backend: &Backend, user: &str, session: &str) -> Result<bool, Rejection> {
    if !account::is_id(user) {
        return Ok(false);
    }
    let found: Option<Versioned<Sessions>> = backend.document(key("sessions", user)?).await?;
    let now = now_s();
    let mut families = found.into_iter().flat_map(|found| found.value.families);
    Ok(families.any(|family| family.expires_s > now && public(&family.id_hash) == session))
}

async fn change(
    backend: &Backend,
    user: &str,
    mut edit: impl FnMut(&mut Vec<Family>),
) -> Result<(), Rejection> {
    let key = key("sessions", user)?;
    for _ in 0..TRIES {
        let found: Option<Versioned<Sessions>> = backend.document(key).await?;
        let (before, version) = found.map_or((Sessions::default(), 0), |found| (found.value, found.version));
        let mut after = before.clone();
        let now = now_s();
        after.families.retain(|family| family.expires_s > now);
        edit(&mut after.families);
        if after == before {
            return Ok(());
        }
        match backend.put_document(key, &after, version, None).await {
            Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
            done => return done.map(|_| ()),
        }
    }
    Err(Refusal::Overloaded.into())
}

pub(super) fn invalid() -> Rejection {
    let message = "refresh_token: expected the last one of a login that goes on, found another one";
    Denial::new("INVALID_REFRESH_TOKEN", message).of("refresh_token").into()
}

/// The name of a login in access tokens: says nothing that a refresh token is made of.
fn public(id_hash: &str) -> String {
    id_hash.chars().take(16).collect()
}

fn hash(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}

fn same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

fn fill(bytes: &mut [u8]) -> Result<(), Rejection> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| Rejection::Internal("the system gave no randomness".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_others_do_not_read() {
        let user = Uuid::new_v4().to_string();
        let token = RefreshToken::fresh(&user).unwrap();
        let text = token.text().unwrap();
        let read = RefreshToken::parse(&text).unwrap();
        assert!(read.user == user && read.family == token.family && read.secret == token.secret);
        let next = token.next().unwrap();
        assert!(next.family == token.family && next.secret != token.secret);
        let huge = format!("{PREFIX}{}", "A".repeat(2 << 20));
        for strange in ["", PREFIX, &text[1..], &text[..text.len() - 1], &huge, "eyJhbGciOiJub25lIn0.e30."] {
            assert!(RefreshToken::parse(strange).is_none(), "{strange:.60}");
        }
    }
}
