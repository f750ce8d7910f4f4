//! `/password-reset`: a new password for whoever gets the mails of an account.
//!
//! Who asks is answered before the address is looked up, so neither answer nor time tells whether it has
//! an account. What is found goes out on `user.password_reset` as `resets/<id>`, one per user; Notification
//! makes the token, mails it, and leaves its hash there.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use onrush_proto::{Command, Refusal, Request, Topic};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::{self, User};
use super::attempts::Attempts;
use super::email::Email;
use super::password::Password;
use super::reset_token::ResetToken;
use super::{Users, session};
use crate::access::now_s;
use crate::documents::{self, Versioned, key};
use crate::http::{Form, Json, Page, Peer, Problem, Query, escaped};
use crate::status::{Denial, Rejection};

/// How long a token is good, in seconds.
const RESET_S: u64 = 30 * 60;
/// Addresses that are looked up at once.
const LOOKUPS_MAX: usize = 64;
/// Tries of a compare-and-set.
const TRIES: usize = 8;

/// Who may ask, and how many are looked after at once.
pub(super) struct Desk {
    attempts: Attempts,
    lookups: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { attempts: Attempts::default(), lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

/// A wish for a new password, as it stands until it is granted or another one comes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reset {
    /// Whose.
    user: String,
    /// Where the mail goes.
    email: String,
    /// What they are called.
    name: String,
    /// Their language, if they said.
    #[serde(default)]
    language: String,
    /// Which wish this is.
    request: String,
    /// Until when its token is good, in Unix seconds.
    expires_s: u64,
    /// SHA-256 of the token's secret, once there is a mail.
    #[serde(default)]
    secret_hash: String,
}

/// Whose password is forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Forgotten {
    /// The address of the account.
    #[schema(example = "ada@example.com")]
    email: String,
}

/// A new password, and what shows that one may choose it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The token of the mail.
    #[schema(format = Password)]
    token: String,
    /// The password to come: as in `/register`.
    #[schema(min_length = 10, max_length = 128, format = Password)]
    new_password: String,
}

/// Has a mail sent with a token for a new password, if the address has an account. The answer is the same,
/// and as quick, if it has none.
#[utoipa::path(
    post,
    path = "/password-reset",
    operation_id = "ask_password_reset",
    tag = "accounts",
    request_body = Forgotten,
    responses(
        (status = 202, description = "If the address has an account, a mail is on its way"),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, INVALID_EMAIL, INVALID_MESSAGE", body = Problem),
        (status = 429, description = "TOO_MANY_REQUESTS for one address or from one network, OVERLOADED", body = Problem),
    )
)]
pub(super) async fn ask(
    State(users): State<Users>,
    peer: Peer,
    Json(body): Json<Forgotten>,
) -> Result<StatusCode, Rejection> {
    let email = Email::parse("email", &body.email)?;
    let desk = &users.desk.resets;
    desk.attempts.admit_mail(peer.0, email.as_str(), Instant::now())?;
    let permit = Arc::clone(&desk.lookups).try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
    let users = users.clone();
    tokio::spawn(async move {
        if let Err(rejection) = users.note_reset(&email).await {
            tracing::warn!(%rejection, "a password reset was asked for and not noted");
        }
        drop(permit);
    });
    Ok(StatusCode::ACCEPTED)
}

/// Sets a new password by the token of a mail, once, and ends all logins.
#[utoipa::path(
    post,
    path = "/password-reset/confirm",
    operation_id = "confirm_password_reset",
    tag = "accounts",
    request_body = NewPassword,
    responses(
        (status = 204, description = "The password is set, and all logins are over"),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, WEAK_PASSWORD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "INVALID_RESET_TOKEN: unknown, used, too late, or not of the last mail", body = Problem),
        (status = 429, description = "OVERLOADED", body = Problem),
    )
)]
pub(super) async fn confirm(
    State(users): State<Users>,
    Json(body): Json<NewPassword>,
) -> Result<StatusCode, Rejection> {
    users.reset_password(&body.token, &body.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The page that the link of the mail leads to. Looking at it uses nothing up.
#[utoipa::path(
    get,
    path = "/password-reset",
    operation_id = "show_password_reset",
    tag = "accounts",
    params(("token" = Option<String>, Query, description = "The token of the mail")),
    responses((status = 200, description = "The page", content_type = "text/html", body = String))
)]
pub(super) async fn page(Query(query): Query) -> Result<Page, Rejection> {
    Ok(form(StatusCode::OK, query.one("token")?.unwrap_or_default(), ""))
}

/// The same as `/password-reset/confirm` for the form of that page.
#[utoipa::path(
    post,
    path = "/password-reset/form",
    operation_id = "submit_password_reset",
    tag = "accounts",
    request_body(content = NewPassword, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A page that says so", content_type = "text/html", body = String),
        (status = 400, description = "The page again, with what is wrong", content_type = "text/html", body = String),
        (status = 401, description = "The page again: not a token that is good now", content_type = "text/html", body = String),
    )
)]
pub(super) async fn submit(State(users): State<Users>, Form(fields): Form) -> Result<Page, Rejection> {
    let token = fields.one("token")?.unwrap_or_default();
    match users.reset_password(token, fields.one("new_password")?.unwrap_or_default()).await {
        Ok(()) => {
            let body = "<p>Your password is set, and you are logged out everywhere.</p>";
            Ok(Page::new(StatusCode::OK, "New password", body.into()))
        }
        Err(rejection) if matches!(rejection.reason().http, 400 | 401) => {
            let status = StatusCode::from_u16(rejection.reason().http).unwrap_or(StatusCode::BAD_REQUEST);
            Ok(form(status, token, &rejection.message()))
        }
        Err(rejection) => Err(rejection),
    }
}

