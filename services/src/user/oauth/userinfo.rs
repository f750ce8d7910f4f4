//! `/oauth2/userinfo`: who the user is, as far as they granted (OpenID Connect Core, 5.3).

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Bearer, Scope};
use crate::http::{Json, Problem};
use crate::status::{Denial, Rejection};
use crate::user::Users;

/// A user as a client may see them.
#[derive(Serialize, ToSchema)]
pub(super) struct UserInfo {
    /// Their id.
    sub: String,
    /// What they are called, if profile was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Their language (BCP 47), if they said and profile was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    /// Their address, if email was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// True if they have shown that mails reach them, if email was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
}

/// Who granted an access token.
#[utoipa::path(
    get,
    path = "/oauth2/userinfo",
    operation_id = "read_user_info",
    tag = "oauth2",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user, as far as they granted", body = UserInfo),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "INSUFFICIENT_SCOPE: openid was not granted", body = Problem),
    )
)]
pub(super) async fn userinfo(
    State(users): State<Users>,
    bearer: Bearer,
) -> Result<Json<UserInfo>, Rejection> {
    let (identity, found) = users.bearer(&bearer.0).await?;
    let Some(scopes) = identity.scopes.filter(|scopes| scopes.has(Scope::Openid)) else {
        let message = "access token: expected one with the scope openid, found another";
        return Err(Denial::new("INSUFFICIENT_SCOPE", message).into());
    };
    let user = found.value;
    let (profile, email) = (scopes.has(Scope::Profile), scopes.has(Scope::Email));
    Ok(Json(UserInfo {
        sub: user.id,
        name: profile.then_some(user.name),
        locale: user.language.filter(|_| profile),
        email: email.then_some(user.email),
        email_verified: email.then_some(user.email_verified),
    }))
}
