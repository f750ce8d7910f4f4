//! Logins with a provider of OpenID Connect: we are its client.
//!
//! A browser is sent there with state, nonce and challenge, and keeps what it was sent with in a cookie that
//! we signed. Who comes back with a code is whom the provider's ID token names: linked to an account
//! before, or new.

mod flight;
mod id_token;
mod link;
mod provider;

use std::time::Instant;

use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::email::Email;
use super::login::Tokens;
use super::password::Password;
use super::{Users, account, session};
use crate::access::Bearer;
use crate::http::{Json, Peer, Problem, Query, Routes};
use crate::status::{Denial, Rejection};
use flight::{Flight, Owner};
pub use provider::OidcClient;

/// Where the provider sends browsers back to.
const CALLBACK: &str = "/login/oidc/callback";

/// What shows that an account is the caller's to link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkWish {
    /// Its password.
    #[schema(format = Password)]
    current_password: String,
}

/// Where to go next.
#[derive(Serialize, ToSchema)]
pub(super) struct Departure {
    /// The provider's page, for the browser that got this answer.
    authorization_url: String,
}

/// The routes with their description.
pub(super) fn routes(users: Users) -> Routes {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(callback))
        .routes(routes!(link, unlink))
        .with_state(users)
}

/// Sends a browser to the provider to log in there.
#[utoipa::path(
    get,
    path = "/login/oidc",
    operation_id = "begin_provider_login",
    tag = "tokens",
    responses(
        (status = 303, description = "To the provider"),
        (status = 404, description = "NO_LOGIN_PROVIDER", body = Problem),
        (status = 503, description = "LOGIN_PROVIDER_UNAVAILABLE", body = Problem),
    )
)]
pub(super) async fn begin(State(users): State<Users>) -> Result<Response, Rejection> {
    let (url, cookie) = users.depart(None).await?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, header(&url)?);
    response.headers_mut().insert(SET_COOKIE, cookie);
    response.headers_mut().insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Where the provider sends the browser back to: the answer begins a login.
#[utoipa::path(
    get,
    path = "/login/oidc/callback",
    operation_id = "finish_provider_login",
    tag = "tokens",
    params(
        ("code" = Option<String>, Query, description = "The provider's code"),
        ("state" = Option<String>, Query, description = "What the browser was sent with"),
        ("iss" = Option<String>, Query, description = "Whose answer it is (RFC 9207)"),
        ("error" = Option<String>, Query, description = "Why there is no code"),
    ),
    responses(
        (status = 200, description = "Tokens", body = Tokens),
        (status = 400, description = "LOGIN_STATE_MISMATCH, INVALID_FIELD, MISSING_FIELD, INVALID_EMAIL", body = Problem),
        (status = 401, description = "LOGIN_REFUSED, INVALID_ID_TOKEN", body = Problem),
        (status = 403, description = "EMAIL_NOT_VERIFIED, LOGIN_NOT_LINKED", body = Problem),
        (status = 404, description = "NO_LOGIN_PROVIDER", body = Problem),
        (status = 409, description = "EMAIL_TAKEN: its owner links it at /login/oidc/link; LOGIN_LINKED", body = Problem),
        (status = 429, description = "TOO_MANY_REQUESTS from one network that began no login", body = Problem),
        (status = 503, description = "LOGIN_PROVIDER_UNAVAILABLE", body = Problem),
    )
)]
pub(super) async fn callback(
    State(users): State<Users>,
    peer: Peer,
    headers: HeaderMap,
    Query(query): Query,
) -> Result<Response, Rejection> {
    let client = users.oidc()?;
    users.desk.attempts.admit_return(peer.0, Instant::now())?;
    let flight = users.flight(&headers, query.one("state")?).await?;
    client.check_issuer(query.one("iss")?).await?;
    if query.one("error")?.is_some() {
        // The provider's words are anybody's, who can write a link.
        let message = "expected a code of the provider, found its refusal";
        return Err(Denial::new("LOGIN_REFUSED", message).into());
    }
    let person = client.person(query.need("code")?, &users.callback(), &flight).await?;
    let name = link::name(client.issuer(), &person);
    let user = match flight.link {
        None => users.account_of(&name, &person).await?,
        Some(owner) => {
            users.check_owner(&owner).await?;
            users.link_to(&owner, &name).await?;
            tracing::info!(user = owner.user, issuer = client.issuer(), "a login of a provider was linked");
            owner.user
        }
    };
    let login = session::begin(&users.backend, &user).await?;
    let tokens = users.tokens(users.still_linked(&name, login).await?).await?;
    users.desk.attempts.returned(peer.0);
    let mut response = Json(tokens).into_response();
    response.headers_mut().insert(SET_COOKIE, header(&Flight::gone(users.desk.provider.is_secure()))?);
    Ok(response)
}

