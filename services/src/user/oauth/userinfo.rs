//! `/oauth2/userinfo`: who the user is, as far as they granted (OpenID Connect Core, 5.3).

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Bearer, Scope, unauthenticated};
use crate::field::FieldError;
use crate::http::{Form, Json, Problem};
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
    users.info(&bearer.0).await.map(Json)
}

/// A form that may bring the token (RFC 6750, 2.2).
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes the form; it is read field by field")]
pub(super) struct TokenForm {
    /// The access token, unless a header brings it.
    access_token: Option<String>,
}

/// The same by POST: the token comes in a header or in the form, not in both.
#[utoipa::path(
    post,
    path = "/oauth2/userinfo",
    operation_id = "read_user_info_by_post",
    tag = "oauth2",
    security(("bearer" = [])),
    request_body(content = Option<TokenForm>, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The user, as far as they granted", body = UserInfo),
        (status = 400, description = "INVALID_FIELD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "INSUFFICIENT_SCOPE: openid was not granted", body = Problem),
    )
)]
pub(super) async fn userinfo_by_post(
    State(users): State<Users>,
    headers: HeaderMap,
    form: Result<Form, Rejection>,
) -> Result<Json<UserInfo>, Rejection> {
    // A body of another kind, or none, says nothing.
    let fields = form.map(|Form(fields)| fields).unwrap_or_default();
    let token = match (headers.contains_key(AUTHORIZATION), fields.one("access_token")?) {
        (true, None) => Bearer::of(&headers)?.0,
        (false, Some(token)) => token.to_owned(),
        (false, None) => return Err(unauthenticated().into()),
        (true, Some(_)) => {
            return Err(FieldError::invalid("access_token", "the token in one place", "it in two").into());
        }
    };
    users.info(&token).await.map(Json)
}

impl Users {
    async fn info(&self, token: &str) -> Result<UserInfo, Rejection> {
        let (identity, found) = self.bearer(token).await?;
        let Some(scopes) = identity.scopes.filter(|scopes| scopes.has(Scope::Openid)) else {
            let message = "access token: expected one with the scope openid, found another";
            return Err(Denial::new("INSUFFICIENT_SCOPE", message).into());
        };
        let user = found.value;
        let (profile, email) = (scopes.has(Scope::Profile), scopes.has(Scope::Email));
        Ok(UserInfo {
            sub: user.id,
            name: profile.then_some(user.name),
            locale: user.language.filter(|_| profile),
            email: email.then_some(user.email),
            email_verified: email.then_some(user.email_verified),
        })
    }
}
