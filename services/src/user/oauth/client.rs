//! `/oauth2/clients`: programs of others that may ask users for grants, registered by an admin.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::redirect_uri;
use crate::access::{Bearer, Permission, Role, Roles, Scopes, now_s};
use crate::backend::Backend;
use crate::documents::{Versioned, key};
use crate::field::{FieldError, shown};
use crate::http::{Json, Problem};
use crate::status::{Denial, Rejection};
use crate::user::{Users, profile, session};

/// The collection.
const COLLECTION: &str = "oauth-clients";
/// Most clients of a shop.
const CLIENTS_MAX: usize = 1_000;
/// Most addresses of a client.
const URIS_MAX: usize = 10;
/// What a secret begins with, so that those who look for leaked secrets find it.
const SECRET_PREFIX: &str = "onrush_cs_";

/// A client as it is on record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) name: String,
    /// SHA-256 of its secret; a public client has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret_hash: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) scopes: Scopes,
    /// What it is to the shop by itself; nothing for most.
    #[serde(default)]
    pub(super) roles: Roles,
    pub(super) created_s: u64,
}

impl Client {
    /// True for an address that it registered. A public client on the user's own machine may listen at any port: it
    /// does not know beforehand which one is free.
    pub(super) fn lives_at(&self, uri: &str) -> bool {
        let native = self.secret_hash.is_none();
        let is_it = |known: &String| known == uri || (native && redirect_uri::is_same_loopback(known, uri));
        self.redirect_uris.iter().any(is_it)
    }
}

/// A program that wants to be known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClient {
    /// What users are shown.
    #[schema(example = "Price watch", min_length = 1, max_length = 200)]
    name: String,
    /// Where browsers are sent back to, compared byte by byte, but for the port of `http://127.0.0.1` of a client
    /// without a secret. May be empty for a client with roles.
    #[schema(example = json!(["https://app.example.com/back"]), max_items = 10)]
    redirect_uris: Vec<String>,
    /// What it may ask users for, with a space between, and may narrow its own tokens to. May be empty for a client
    /// with roles.
    #[schema(example = "openid email orders.read")]
    scope: String,
    /// True if it can keep a secret: then it gets one.
    confidential: bool,
    /// What it is to the shop when it acts for nobody (client credentials): support, merchant or admin. Only with a
    /// secret.
    #[serde(default)]
    roles: Vec<Role>,
}

impl NewClient {
    /// Where it lives and what it may ask for.
    fn reach(&self) -> Result<(Roles, Scopes), Rejection> {
        let roles: Roles = self.roles.iter().copied().collect();
        if self.roles.contains(&Role::Customer) || (!self.confidential && !self.roles.is_empty()) {
            let expected = "support, merchant or admin, and only for a client with a secret";
            let found = self.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
            return Err(FieldError::invalid("roles", expected, found).into());
        }
        // Who acts for nobody may have no user to ask, and no browser to send back.
        let least = usize::from(self.roles.is_empty());
        if !(least..=URIS_MAX).contains(&self.redirect_uris.len()) {
            let found = self.redirect_uris.len().to_string();
            return Err(FieldError::invalid("redirect_uris", format!("{least} to {URIS_MAX}"), found).into());
        }
        for (index, uri) in self.redirect_uris.iter().enumerate() {
            redirect_uri::check(&format!("redirect_uris[{index}]"), uri)?;
        }
        let scopes: Option<Scopes> = self.scope.parse().ok();
        let scopes = scopes.filter(|scopes| !scopes.is_empty() || !self.roles.is_empty());
        let unknown =
            || FieldError::invalid("scope", "known scopes with a space between", shown(&self.scope));
        Ok((roles, scopes.ok_or_else(unknown)?))
    }
}

/// A client.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientShown {
    /// Its id.
    client_id: String,
    /// Its secret, said once and kept as a hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// What users are shown.
    name: String,
    /// Where browsers are sent back to.
    redirect_uris: Vec<String>,
    /// What it may ask users for.
    scope: String,
    /// True if it has a secret.
    confidential: bool,
    /// What it is to the shop when it acts for nobody.
    roles: Vec<Role>,
    /// When it was registered, in Unix seconds.
    created_s: u64,
}

/// All clients.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientList {
    /// By id.
    clients: Vec<ClientShown>,
}

impl ClientShown {
    fn of(client: Client, client_secret: Option<String>) -> Self {
        let Client { id, name, secret_hash, redirect_uris, scopes, roles, created_s } = client;
        let (scope, confidential, roles) = (scopes.to_string(), secret_hash.is_some(), roles.into());
        Self { client_id: id, client_secret, name, redirect_uris, scope, confidential, roles, created_s }
    }
}

