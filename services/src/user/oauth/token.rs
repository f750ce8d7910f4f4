//! `/oauth2/token`: from a code to tokens, from a refresh token to the next ones, and from a client's secret to a token
//! for itself.

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authentication;
use super::client::Client;
use super::refused::{OAuthProblem, Refused};
use crate::access::{ACCESS_TOKEN_S, Call, Delegation, Scope, Scopes, now_s};
use crate::http::{Fields, Form, Json};
use crate::status::Rejection;
use crate::user::session::{self, CODE_PREFIX, GRANT_PREFIX, Grant, Login, RefreshToken};
use crate::user::{Users, account};

/// Bounds of a verifier (RFC 7636, 4.1).
const VERIFIER_BYTES: std::ops::RangeInclusive<usize> = 43..=128;

/// What a client asks for.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes the form; it is read field by field")]
pub(super) struct TokenRequest {
    /// authorization_code, refresh_token or client_credentials.
    grant_type: String,
    /// The code.
    code: Option<String>,
    /// The address that the code came by.
    redirect_uri: Option<String>,
    /// What the challenge was made of.
    code_verifier: Option<String>,
    /// The last refresh token.
    refresh_token: Option<String>,
    /// With a refresh token: fewer scopes than were granted. With client credentials: what the client keeps itself to.
    scope: Option<String>,
    /// The client, unless a header says so.
    client_id: Option<String>,
    /// Its secret, unless a header says so or it has none.
    client_secret: Option<String>,
}

/// What a client gets.
#[derive(Serialize, ToSchema)]
pub(super) struct GrantedTokens {
    /// For `Authorization: Bearer`: a JWT.
    access_token: String,
    /// Always Bearer.
    token_type: &'static str,
    /// How long the access token is good, in seconds.
    expires_in: u64,
    /// What it is good for; nothing: for all that the client's roles permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// For one refresh, if offline_access was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Who the user is (OpenID Connect), if openid was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// The claims of an ID token.
#[derive(Serialize)]
struct IdClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    auth_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// Gives a client its tokens. A code and a refresh token are good once; one that comes twice ends the grant.
#[utoipa::path(
    post,
    path = "/oauth2/token",
    operation_id = "grant_tokens",
    tag = "oauth2",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Tokens", body = GrantedTokens),
        (status = 400, description = "invalid_request, invalid_grant, invalid_scope, unauthorized_client, unsupported_grant_type", body = OAuthProblem),
        (status = 401, description = "invalid_client", body = OAuthProblem),
    )
)]
pub(super) async fn token(
    State(users): State<Users>,
    headers: HeaderMap,
    form: Result<Form, Rejection>,
) -> Result<Json<GrantedTokens>, Refused> {
    let Form(fields) = form?;
    let client = authentication::client(&users.backend, &headers, &fields).await?;
    match fields.need("grant_type")? {
        "authorization_code" => users.redeem(&client, &fields).await,
        "refresh_token" => users.go_on(&client, &fields).await,
        "client_credentials" => users.for_itself(&client, &fields),
        _ => Err(Refused::new(
            "unsupported_grant_type",
            "grant_type: expected authorization_code, refresh_token or client_credentials",
        )),
    }
    .map(Json)
}

