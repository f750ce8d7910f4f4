//! Logins and grants: refresh tokens that change with every use.
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
use crate::access::{ACCESS_TOKEN_S, Scope, Scopes, now_s};
use crate::backend::Backend;
use crate::documents::{Versioned, key};
use crate::status::{Denial, Rejection};

/// How long a login lives without a refresh, in seconds.
const IDLE_S: u64 = 30 * 86_400;
/// Most logins of a user, and most grants to one client; one more ends the one of them that was quiet longest.
const LOGINS_MAX: usize = 20;
const GRANTS_OF_CLIENT_MAX: usize = 10;
/// Most grants of a user: they are one document. No client ends another's to make room for its own.
const GRANTS_MAX: usize = 40;
/// Tries of a compare-and-set before the user counts as too busy.
const TRIES: usize = 16;
/// How long the code of a grant is good, in seconds.
const CODE_S: u64 = 60;
/// What a token of ours begins with, so that those who look for leaked secrets find it.
const PREFIX: &str = "onrush_rt_";
/// The same for the code of a grant, and for its refresh tokens.
pub(super) const CODE_PREFIX: &str = "onrush_ac_";
pub(super) const GRANT_PREFIX: &str = "onrush_gt_";
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
    /// What it is good for, if it is a program's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<Grant>,
}

/// What a user granted a program.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// The client.
    pub(super) client: String,
    /// What it may do.
    pub(super) scopes: Scopes,
    /// What it wants to find in the ID token.
    pub(super) nonce: Option<String>,
    /// When the user logged in for it, in Unix seconds.
    pub(super) auth_s: u64,
    /// What its code is bound to, until it is redeemed.
    pub(super) code: Option<CodeBinding>,
}

/// What a code is bound to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CodeBinding {
    /// Where it went.
    pub(super) redirect_uri: String,
    /// What the client's verifier must hash to.
    pub(super) challenge: String,
}

impl Family {
    /// Whose grant it is; `None` for a login.
    fn client(&self) -> Option<&str> {
        self.grant.as_ref().map(|grant| grant.client.as_str())
    }
}

