//! `POST /login`, `/refresh` and `/logout`.

use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::email::Email;
use super::password::Password;
use super::session::{self, Login, RefreshToken};
use super::{Users, account};
use crate::access::ACCESS_TOKEN_S;
use crate::http::{Json, Peer, Problem};
use crate::status::{Denial, Rejection};

/// Who says to be somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// The address of the account.
    #[schema(example = "ada@example.com")]
    email: String,
    /// Its password.
    #[schema(example = "correct horse battery", format = Password)]
    password: String,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// The last one that came.
    #[schema(format = Password)]
    refresh_token: String,
}

/// What a login gives.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// For `Authorization: Bearer`: a JWT.
    access_token: String,
    /// For one `/refresh`, within 30 days.
    refresh_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    #[schema(example = 900)]
    expires_in: u64,
}

/// Logs in.
#[utoipa::path(
    post,
    path = "/login",
    tag = "tokens",
    request_body = Claim,
    responses(
        (status = 200, description = "Tokens", body = Tokens),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, INVALID_EMAIL, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "INVALID_CREDENTIALS, whether or not there is such an account", body = Problem),
        (status = 429, description = "TOO_MANY_REQUESTS after wrong passwords, OVERLOADED", body = Problem),
    )
)]
pub(super) async fn login(
    State(users): State<Users>,
    peer: Peer,
    Json(body): Json<Claim>,
) -> Result<Json<Tokens>, Rejection> {
    let email = Email::parse("email", &body.email)?;
    let password = Password::given("password", &body.password)?;
    let proved = users.prove(peer, &email, password).await?;
    let login = session::begin(&users.backend, &proved.user).await?;
    users.tokens(users.still_proved(&proved, login).await?).await.map(Json)
}

/// Goes on with a login. The token is used up; one that comes twice ends the login.
#[utoipa::path(
    post,
    path = "/refresh",
    tag = "tokens",
    request_body = Refresh,
    responses(
        (status = 200, description = "New tokens", body = Tokens),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "INVALID_REFRESH_TOKEN", body = Problem),
    )
)]
pub(super) async fn refresh(
    State(users): State<Users>,
    Json(body): Json<Refresh>,
) -> Result<Json<Tokens>, Rejection> {
    let token = RefreshToken::parse(&body.refresh_token).ok_or_else(session::invalid)?;
    users.tokens(session::refresh(&users.backend, &token).await?).await.map(Json)
}

/// Ends a login. Answers the same whether or not there was one.
#[utoipa::path(
    post,
    path = "/logout",
    tag = "tokens",
    request_body = Refresh,
    responses(
        (status = 204, description = "The login is over"),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_MESSAGE", body = Problem),
    )
)]
pub(super) async fn logout(
    State(users): State<Users>,
    Json(body): Json<Refresh>,
) -> Result<StatusCode, Rejection> {
    if let Some(token) = RefreshToken::parse(&body.refresh_token) {
        session::end(&users.backend, &token).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An account whose password somebody knew.
pub(super) struct Proved {
    /// Its id.
    pub(super) user: String,
    /// Which password: the version of the credentials.
    version: u64,
}

fn wrong() -> Rejection {
    let message = "expected an account's address and password, found others";
    Denial::new("INVALID_CREDENTIALS", message).into()
}

impl Users {
    /// The account that has this address and this password.
    pub(super) async fn prove(
        &self,
        peer: Peer,
        email: &Email,
        password: Password,
    ) -> Result<Proved, Rejection> {
        self.desk.attempts.admit(peer.0, email.as_str(), Instant::now())?;
        let id = account::id_of(&self.backend, email).await?;
        let found = match &id {
            Some(id) => account::credentials(&self.backend, id).await?,
            None => None,
        };
        let (version, hash) = found.map(|found| (found.version, found.value.password_hash)).unzip();
        let right = self.desk.hashing.verify(password, hash).await?;
        match (id.filter(|_| right), version) {
            (Some(user), Some(version)) => {
                self.desk.attempts.succeeded(peer.0, email.as_str());
                Ok(Proved { user, version })
            }
            _ => Err(wrong()),
        }
    }

    /// A login or grant that a password was proved for. Hashing takes its time: if the password was changed
    /// meanwhile, and all logins ended, this one ends as well.
    pub(super) async fn still_proved(&self, proved: &Proved, login: Login) -> Result<Login, Rejection> {
        let now = account::credentials(&self.backend, &proved.user).await?;
        if now.is_some_and(|now| now.version == proved.version) {
            return Ok(login);
        }
        session::end_named(&self.backend, &login.user, &login.session).await?;
        Err(wrong())
    }

    /// The tokens of a login, with the roles of now.
    pub(super) async fn tokens(&self, login: Login) -> Result<Tokens, Rejection> {
        let user = account::user(&self.backend, &login.user).await?.value;
        Ok(Tokens {
            access_token: self.desk.keyring.issue(&login.user, &login.session, user.roles)?,
            refresh_token: login.refresh_token,
            token_type: "Bearer",
            expires_in: ACCESS_TOKEN_S,
        })
    }
}
