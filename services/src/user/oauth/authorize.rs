//! `/oauth2/authorize`: a user is asked, and the answer goes back to the client by the browser.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::consent::Consent;
use super::request::{AuthorizationRequest, Back, BadRequest};
use super::{redirect_uri, refused};
use crate::access::now_s;
use crate::http::{Fields, Form, Page, Peer, Problem, escaped};
use crate::status::{Denial, Rejection};
use crate::user::Users;
use crate::user::email::Email;
use crate::user::login::Proved;
use crate::user::password::Password;
use crate::user::session::{self, CodeBinding, Grant};

/// Asks a user whether a client may do what it asks for (RFC 6749, 4.1; PKCE by S256 always, RFC 7636).
#[utoipa::path(
    get,
    path = "/oauth2/authorize",
    operation_id = "show_authorization",
    tag = "oauth2",
    params(
        ("client_id" = String, Query, description = "The client"),
        ("redirect_uri" = String, Query, description = "Where the answer goes: one that is registered, byte by byte"),
        ("response_type" = String, Query, description = "code"),
        ("scope" = String, Query, description = "What is asked for, with a space between"),
        ("code_challenge" = String, Query, description = "SHA-256 of the verifier in base64url"),
        ("code_challenge_method" = String, Query, description = "S256"),
        ("state" = Option<String>, Query, description = "Comes back as it is"),
        ("nonce" = Option<String>, Query, description = "Comes back in the ID token"),
    ),
    responses(
        (status = 200, description = "A page that asks", content_type = "text/html", body = String),
        (status = 303, description = "To the client, with error, state and iss"),
        (status = 400, description = "A page: the client or its address is not known", content_type = "text/html", body = String),
    )
)]
pub(super) async fn show(
    State(users): State<Users>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let fields = match Fields::parse(query.unwrap_or_default().as_bytes()) {
        Ok(fields) => fields,
        Err(error) => return Ok(here(&error.to_string())),
    };
    let request = match AuthorizationRequest::read(&users.backend, &fields).await {
        Ok(request) => request,
        Err(bad) => return users.turned_away(bad),
    };
    let consent = Consent::of(&users.desk.provider, &users.backend, &headers).await?;
    Ok(consent.page(&request, StatusCode::OK, ""))
}

/// What the form of that page brings: the request as it was asked for, and the user's word.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes the form; it is read field by field")]
pub(super) struct AuthorizationForm {
    /// The client.
    client_id: String,
    /// Where the answer goes.
    redirect_uri: String,
    /// code.
    response_type: String,
    /// What is asked for, with a space between.
    scope: String,
    /// SHA-256 of the verifier in base64url.
    code_challenge: String,
    /// S256.
    code_challenge_method: String,
    /// Comes back as it is.
    state: Option<String>,
    /// Comes back in the ID token.
    nonce: Option<String>,
    /// Ties the form to the browser that got it.
    ticket: String,
    /// Of the account.
    email: Option<String>,
    /// Of the account.
    #[schema(format = Password)]
    password: Option<String>,
    /// allow; anything else denies.
    decision: String,
}

