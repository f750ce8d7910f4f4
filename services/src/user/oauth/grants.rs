//! `/oauth2/grants`: what a user lets programs of others do, to look at and to take back.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::client;
use crate::access::Bearer;
use crate::http::{Json, Problem};
use crate::status::Rejection;
use crate::user::{Users, session};

/// What a program may do in the caller's name.
#[derive(Serialize, ToSchema)]
pub(super) struct GrantShown {
    /// The program.
    client_id: String,
    /// What it is called; nothing if it is registered no more, and so gets no more tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What it may do.
    scope: String,
    /// When the user granted it, in Unix seconds.
    granted_s: u64,
    /// When it ends unless the program goes on with it, in Unix seconds.
    expires_s: u64,
}

/// All grants of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct GrantList {
    /// Those that were used last come last.
    grants: Vec<GrantShown>,
}

/// What programs of others may do in the caller's name.
#[utoipa::path(
    get,
    path = "/oauth2/grants",
    operation_id = "list_grants",
    tag = "oauth2",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The grants, at most 40", body = GrantList),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "INSUFFICIENT_SCOPE", body = Problem),
    )
)]
pub(super) async fn list(State(users): State<Users>, bearer: Bearer) -> Result<Json<GrantList>, Rejection> {
    let (caller, _) = users.caller(&bearer.0).await?;
    let mut grants = Vec::new();
    for (grant, expires_s) in session::grants(&users.backend, caller.user.as_str()).await? {
        let name = client::find(&users.backend, &grant.client).await?.map(|client| client.name);
        let (scope, granted_s) = (grant.scopes.to_string(), grant.auth_s);
        grants.push(GrantShown { client_id: grant.client, name, scope, granted_s, expires_s });
    }
    Ok(Json(GrantList { grants }))
}

/// Takes back whatever the caller granted a program, whether or not there was something.
#[utoipa::path(
    delete,
    path = "/oauth2/grants/{client_id}",
    operation_id = "end_grants",
    tag = "oauth2",
    security(("bearer" = [])),
    params(("client_id" = String, Path, description = "The program")),
    responses(
        (status = 204, description = "It gets no more tokens; those it has end within minutes"),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "INSUFFICIENT_SCOPE", body = Problem),
    )
)]
pub(super) async fn end(
    State(users): State<Users>,
    bearer: Bearer,
    Path(client_id): Path<String>,
) -> Result<StatusCode, Rejection> {
    let (caller, _) = users.caller(&bearer.0).await?;
    session::end_granted(&users.backend, caller.user.as_str(), &client_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
