//! `POST /password`.

use axum::extract::State;
use onrush_proto::Refusal;
use serde::Deserialize;
use utoipa::ToSchema;

use super::email::Email;
use super::login::Tokens;
use super::password::Password;
use super::{Users, account, session};
use crate::access::Bearer;
use crate::http::{Json, Peer, Problem};
use crate::status::{Denial, Rejection};

/// A change of password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    /// The password of now.
    #[schema(format = Password)]
    current_password: String,
    /// The one to come: as in `/register`.
    #[schema(min_length = 10, max_length = 128, format = Password)]
    new_password: String,
}

/// Changes the caller's password, and ends all their logins and their link to a provider; the answer begins a new login.
#[utoipa::path(
    post,
    path = "/password",
    operation_id = "change_password",
    tag = "accounts",
    security(("bearer" = [])),
    request_body = PasswordChange,
    responses(
        (status = 200, description = "Tokens of a new login", body = Tokens),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, WEAK_PASSWORD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN, INVALID_CREDENTIALS", body = Problem),
        (status = 429, description = "TOO_MANY_REQUESTS after wrong passwords, OVERLOADED", body = Problem),
    )
)]
pub(super) async fn change(
    State(users): State<Users>,
    peer: Peer,
    bearer: Bearer,
    Json(body): Json<PasswordChange>,
) -> Result<Json<Tokens>, Rejection> {
    let (caller, found) = users.caller(&bearer.0).await?;
    let email = Email::parse("email", &found.value.email)?;
    let current = Password::given("current_password", &body.current_password)?;
    let new = Password::new("new_password", &body.new_password, &email)?;
    let before = account::credentials(&users.backend, caller.user.as_str()).await?;
    if users.prove(peer, &email, current).await?.user != caller.user.as_str() {
        return Err(
            Denial::new("INVALID_CREDENTIALS", "expected the caller's password, found another").into()
        );
    }
    let password_hash = users.desk.hashing.hash(new).await?;
    let version = before.map_or(0, |before| before.version);
    match account::put_credentials(&users.backend, caller.user.as_str(), password_hash, version).await {
        // Somebody else changed it meanwhile, so what was proved is no longer the password.
        Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {
            let message = "expected the password of now, found one that was changed meanwhile";
            return Err(Denial::new("INVALID_CREDENTIALS", message).into());
        }
        done => done?,
    };
    // Whoever knew the old one may have linked a login of theirs.
    users.unlink(caller.user.as_str()).await?;
    session::end_all(&users.backend, caller.user.as_str()).await?;
    users.tokens(session::begin(&users.backend, caller.user.as_str()).await?).await.map(Json)
}