impl Grant {
    /// How long it goes on without a refresh, in seconds; without one to come, as long as its access token.
    fn life_s(&self) -> u64 {
        if self.scopes.has(Scope::OfflineAccess) { IDLE_S } else { ACCESS_TOKEN_S }
    }
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
    /// A login's token as somebody brought it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::parse_as(PREFIX, text)
    }

    /// Whose it is.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The same for another kind. The kind is written on it, and not believed.
    pub(super) fn parse_as(prefix: &str, text: &str) -> Option<Self> {
        let text = text.strip_prefix(prefix)?;
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

    fn text(&self, prefix: &str) -> Result<String, Rejection> {
        let user = Uuid::parse_str(&self.user)
            .map_err(|error| Rejection::Internal(format!("a user's id is no UUID: {error}")))?;
        let bytes = [user.as_bytes().as_slice(), &self.family, &self.secret].concat();
        Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn family(&self, life_s: u64, grant: Option<Grant>) -> Family {
        let (id_hash, secret_hash) = (hash(&self.family), hash(&self.secret));
        Family { id_hash, secret_hash, expires_s: now_s() + life_s, grant }
    }

    fn login(self, prefix: &str) -> Result<Login, Rejection> {
        let session = public(&hash(&self.family));
        Ok(Login { refresh_token: self.text(prefix)?, session, user: self.user })
    }
}

/// Begins a login.
pub(super) async fn begin(backend: &Backend, user: &str) -> Result<Login, Rejection> {
    add(backend, user, IDLE_S, None).await?.login(PREFIX)
}

/// Begins a grant; its code is the first token.
pub(super) async fn authorise(backend: &Backend, user: &str, grant: Grant) -> Result<Login, Rejection> {
    add(backend, user, CODE_S, Some(grant)).await?.login(CODE_PREFIX)
}

async fn add(
    backend: &Backend,
    user: &str,
    life_s: u64,
    grant: Option<Grant>,
) -> Result<RefreshToken, Rejection> {
    let token = RefreshToken::fresh(user)?;
    let family = token.family(life_s, grant);
    let mut fits = true;
    change(backend, user, |families| {
        fits = make_room(families, family.client());
        if fits {
            families.push(family.clone());
        }
    })
    .await?;
    match fits {
        true => Ok(token),
        false => {
            let message = format!("expected at most {GRANTS_MAX} grants of a user, found as many");
            Err(Denial::new("TOO_MANY_GRANTS", message).into())
        }
    }
}

/// Ends what one more login, or one more grant to this client, has no room beside; false if there is none all the
/// same. Those that were refreshed went to the end.
fn make_room(families: &mut Vec<Family>, client: Option<&str>) -> bool {
    let granted = |families: &[Family]| families.iter().filter(|family| family.grant.is_some()).count();
    let alike = |families: &[Family]| families.iter().filter(|family| family.client() == client).count();
    let alike_max = if client.is_some() { GRANTS_OF_CLIENT_MAX } else { LOGINS_MAX };
    loop {
        let full = client.is_some() && granted(families) >= GRANTS_MAX;
        if !full && alike(families) < alike_max {
            return true;
        }
        let Some(place) = families.iter().position(|family| family.client() == client) else { return false };
        families.remove(place);
    }
}

/// Goes on with a login: the token is used up, and a new one stands for it.
pub(super) async fn refresh(backend: &Backend, token: &RefreshToken) -> Result<Login, Rejection> {
    let judge = |family: &Family| match family.grant {
        None => Judged::Renewed(IDLE_S, None),
        // What a program got is no login.
        Some(_) => Judged::Foreign,
    };
    let (next, _) = spend(backend, token, judge).await?.ok_or_else(invalid)?;
    next.login(PREFIX)
}

/// From a code to a grant that goes on; `None` if it is not good for this client, address and verifier.
pub(super) async fn redeem(
    backend: &Backend,
    code: &RefreshToken,
    client: &str,
    redirect_uri: &str,
    challenge: &str,
) -> Result<Option<(Login, Grant)>, Rejection> {
    let judge = |family: &Family| {
        let Some(grant) = family.grant.as_ref().filter(|grant| grant.client == client) else {
            return Judged::Foreign;
        };
        match &grant.code {
            Some(code) if code.redirect_uri == redirect_uri && same(&code.challenge, challenge) => {
                Judged::Renewed(grant.life_s(), Some(Grant { code: None, ..grant.clone() }))
            }
            // Redeemed before, or by somebody who did not begin it: nobody can tell who has a copy.
            _ => Judged::Bad,
        }
    };
    granted(spend(backend, code, judge).await?)
}

/// Goes on with a grant; `None` if the token is not good for this client.
pub(super) async fn refresh_grant(
    backend: &Backend,
    token: &RefreshToken,
    client: &str,
) -> Result<Option<(Login, Grant)>, Rejection> {
    let judge = |family: &Family| match &family.grant {
        Some(grant) if grant.client == client && grant.code.is_none() => {
            Judged::Renewed(grant.life_s(), Some(grant.clone()))
        }
        _ => Judged::Foreign,
    };
    granted(spend(backend, token, judge).await?)
}

fn granted(spent: Option<(RefreshToken, Option<Grant>)>) -> Result<Option<(Login, Grant)>, Rejection> {
    match spent {
        Some((next, Some(grant))) => Ok(Some((next.login(GRANT_PREFIX)?, grant))),
        _ => Ok(None),
    }
}

/// What a family says to a token that names it.
enum Judged {
    /// It is none of the caller's business, and stays as it is.
    Foreign,
    /// It ends.
    Bad,
    /// With the right secret it goes on for so many seconds.
    Renewed(u64, Option<Grant>),
}

enum Found {
    Good(Box<Family>),
    Copy,
    Unknown,
}

/// Uses a token up: the next one and what it is good for, or `None`. A wrong secret ends the family.
async fn spend(
    backend: &Backend,
    token: &RefreshToken,
    judge: impl Fn(&Family) -> Judged,
) -> Result<Option<(RefreshToken, Option<Grant>)>, Rejection> {
    let next = token.next()?;
    let mut found = Found::Unknown;
    change(backend, &token.user, |families| {
        found = Found::Unknown;
        let id_hash = hash(&token.family);
        let Some(place) = families.iter().position(|family| same(&family.id_hash, &id_hash)) else { return };
        let right = same(&families[place].secret_hash, &hash(&token.secret));
        found = match judge(&families[place]) {
            Judged::Foreign => return,
            Judged::Renewed(life_s, grant) if right => Found::Good(Box::new(next.family(life_s, grant))),
            _ => Found::Copy,
        };
        families.remove(place);
        if let Found::Good(family) = &found {
            families.push(Family::clone(family));
        }
    })
    .await?;
    match found {
        Found::Good(family) => Ok(Some((next, family.grant))),
        Found::Copy => {
            tracing::warn!(
                user = token.user,
                "a token or code came twice or with the wrong proof; its login or grant was ended"
            );
            Ok(None)
        }
        Found::Unknown => Ok(None),
    }
}

/// What a grant's good token is worth to this client: its scopes, and until when, in Unix seconds.
pub(super) async fn inspect(
    backend: &Backend,
    token: &RefreshToken,
    client: &str,
) -> Result<Option<(Scopes, u64)>, Rejection> {
    let (id_hash, secret_hash) = (hash(&token.family), hash(&token.secret));
    let found: Option<Versioned<Sessions>> = backend.document(key("sessions", &token.user)?).await?;
    let mut families = found.into_iter().flat_map(|found| found.value.families);
    let family =
        families.find(|family| same(&family.id_hash, &id_hash) && same(&family.secret_hash, &secret_hash));
    Ok(family.filter(|family| family.expires_s > now_s()).and_then(|family| {
        let grant = family.grant.filter(|grant| grant.client == client && grant.code.is_none())?;
        Some((grant.scopes, family.expires_s))
    }))
}

/// Ends the grant of a token, good or used up, if it is this client's.
pub(super) async fn end_grant(
    backend: &Backend,
    token: &RefreshToken,
    client: &str,
) -> Result<(), Rejection> {
    let id_hash = hash(&token.family);
    let ends = |family: &Family| same(&family.id_hash, &id_hash) && family.client() == Some(client);
    change(backend, &token.user, |families| families.retain(|family| !ends(family))).await
}

/// What programs may do for a user now, each until when, in Unix seconds. A code that nobody redeemed is nothing yet.
pub(super) async fn grants(backend: &Backend, user: &str) -> Result<Vec<(Grant, u64)>, Rejection> {
    let found: Option<Versioned<Sessions>> = backend.document(key("sessions", user)?).await?;
    let now = now_s();
    let families = found.into_iter().flat_map(|found| found.value.families);
    let granted = families.filter(|family| family.expires_s > now);
    let granted = granted.filter_map(|family| Some((family.grant?, family.expires_s)));
    Ok(granted.filter(|(grant, _)| grant.code.is_none()).collect())
}

/// Ends all that a user granted a client.
pub(super) async fn end_granted(backend: &Backend, user: &str, client: &str) -> Result<(), Rejection> {
    change(backend, user, |families| families.retain(|family| family.client() != Some(client))).await
}

/// Ends the login or grant of this public name.
pub(super) async fn end_named(backend: &Backend, user: &str, session: &str) -> Result<(), Rejection> {
    if !account::is_id(user) {
        return Ok(());
    }
    change(backend, user, |families| families.retain(|family| public(&family.id_hash) != session)).await
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

pub(super) fn hash(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}

pub(super) fn same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

pub(super) fn fill(bytes: &mut [u8]) -> Result<(), Rejection> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| Rejection::Internal("the system gave no randomness".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: String, client: Option<&str>) -> Family {
        let grant = client.map(|client| Grant {
            client: client.into(),
            scopes: Scopes::default(),
            nonce: None,
            auth_s: 0,
            code: None,
        });
        Family { id_hash: name, secret_hash: String::new(), expires_s: 0, grant }
    }

    fn add(families: &mut Vec<Family>, client: Option<&str>, times: usize) -> usize {
        let mut added = 0;
        for _ in 0..times {
            if make_room(families, client) {
                families.push(family(format!("{client:?} {added}"), client));
                added += 1;
            }
        }
        added
    }

    /// One client could end the grants of all others of a user by asking often enough.
    #[test]
    fn a_client_ends_its_own_grants_and_nobody_elses() {
        let mut families = Vec::new();
        let count =
            |families: &[Family], client| families.iter().filter(|family| family.client() == client).count();
        add(&mut families, None, 3);
        add(&mut families, Some("quiet"), 2);
        assert_eq!(add(&mut families, Some("loud"), 500), 500);
        assert_eq!(add(&mut families, None, 500), 500);
        for (client, left) in [(None, LOGINS_MAX), (Some("quiet"), 2), (Some("loud"), GRANTS_OF_CLIENT_MAX)] {
            assert_eq!(count(&families, client), left, "{client:?}");
        }
        // The oldest go first.
        assert_eq!(families.iter().rfind(|family| family.client().is_none()).unwrap().id_hash, "None 499");
        // All in all there is a bound, at which a client makes room among its own.
        for client in 0..50 {
            add(&mut families, Some(&format!("client {client}")), 2);
        }
        let granted = families.iter().filter(|family| family.grant.is_some()).count();
        assert_eq!(granted, GRANTS_MAX);
        assert!(!make_room(&mut families, Some("late")));
        assert_eq!(add(&mut families, Some("loud"), 1), 1);
        assert_eq!((count(&families, Some("quiet")), count(&families, Some("loud"))), (2, 10));
        assert_eq!(families.iter().filter(|family| family.grant.is_some()).count(), GRANTS_MAX);
    }

    #[test]
    fn tokens_read_back_and_others_do_not_read() {
        let user = Uuid::new_v4().to_string();
        let token = RefreshToken::fresh(&user).unwrap();
        let text = token.text(PREFIX).unwrap();
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
