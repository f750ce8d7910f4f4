//! The OAuth 2 provider (RFC 6749 in the profile of RFC 9700) with OpenID Connect on top: authorization
//! code with PKCE, refresh tokens that rotate, client credentials, and nothing else.
//!
//! A grant is a login of the user with a client's name on it: its code is the first token of a family
//! (`services/src/user/session.rs`), so a code or refresh token that comes twice ends all that came of it,
//! and a new password ends it too. A client that has roles acts for nobody, too: under those, by a token without a
//! user, as far as the table of calls lets staff.

mod authentication;
mod authorize;
mod client;
mod consent;
mod grants;
mod inspect;
mod metadata;
mod redirect_uri;
mod refused;
mod request;
mod token;
mod userinfo;

use aws_lc_rs::hmac;
use onrush_proto::Refusal;
use tokio::sync::OnceCell;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Users;
use crate::backend::Backend;
use crate::documents::{Versioned, key};
use crate::http::Routes;
use crate::status::Rejection;

/// Bytes of the secret that signs forms.
const SECRET_BYTES: usize = 32;

/// What all fronts share of the provider.
pub(super) struct Provider {
    /// Our name to clients: the URL where we are.
    issuer: String,
    form_key: OnceCell<hmac::Key>,
}

impl Provider {
    pub(super) fn new(issuer: String) -> Self {
        Self { issuer: issuer.trim_end_matches('/').to_owned(), form_key: OnceCell::new() }
    }

    /// Our name to clients.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// True if browsers reach us over TLS alone.
    pub(super) fn is_secure(&self) -> bool {
        self.issuer.starts_with("https://")
    }

    /// What signs forms and cookies: made once, kept with the data, so that any process may take the form that
    /// another one showed.
    pub(super) async fn form_key(&self, backend: &Backend) -> Result<&hmac::Key, Rejection> {
        self.form_key.get_or_try_init(|| form_key(backend)).await
    }
}

async fn form_key(backend: &Backend) -> Result<hmac::Key, Rejection> {
    let key = key("secret", "forms")?;
    loop {
        let found: Option<Versioned<Vec<u8>>> = backend.document(key).await?;
        if let Some(found) = found {
            return Ok(hmac::Key::new(hmac::HMAC_SHA256, &found.value));
        }
        let mut secret = vec![0u8; SECRET_BYTES];
        super::session::fill(&mut secret)?;
        match backend.put_document(key, &secret, 0, None).await {
            Ok(_) | Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
            Err(rejection) => return Err(rejection),
        }
    }
}

/// The routes with their description.
pub(super) fn routes(users: Users) -> Routes {
    OpenApiRouter::new()
        .routes(routes!(authorize::show, authorize::decide))
        .routes(routes!(token::token))
        .routes(routes!(inspect::revoke))
        .routes(routes!(inspect::introspect))
        .routes(routes!(userinfo::userinfo, userinfo::userinfo_by_post))
        .routes(routes!(client::register, client::list))
        .routes(routes!(client::read, client::delete))
        .routes(routes!(grants::list))
        .routes(routes!(grants::end))
        .routes(routes!(metadata::openid_configuration))
        .routes(routes!(metadata::authorization_server))
        .with_state(users)
}
