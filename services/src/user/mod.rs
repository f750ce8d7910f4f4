//! Users: registration, logins, profiles and roles over HTTP, and `onrush.user.v1.UserService`.

mod account;
mod attempts;
mod email;
mod first_admin;
mod grpc;
mod hashing;
mod login;
mod oauth;
mod oidc;
mod password;
mod password_change;
mod profile;
mod register;
mod reset;
mod reset_token;
mod roles;
mod session;

use std::io;
use std::sync::Arc;

use axum::extract::State;
use onrush_grpc::user::v1::user_service_server::UserServiceServer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Identity, Keyring};
use crate::backend::Backend;
use crate::documents::Versioned;
use crate::http::{Json, Routes};
use crate::status::{Denial, Rejection};

pub use account::User;
pub use email::Email;
pub use first_admin::{FirstAdminError, ensure_first_admin};
pub use hashing::Hashing;
pub use oidc::OidcClient;
pub use password::Password;

/// What all fronts of a process share.
pub struct Desk {
    /// Signs and verifies.
    pub keyring: Arc<Keyring>,
    /// Where passwords are hashed.
    pub hashing: Hashing,
    attempts: attempts::Attempts,
    resets: reset::Desk,
    provider: oauth::Provider,
    oidc: Option<OidcClient>,
}

impl Desk {
    /// Starts the hashing threads. `issuer` is where clients of others find us, and our name to them; `oidc` the
    /// provider whose users may log in.
    pub fn start(keyring: Arc<Keyring>, issuer: String, oidc: Option<OidcClient>) -> io::Result<Self> {
        Ok(Self {
            keyring,
            hashing: Hashing::start()?,
            attempts: attempts::Attempts::default(),
            resets: reset::Desk::default(),
            provider: oauth::Provider::new(issuer),
            oidc,
        })
    }
}

/// The handlers.
#[derive(Clone)]
pub struct Users {
    backend: Backend,
    desk: Arc<Desk>,
}

impl Users {
    /// The handlers of one front.
    pub fn new(backend: Backend, desk: Arc<Desk>) -> Self {
        Self { backend, desk }
    }

    /// The gRPC service, ready to be served.
    pub fn server(self) -> UserServiceServer<Self> {
        UserServiceServer::new(self)
    }

    /// The HTTP routes with their description.
    pub fn routes(self) -> Routes {
        OpenApiRouter::new()
            .routes(routes!(register::register))
            .routes(routes!(login::login))
            .routes(routes!(login::refresh))
            .routes(routes!(login::logout))
            .routes(routes!(profile::read, profile::change))
            .routes(routes!(password_change::change))
            .routes(routes!(reset::page, reset::ask))
            .routes(routes!(reset::confirm))
            .routes(routes!(reset::submit))
            .routes(routes!(roles::find))
            .routes(routes!(roles::read))
            .routes(routes!(roles::assign))
            .routes(routes!(jwks))
            .with_state(self.clone())
            .merge(oauth::routes(self.clone()))
            .merge(oidc::routes(self))
    }

    /// The user behind a token whose login goes on, with the roles of now. Programs of others are not users.
    async fn caller(&self, token: &str) -> Result<(Identity, Versioned<User>), Rejection> {
        let (identity, found) = self.bearer(token).await?;
        match identity.scopes {
            None => Ok((identity, found)),
            Some(_) => {
                let message =
                    "access token: expected the user's own, found one that was granted to a program";
                Err(Denial::new("INSUFFICIENT_SCOPE", message).into())
            }
        }
    }

    /// The same, whoever uses the token.
    async fn bearer(&self, token: &str) -> Result<(Identity, Versioned<User>), Rejection> {
        let (claims, identity) = self.desk.keyring.verify(token)?;
        if !session::lives(&self.backend, &claims.sub, &claims.sid).await? {
            let message = "access token: expected a login that goes on, found one that has ended";
            return Err(Denial::new("INVALID_TOKEN", message).into());
        }
        let found = account::user(&self.backend, &claims.sub).await?;
        Ok((Identity { roles: found.value.roles, ..identity }, found))
    }
}

/// The keys that verify ID tokens, and access tokens unless a shared secret signs those (RFC 7517).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "read_key_set",
    tag = "tokens",
    responses((status = 200, description = "A JWK set", body = serde_json::Value))
)]
async fn jwks(State(users): State<Users>) -> Json<serde_json::Value> {
    Json(users.desk.keyring.jwks())
}