/// The form of that page: the user's word, and their password.
#[utoipa::path(
    post,
    path = "/oauth2/authorize",
    operation_id = "decide_authorization",
    tag = "oauth2",
    request_body(content = AuthorizationForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "To the client, with code or error, state and iss"),
        (status = 400, description = "A page: the client or its address is not known", content((String = "text/html"), (Problem = "application/problem+json"))),
        (status = 401, description = "The page again: not an account's address and password", content_type = "text/html", body = String),
        (status = 403, description = "A page: the form is not of this browser, or too old", content_type = "text/html", body = String),
        (status = 429, description = "The page again: wrong passwords before", content((String = "text/html"), (Problem = "application/problem+json"))),
    )
)]
pub(super) async fn decide(
    State(users): State<Users>,
    peer: Peer,
    headers: HeaderMap,
    Form(fields): Form,
) -> Result<Response, Rejection> {
    let request = match AuthorizationRequest::read(&users.backend, &fields).await {
        Ok(request) => request,
        Err(bad) => return users.turned_away(bad),
    };
    let consent = Consent::of(&users.desk.provider, &users.backend, &headers).await?;
    let elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin");
    if elsewhere || !consent.admits(&request, fields.one("ticket")?.unwrap_or_default()) {
        let text =
            "<p>This form is not of this browser, or too old. Go back to the program and begin again.</p>";
        return Ok(Page::new(StatusCode::FORBIDDEN, "Not allowed", text.into()).into_response());
    }
    if fields.one("decision")? != Some("allow") {
        let (error, description) = ("access_denied", "the user said no".into());
        let AuthorizationRequest { redirect_uri, state, .. } = request;
        return Ok(users.back(&Back { redirect_uri, state, error, description }));
    }
    match users.proved(peer, &fields).await {
        Ok(proved) => users.granted(request, &proved).await,
        Err(rejection) if matches!(rejection.reason().http, 400 | 401 | 429) => {
            let status = match rejection.reason().http {
                429 => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::UNAUTHORIZED,
            };
            Ok(consent.page(&request, status, &rejection.message()))
        }
        Err(rejection) => Err(rejection),
    }
}

impl Users {
    async fn proved(&self, peer: Peer, fields: &Fields) -> Result<Proved, Rejection> {
        let nobody =
            || Denial::new("INVALID_CREDENTIALS", "expected an account's address and password, found none");
        let email = Email::parse("email", fields.one("email")?.ok_or_else(nobody)?)?;
        let password = Password::given("password", fields.one("password")?.ok_or_else(nobody)?)?;
        self.prove(peer, &email, password).await
    }

    async fn granted(&self, request: AuthorizationRequest, proved: &Proved) -> Result<Response, Rejection> {
        let AuthorizationRequest { client, redirect_uri, scopes, state, nonce, challenge } = request;
        let code = Some(CodeBinding { redirect_uri: redirect_uri.clone(), challenge });
        let client = client.id;
        let grant = Grant { client, scopes, nonce, auth_s: now_s(), code };
        let begun = match session::authorise(&self.backend, &proved.user, grant).await {
            Err(rejection) if rejection.reason().name == "TOO_MANY_GRANTS" => {
                let (error, description) = ("access_denied", refused::plain(&rejection.message()));
                return Ok(self.back(&Back { redirect_uri, state, error, description }));
            }
            begun => begun?,
        };
        let code = self.still_proved(proved, begun).await?.refresh_token;
        Ok(self.redirect(&redirect_uri, &[("code", &code)], state.as_deref()))
    }

    fn turned_away(&self, bad: BadRequest) -> Result<Response, Rejection> {
        match bad {
            BadRequest::Here(message) => Ok(here(&message)),
            BadRequest::Back(back) => Ok(self.back(&back)),
            BadRequest::Rejected(rejection) => Err(rejection),
        }
    }

    fn back(&self, back: &Back) -> Response {
        let answers = [("error", back.error), ("error_description", back.description.as_str())];
        self.redirect(&back.redirect_uri, &answers, back.state.as_deref())
    }

    /// By 303, so that no form with a password travels on. `iss` says whose answer it is (RFC 9207): a client
    /// of several providers is not mixed up.
    fn redirect(&self, uri: &str, answers: &[(&str, &str)], state: Option<&str>) -> Response {
        let mut answers = answers.to_vec();
        answers.extend(state.map(|state| ("state", state)));
        answers.push(("iss", self.desk.provider.issuer()));
        let location = redirect_uri::with(uri, &answers);
        let Ok(location) = HeaderValue::from_str(&location) else {
            return Rejection::Internal("expected an address in ASCII".into()).into_response();
        };
        let mut response = StatusCode::SEE_OTHER.into_response();
        response.headers_mut().insert(header::LOCATION, location);
        response.headers_mut().insert("referrer-policy", HeaderValue::from_static("no-referrer"));
        response
    }
}

/// Said to the user, since nobody knows where else it may go.
fn here(message: &str) -> Response {
    let body = format!("<p>The program that sent you here made a mistake.</p><p>{}</p>", escaped(message));
    Page::new(StatusCode::BAD_REQUEST, "Not a request", body).into_response()
}
