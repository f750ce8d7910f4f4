//! What we say of ourselves: OpenID Connect Discovery and RFC 8414.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Scope;
use crate::http::Json;
use crate::user::Users;

/// The provider: where its endpoints are and what they speak.
#[derive(Serialize, ToSchema)]
pub(super) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 3],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    code_challenge_methods_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 3],
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    claims_supported: [&'static str; 11],
    authorization_response_iss_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
}

/// The provider, for OpenID Connect.
#[utoipa::path(
    get,
    path = "/.well-known/openid-configuration",
    operation_id = "read_openid_configuration",
    tag = "oauth2",
    responses((status = 200, description = "The provider", body = Metadata))
)]
pub(super) async fn openid_configuration(State(users): State<Users>) -> Json<Metadata> {
    Json(Metadata::of(users.desk.provider.issuer()))
}

/// The provider, for OAuth 2 (RFC 8414).
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "read_authorization_server",
    tag = "oauth2",
    responses((status = 200, description = "The provider", body = Metadata))
)]
pub(super) async fn authorization_server(State(users): State<Users>) -> Json<Metadata> {
    Json(Metadata::of(users.desk.provider.issuer()))
}

impl Metadata {
    fn of(issuer: &str) -> Self {
        let at = |path: &str| format!("{issuer}{path}");
        let ways = ["client_secret_basic", "client_secret_post", "none"];
        Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: at("/oauth2/authorize"),
            token_endpoint: at("/oauth2/token"),
            userinfo_endpoint: at("/oauth2/userinfo"),
            revocation_endpoint: at("/oauth2/revoke"),
            introspection_endpoint: at("/oauth2/introspect"),
            jwks_uri: at("/.well-known/jwks.json"),
            scopes_supported: Scope::ALL.map(Scope::name).to_vec(),
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: ["authorization_code", "refresh_token", "client_credentials"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: ["EdDSA"],
            code_challenge_methods_supported: ["S256"],
            token_endpoint_auth_methods_supported: ways,
            revocation_endpoint_auth_methods_supported: ways,
            introspection_endpoint_auth_methods_supported: [ways[0], ways[1]],
            claims_supported: [
                "iss",
                "sub",
                "aud",
                "exp",
                "iat",
                "auth_time",
                "nonce",
                "name",
                "locale",
                "email",
                "email_verified",
            ],
            authorization_response_iss_parameter_supported: true,
            request_parameter_supported: false,
            request_uri_parameter_supported: false,
        }
    }
}