impl Users {
    async fn redeem(&self, client: &Client, fields: &Fields) -> Result<GrantedTokens, Refused> {
        let code = fields.need("code")?;
        let (uri, verifier) = (fields.need("redirect_uri")?, fields.need("code_verifier")?);
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !VERIFIER_BYTES.contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
            return Err(Refused::new(
                "invalid_grant",
                "code_verifier: expected 43 to 128 unreserved characters",
            ));
        }
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let code = RefreshToken::parse_as(CODE_PREFIX, code).ok_or_else(not_good)?;
        let found = session::redeem(&self.backend, &code, &client.id, uri, &challenge).await?;
        let (login, grant) = found.ok_or_else(not_good)?;
        let scopes = grant.scopes;
        self.granted_tokens(login, &grant, scopes).await
    }

    async fn go_on(&self, client: &Client, fields: &Fields) -> Result<GrantedTokens, Refused> {
        let text = fields.need("refresh_token")?;
        let token = RefreshToken::parse_as(GRANT_PREFIX, text).ok_or_else(not_good)?;
        let narrowed: Option<Scopes> = match fields.one("scope")? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| beyond())?),
        };
        // Looked at before the token is used up: a mistake in the scopes costs no grant.
        if let (Some(scopes), Some((granted, _))) =
            (narrowed, session::inspect(&self.backend, &token, &client.id).await?)
            && (scopes.is_empty() || !granted.cover(scopes))
        {
            return Err(beyond());
        }
        let found = session::refresh_grant(&self.backend, &token, &client.id).await?;
        let (login, grant) = found.ok_or_else(not_good)?;
        // What is not covered was refused above; here nothing rests on that look.
        let scopes = narrowed.filter(|scopes| grant.scopes.cover(*scopes)).unwrap_or(grant.scopes);
        self.granted_tokens(login, &grant, scopes).await
    }

    /// A token for a client that acts for nobody (RFC 6749, 4.4). There is no user, so there is nothing of a user's in
    /// it, and nothing to go on with: the secret is good again.
    fn for_itself(&self, client: &Client, fields: &Fields) -> Result<GrantedTokens, Refused> {
        if client.secret_hash.is_none() || client.roles.iter().next().is_none() {
            let expected = "expected a client with a secret and with roles of its own";
            return Err(Refused::new("unauthorized_client", expected));
        }
        let wrong = || {
            let expected = "scope: expected scopes of calls that the client registered, or none";
            Refused::new("invalid_scope", expected)
        };
        let scopes: Option<Scopes> = match fields.one("scope")? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| wrong())?),
        };
        let is_of_calls = |scope: Scope| Call::ALL.iter().any(|call| call.scope() == Some(scope));
        let good = |scopes: Scopes| {
            !scopes.is_empty() && client.scopes.cover(scopes) && scopes.iter().all(is_of_calls)
        };
        if scopes.is_some_and(|scopes| !good(scopes)) {
            return Err(wrong());
        }
        Ok(GrantedTokens {
            access_token: self.desk.keyring.issue_to_machine(&client.id, client.roles, scopes)?,
            token_type: "Bearer",
            expires_in: ACCESS_TOKEN_S,
            scope: scopes.map(|scopes| scopes.to_string()),
            refresh_token: None,
            id_token: None,
        })
    }

    async fn granted_tokens(
        &self,
        login: Login,
        grant: &Grant,
        scopes: Scopes,
    ) -> Result<GrantedTokens, Refused> {
        let user = account::user(&self.backend, &login.user).await?.value;
        let delegation = Delegation { client_id: grant.client.clone(), scopes };
        let keyring = &self.desk.keyring;
        let id_token = match scopes.has(Scope::Openid) {
            true => Some(keyring.sign_id(&IdClaims {
                iss: self.desk.provider.issuer(),
                sub: &user.id,
                aud: &grant.client,
                iat: now_s(),
                exp: now_s() + ACCESS_TOKEN_S,
                auth_time: grant.auth_s,
                nonce: grant.nonce.as_deref(),
            })?),
            false => None,
        };
        Ok(GrantedTokens {
            access_token: keyring.issue_to(&login.user, &login.session, user.roles, delegation)?,
            token_type: "Bearer",
            expires_in: ACCESS_TOKEN_S,
            scope: Some(scopes.to_string()),
            refresh_token: grant.scopes.has(Scope::OfflineAccess).then_some(login.refresh_token),
            id_token,
        })
    }
}

fn not_good() -> Refused {
    Refused::new(
        "invalid_grant",
        "expected a code or refresh token of this client that is good now, found another",
    )
}

fn beyond() -> Refused {
    Refused::new("invalid_scope", "scope: expected a part of what was granted")
}