/// Registers a client. For `admin`.
#[utoipa::path(
    post,
    path = "/oauth2/clients",
    operation_id = "register_client",
    tag = "oauth2",
    security(("bearer" = [])),
    request_body = NewClient,
    responses(
        (status = 201, description = "The client with its secret, if it has one", body = ClientShown),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "FORBIDDEN, INSUFFICIENT_SCOPE", body = Problem),
        (status = 409, description = "TOO_MANY_CLIENTS", body = Problem),
    )
)]
pub(super) async fn register(
    State(users): State<Users>,
    bearer: Bearer,
    Json(body): Json<NewClient>,
) -> Result<(StatusCode, Json<ClientShown>), Rejection> {
    let (caller, _) = users.caller(&bearer.0).await?;
    caller.must(Permission::ManageClients)?;
    let (roles, scopes) = body.reach()?;
    let (secret, secret_hash) = match body.confidential {
        true => secret().map(|(secret, hash)| (Some(secret), Some(hash)))?,
        false => (None, None),
    };
    let client = Client {
        id: Uuid::new_v4().simple().to_string(),
        name: profile::name("name", &body.name)?,
        secret_hash,
        redirect_uris: body.redirect_uris.clone(),
        scopes,
        roles,
        created_s: now_s(),
    };
    if users.backend.documents(&format!("{COLLECTION}/"), None, CLIENTS_MAX).await?.len() >= CLIENTS_MAX {
        let message = format!("expected at most {CLIENTS_MAX} clients, found as many");
        return Err(Denial::new("TOO_MANY_CLIENTS", message).into());
    }
    users.backend.put_document(key(COLLECTION, &client.id)?, &client, 0, None).await?;
    tracing::info!(by = %caller.user, client = client.id, scopes = %client.scopes, roles = ?client.roles, "a client was registered");
    Ok((StatusCode::CREATED, Json(ClientShown::of(client, secret))))
}

/// All clients. For `admin`.
#[utoipa::path(
    get,
    path = "/oauth2/clients",
    operation_id = "list_clients",
    tag = "oauth2",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The clients, at most 1,000", body = ClientList),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "FORBIDDEN, INSUFFICIENT_SCOPE", body = Problem),
    )
)]
pub(super) async fn list(State(users): State<Users>, bearer: Bearer) -> Result<Json<ClientList>, Rejection> {
    users.caller(&bearer.0).await?.0.must(Permission::ManageClients)?;
    let rows = users.backend.documents(&format!("{COLLECTION}/"), None, CLIENTS_MAX).await?;
    let read = rows.iter().filter_map(|row| serde_json::from_slice(row.value.as_deref()?).ok());
    Ok(Json(ClientList { clients: read.map(|client| ClientShown::of(client, None)).collect() }))
}

/// A client. For `admin`.
#[utoipa::path(
    get,
    path = "/oauth2/clients/{id}",
    operation_id = "read_client",
    tag = "oauth2",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The client", body = ClientShown),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "FORBIDDEN, INSUFFICIENT_SCOPE", body = Problem),
        (status = 404, description = "UNKNOWN_CLIENT", body = Problem),
    )
)]
pub(super) async fn read(
    State(users): State<Users>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<ClientShown>, Rejection> {
    users.caller(&bearer.0).await?.0.must(Permission::ManageClients)?;
    let found = find(&users.backend, &id).await?.ok_or_else(unknown)?;
    Ok(Json(ClientShown::of(found, None)))
}

/// Takes a client away: it gets no more tokens; those it has end within minutes. For `admin`.
#[utoipa::path(
    delete,
    path = "/oauth2/clients/{id}",
    operation_id = "delete_client",
    tag = "oauth2",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 403, description = "FORBIDDEN, INSUFFICIENT_SCOPE", body = Problem),
        (status = 404, description = "UNKNOWN_CLIENT", body = Problem),
    )
)]
pub(super) async fn delete(
    State(users): State<Users>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, Rejection> {
    let (caller, _) = users.caller(&bearer.0).await?;
    caller.must(Permission::ManageClients)?;
    let found = find(&users.backend, &id).await?.ok_or_else(unknown)?;
    users.backend.delete_document(key(COLLECTION, &found.id)?).await?;
    tracing::info!(by = %caller.user, client = found.id, "a client was taken away");
    Ok(StatusCode::NO_CONTENT)
}

/// A client by id, whatever the id looks like.
pub(super) async fn find(backend: &Backend, id: &str) -> Result<Option<Client>, Rejection> {
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()) {
        return Ok(None);
    }
    let found: Option<Versioned<Client>> = backend.document(key(COLLECTION, id)?).await?;
    Ok(found.map(|found| found.value))
}

fn secret() -> Result<(String, String), Rejection> {
    let mut bytes = [0; 32];
    session::fill(&mut bytes)?;
    let secret = format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = session::hash(secret.as_bytes());
    Ok((secret, hash))
}

fn unknown() -> Rejection {
    Denial::new("UNKNOWN_CLIENT", "id: expected the id of a client, found another one").of("id").into()
}