/// Begins to link the caller's account to a login of the provider: whoever then logs in there in this browser may
/// log in here.
#[utoipa::path(
    post,
    path = "/login/oidc/link",
    operation_id = "link_provider_login",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = LinkWish,
    responses(
        (status = 200, description = "Where the browser goes next", body = Departure),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN, INVALID_CREDENTIALS", body = Problem),
        (status = 403, description = "INSUFFICIENT_SCOPE", body = Problem),
        (status = 404, description = "NO_LOGIN_PROVIDER", body = Problem),
        (status = 429, description = "TOO_MANY_REQUESTS after wrong passwords, OVERLOADED", body = Problem),
        (status = 503, description = "LOGIN_PROVIDER_UNAVAILABLE", body = Problem),
    )
)]
pub(super) async fn link(
    State(users): State<Users>,
    peer: Peer,
    bearer: Bearer,
    Json(body): Json<LinkWish>,
) -> Result<Response, Rejection> {
    let (caller, found) = users.caller(&bearer.0).await?;
    let email = Email::parse("email", &found.value.email)?;
    let password = Password::given("current_password", &body.current_password)?;
    let before = account::credentials(&users.backend, caller.user.as_str()).await?;
    if users.prove(peer, &email, password).await?.user != caller.user.as_str() {
        let message = "expected the caller's password, found another";
        return Err(Denial::new("INVALID_CREDENTIALS", message).into());
    }
    let credentials = before.map_or(0, |before| before.version);
    let links = users.links(caller.user.as_str()).await?;
    let owner = Owner { user: caller.user.to_string(), credentials, links };
    let (authorization_url, cookie) = users.depart(Some(owner)).await?;
    let mut response = Json(Departure { authorization_url }).into_response();
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// Takes the link of the caller's account back, and ends all logins; one that is being made comes to nothing. So does
/// a new password. An account without a password gets one by `/password-reset`.
#[utoipa::path(
    delete,
    path = "/login/oidc/link",
    operation_id = "unlink_provider_login",
    tag = "accounts",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Nobody logs in by the provider, whether or not somebody could"),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "INSUFFICIENT_SCOPE", body = Problem),
    )
)]
pub(super) async fn unlink(State(users): State<Users>, bearer: Bearer) -> Result<StatusCode, Rejection> {
    let (caller, _) = users.caller(&bearer.0).await?;
    users.unlink(caller.user.as_str()).await?;
    session::end_all(&users.backend, caller.user.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Users {
    fn oidc(&self) -> Result<&OidcClient, Rejection> {
        let none = || Denial::new("NO_LOGIN_PROVIDER", "expected OIDC_ISSUER to name a provider, found none");
        Ok(self.desk.oidc.as_ref().ok_or_else(none)?)
    }

    fn callback(&self) -> String {
        format!("{}{CALLBACK}", self.desk.provider.issuer())
    }

    /// Where a browser goes, and the cookie that it comes back with.
    async fn depart(&self, link: Option<Owner>) -> Result<(String, HeaderValue), Rejection> {
        let client = self.oidc()?;
        let flight = Flight::new(link)?;
        let key = self.desk.provider.form_key(&self.backend).await?;
        let url = client.authorization_url(&self.callback(), &flight).await?;
        Ok((url, header(&flight.cookie(key, self.desk.provider.is_secure()))?))
    }

    /// The login that a browser with these headers began, and that this state belongs to.
    async fn flight(&self, headers: &HeaderMap, state: Option<&str>) -> Result<Flight, Rejection> {
        let key = self.desk.provider.form_key(&self.backend).await?;
        let flight = Flight::of(headers, key, self.desk.provider.is_secure());
        let found = flight.filter(|flight| state.is_some_and(|state| flight.has_state(state)));
        let mismatch = || {
            let message = "state: expected that of a login that this browser began, found another";
            Denial::new("LOGIN_STATE_MISMATCH", message).of("state")
        };
        Ok(found.ok_or_else(mismatch)?)
    }

    /// Refused if the password was changed since.
    async fn check_owner(&self, owner: &Owner) -> Result<(), Rejection> {
        let found = account::credentials(&self.backend, &owner.user).await?;
        match found.map_or(0, |found| found.version) == owner.credentials {
            true => Ok(()),
            false => {
                let message = "expected the password of now, found one that was changed meanwhile";
                Err(Denial::new("LOGIN_REFUSED", message).into())
            }
        }
    }
}

fn header(text: &str) -> Result<HeaderValue, Rejection> {
    HeaderValue::from_str(text).map_err(|error| Rejection::Internal(format!("a header: {error}")))
}
