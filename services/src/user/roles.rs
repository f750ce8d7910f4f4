//! `GET /users`, `GET /users/{id}` and `PUT /users/{id}/roles`: other people, for those who may.

use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Users;
use super::account::{self, User};
use super::email::Email;
use super::profile::Profile;
use crate::access::{Bearer, Permission, Role};
use crate::documents::Versioned;
use crate::http::{Etag, IfMatch, Json, Problem};
use crate::status::{Denial, Rejection};

/// Whom to look for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Their address.
    #[param(example = "ada@example.com")]
    #[serde(default)]
    email: String,
}

/// What somebody is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolesChange {
    /// All their roles.
    roles: Vec<Role>,
}

/// The user of an address. For `support` and `admin`.
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "find_user",
    tag = "users",
    security(("bearer" = [])),
    params(Wanted),
    responses(
        (status = 200, description = "The user", body = Profile, headers(("ETag" = String, description = "The version"))),
        (status = 400, description = "MISSING_FIELD, INVALID_EMAIL", body = Problem),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "FORBIDDEN", body = Problem),
        (status = 404, description = "UNKNOWN_USER", body = Problem),
    )
)]
pub(super) async fn find(
    State(users): State<Users>,
    bearer: Bearer,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<impl IntoResponse, Rejection> {
    let (caller, _) = users.caller(&bearer.0).await?;
    caller.must(Permission::ReadUsers)?;
    let email = Email::parse("email", &wanted.map(|wanted| wanted.0.email).unwrap_or_default())?;
    let Some(id) = account::id_of(&users.backend, &email).await? else {
        return Err(account::unknown(email.as_str()));
    };
    let found = account::user(&users.backend, &id).await?;
    Ok((Etag(found.version), Json(Profile::from(found.value))))
}

/// A user. For themselves, `support` and `admin`; for others there is no such user.
#[utoipa::path(
    get,
    path = "/users/{id}",
    operation_id = "read_user",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user's id")),
    responses(
        (status = 200, description = "The user", body = Profile, headers(("ETag" = String, description = "The version"))),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 404, description = "UNKNOWN_USER", body = Problem),
    )
)]
pub(super) async fn read(
    State(users): State<Users>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Rejection> {
    let found = users.seen_by(&bearer.0, &id).await?;
    Ok((Etag(found.version), Json(Profile::from(found.value))))
}

/// Gives a user these roles and takes all others. For `admin`, and not on oneself.
#[utoipa::path(
    put,
    path = "/users/{id}/roles",
    operation_id = "assign_roles",
    tag = "users",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The user's id"),
        ("If-Match" = String, Header, description = "The ETag of the user that is to be changed"),
    ),
    request_body = RolesChange,
    responses(
        (status = 200, description = "The user as they are now", body = Profile, headers(("ETag" = String, description = "The version"))),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "FORBIDDEN", body = Problem),
        (status = 404, description = "UNKNOWN_USER", body = Problem),
        (status = 409, description = "OWN_ROLES", body = Problem),
        (status = 412, description = "VERSION_MISMATCH", body = Problem),
        (status = 428, description = "PRECONDITION_REQUIRED", body = Problem),
    )
)]
pub(super) async fn assign(
    State(users): State<Users>,
    bearer: Bearer,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Json(body): Json<RolesChange>,
) -> Result<impl IntoResponse, Rejection> {
    let (caller, _) = users.caller(&bearer.0).await?;
    caller.must(Permission::AssignRoles)?;
    let found = account::user(&users.backend, &id).await?;
    // So there is always an admin left.
    if found.value.id == caller.user.as_str() {
        return Err(Denial::new("OWN_ROLES", "expected somebody else's roles, found the caller's own").into());
    }
    let user = User { roles: body.roles.into_iter().collect(), ..found.value };
    let version = account::put_user(&users.backend, &user, version).await?;
    tracing::info!(by = %caller.user, user = user.id, roles = ?user.roles, "roles were assigned");
    Ok((Etag(version), Json(Profile::from(user))))
}

impl Users {
    /// A user as the bearer of a token may see them: foreign and missing look the same.
    pub(super) async fn seen_by(&self, token: &str, id: &str) -> Result<Versioned<User>, Rejection> {
        let (_, identity) = self.desk.keyring.verify(token)?;
        // A program that acts for nobody has no login. No scope is enough for this.
        if identity.machine && identity.scopes.is_none() {
            identity.must(Permission::ReadUsers)?;
            return account::user(&self.backend, id).await;
        }
        let (caller, own) = self.caller(token).await?;
        if own.value.id == id {
            return Ok(own);
        }
        match caller.roles.permit(Permission::ReadUsers) {
            true => account::user(&self.backend, id).await,
            false => Err(account::unknown(id)),
        }
    }
}
