//! `/oauth2/revoke` (RFC 7009) and `/oauth2/introspect` (RFC 7662): a client about its own tokens.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authentication;
use super::client::Client;
use super::refused::{OAuthProblem, Refused};
use crate::access::Claims;
use crate::http::{Form, Json};
use crate::status::Rejection;
use crate::user::Users;
use crate::user::session::{self, GRANT_PREFIX, RefreshToken};

/// Which token.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes the form; it is read field by field")]
pub(super) struct TokenQuestion {
    /// An access token or a refresh token.
    token: String,
    /// The client, unless a header says so.
    client_id: Option<String>,
    /// Its secret, unless a header says so or it has none.
    client_secret: Option<String>,
}

/// What a token is worth now.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Introspection {
    /// True if it is good now and the client's own.
    active: bool,
    /// What it is good for.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// The user's id, or the client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// Until when, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// Since when, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    /// Bearer, for an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
}

/// Ends a grant by one of its tokens. Answers the same whether or not there was one.
#[utoipa::path(
    post,
    path = "/oauth2/revoke",
    operation_id = "revoke_token",
    tag = "oauth2",
    request_body(content = TokenQuestion, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The grant is over: its refresh tokens are good no more, an access token of it for its 15 minutes at most, as one that a client got for itself"),
        (status = 400, description = "invalid_request", body = OAuthProblem),
        (status = 401, description = "invalid_client", body = OAuthProblem),
    )
)]
pub(super) async fn revoke(
    State(users): State<Users>,
    headers: HeaderMap,
    form: Result<Form, Rejection>,
) -> Result<StatusCode, Refused> {
    let Form(fields) = form?;
    let client = authentication::client(&users.backend, &headers, &fields).await?;
    let text = fields.need("token")?;
    if let Some(token) = RefreshToken::parse_as(GRANT_PREFIX, text) {
        session::end_grant(&users.backend, &token, &client.id).await?;
    } else if let Some(claims) = users.own_claims(&client, text) {
        session::end_named(&users.backend, &claims.sub, &claims.sid).await?;
    }
    Ok(StatusCode::OK)
}

/// What a token of the client's own is worth. For clients with a secret.
#[utoipa::path(
    post,
    path = "/oauth2/introspect",
    operation_id = "introspect_token",
    tag = "oauth2",
    request_body(content = TokenQuestion, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "What it is worth; of others' tokens, that they are worth nothing", body = Introspection),
        (status = 400, description = "invalid_request, unauthorized_client", body = OAuthProblem),
        (status = 401, description = "invalid_client", body = OAuthProblem),
    )
)]
pub(super) async fn introspect(
    State(users): State<Users>,
    headers: HeaderMap,
    form: Result<Form, Rejection>,
) -> Result<Json<Introspection>, Refused> {
    let Form(fields) = form?;
    let client = authentication::client(&users.backend, &headers, &fields).await?;
    if client.secret_hash.is_none() {
        return Err(Refused::new("unauthorized_client", "expected a client with a secret"));
    }
    let text = fields.need("token")?;
    if let Some(token) = RefreshToken::parse_as(GRANT_PREFIX, text) {
        let found = session::inspect(&users.backend, &token, &client.id).await?;
        return Ok(Json(found.map_or_else(Introspection::default, |(scopes, exp)| Introspection {
            active: true,
            scope: Some(scopes.to_string()),
            client_id: Some(client.id),
            sub: Some(token.user().to_owned()),
            exp: Some(exp),
            ..Introspection::default()
        })));
    }
    let Some(claims) = users.own_claims(&client, text) else { return Ok(Json(Introspection::default())) };
    // What a client got for itself belongs to no login.
    if claims.sub != client.id && !session::lives(&users.backend, &claims.sub, &claims.sid).await? {
        return Ok(Json(Introspection::default()));
    }
    Ok(Json(Introspection {
        active: true,
        scope: claims.scope.map(|scopes| scopes.to_string()),
        client_id: Some(client.id),
        sub: Some(claims.sub),
        exp: Some(claims.exp),
        iat: Some(claims.iat),
        token_type: Some("Bearer"),
    }))
}

impl Users {
    /// What an access token says, if it is good and this client's.
    fn own_claims(&self, client: &Client, token: &str) -> Option<Claims> {
        let (claims, _) = self.desk.keyring.verify(token).ok()?;
        (claims.client_id.as_deref() == Some(client.id.as_str())).then_some(claims)
    }
}