fn form(status: StatusCode, token: &str, problem: &str) -> Page {
    let problem = match problem {
        "" => String::new(),
        text => format!("<p role=\"alert\">{}</p>", escaped(text)),
    };
    let body = format!(
        "{problem}<form method=\"post\" action=\"/password-reset/form\">\
         <input type=\"hidden\" name=\"token\" value=\"{}\">\
         <p><label>New password <input type=\"password\" name=\"new_password\" minlength=\"10\" maxlength=\"128\" \
         autocomplete=\"new-password\" required></label></p><p><button>Set it</button></p></form>",
        escaped(token)
    );
    Page::new(status, "New password", body)
}

fn invalid() -> Rejection {
    let message =
        "token: expected the one of the last mail, not used and not older than half an hour, found another";
    Denial::new("INVALID_RESET_TOKEN", message).of("token").into()
}

impl Users {
    /// Puts down that somebody wants a new password, for Notification to hear of.
    async fn note_reset(&self, email: &Email) -> Result<(), Rejection> {
        let Some(id) = account::id_of(&self.backend, email).await? else { return Ok(()) };
        let user = account::user(&self.backend, &id).await?.value;
        let reset = Reset {
            user: user.id,
            email: user.email,
            name: user.name,
            language: user.language.unwrap_or_default(),
            request: Uuid::new_v4().simple().to_string(),
            expires_s: now_s() + RESET_S,
            secret_hash: String::new(),
        };
        let put: Command =
            documents::put(key("resets", &id)?, &reset, None, Some(Topic::PasswordResetAsked))?;
        self.backend.accept(Request::unkeyed(put)).await.map(|_| ())
    }

    /// The token is used up before the password is set: two that bring it at once set one password, and a
    /// crash in between sets none.
    async fn reset_password(&self, token: &str, new_password: &str) -> Result<(), Rejection> {
        let token = ResetToken::parse(token).ok_or_else(invalid)?;
        let found = self.good_reset(&token).await?;
        let email = Email::parse("email", &found.value.email)?;
        let password = Password::new("new_password", new_password, &email)?;
        let password_hash = self.desk.hashing.hash(password).await?;
        self.use_up(&token).await?;
        // Before, so that no login outlives a refusal behind the new password; after, for one that began
        // in between.
        session::end_all(&self.backend, &token.user).await?;
        self.put_password(&token.user, &password_hash).await?;
        // Also behind a first password: who reads the mailbox now need not be whom the provider knew.
        self.unlink(&token.user).await?;
        session::end_all(&self.backend, &token.user).await?;
        tracing::info!(user = token.user, "a password was reset by mail");
        if let Err(rejection) = self.mark_verified(&token.user).await {
            tracing::warn!(user = token.user, %rejection, "the address is not marked as verified");
        }
        Ok(())
    }

    async fn good_reset(&self, token: &ResetToken) -> Result<Versioned<Reset>, Rejection> {
        let found: Option<Versioned<Reset>> = self.backend.document(key("resets", &token.user)?).await?;
        found
            .filter(|found| found.value.expires_s > now_s() && token.has_hash(&found.value.secret_hash))
            .ok_or_else(invalid)
    }

    /// Notification may say meanwhile that the mail is sent, which changes the version.
    async fn use_up(&self, token: &ResetToken) -> Result<(), Rejection> {
        for _ in 0..TRIES {
            let found = self.good_reset(token).await?;
            match self.backend.take_document(key("resets", &token.user)?, found.version).await {
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                Err(Rejection::Refused(Refusal::NotFound)) => return Err(invalid()),
                done => return done,
            }
        }
        Err(Refusal::Overloaded.into())
    }

    async fn put_password(&self, user: &str, password_hash: &str) -> Result<(), Rejection> {
        for _ in 0..TRIES {
            let version = account::credentials(&self.backend, user).await?.map_or(0, |found| found.version);
            match account::put_credentials(&self.backend, user, password_hash.into(), version).await {
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                done => return done.map(|_| ()),
            }
        }
        Err(Refusal::Overloaded.into())
    }

    /// The mails of this user's address have reached them.
    pub(super) async fn mark_verified(&self, id: &str) -> Result<(), Rejection> {
        for _ in 0..TRIES {
            let found = account::user(&self.backend, id).await?;
            if found.value.email_verified {
                return Ok(());
            }
            let user = User { email_verified: true, ..found.value };
            match account::put_user(&self.backend, &user, found.version).await {
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => {}
                done => return done.map(|_| ()),
            }
        }
        Err(Refusal::Overloaded.into())
    }
}
