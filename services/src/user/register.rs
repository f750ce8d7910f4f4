//! `POST /register`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use onrush_proto::Refusal;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Users;
use super::account::{self, User};
use super::email::Email;
use super::password::Password;
use super::profile::{Profile, name};
use crate::access::{Role, Roles, now_s};
use crate::http::{Etag, IdempotencyKey, Json, Problem};
use crate::status::{Denial, Rejection};

/// Somebody who wants an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    /// Their address. Case and compatibility forms do not matter.
    #[schema(example = "ada@example.com", max_length = 120)]
    email: String,
    /// At least 10 characters, and none of those that everybody tries first.
    #[schema(example = "correct horse battery", min_length = 10, max_length = 128, format = Password)]
    password: String,
    /// What they are called.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 200)]
    name: String,
}

/// Makes an account with the role `customer`.
#[utoipa::path(
    post,
    path = "/register",
    tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "A retry under the same key, address, password and name gets the account again")),
    request_body = NewAccount,
    responses(
        (status = 201, description = "The account", body = Profile, headers(("ETag" = String, description = "The profile's version"))),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, INVALID_EMAIL, WEAK_PASSWORD, INVALID_MESSAGE", body = Problem),
        (status = 409, description = "EMAIL_TAKEN", body = Problem),
        (status = 422, description = "IDEMPOTENCY_KEY_REUSED", body = Problem),
        (status = 429, description = "OVERLOADED", body = Problem),
    )
)]
pub(super) async fn register(
    State(users): State<Users>,
    key: IdempotencyKey,
    Json(body): Json<NewAccount>,
) -> Result<impl IntoResponse, Rejection> {
    let email = Email::parse("email", &body.email)?;
    let name = name("name", &body.name)?;
    let password = Password::new("password", &body.password, &email)?;
    let made = match &key.0 {
        None => users.make_new(email, name, password).await?,
        // The caller is whoever has the address: keys of different ones never meet.
        Some(key) => {
            let id = Uuid::from_u128(users.backend.caller_key(email.as_str(), key).0);
            users.make(&id.to_string(), &email, name, password).await?
        }
    };
    Ok((StatusCode::CREATED, Etag(made.1), Json(Profile::from(made.0))))
}

impl Users {
    /// Makes an account under an id that nobody else has.
    pub(super) async fn make_new(
        &self,
        email: Email,
        name: String,
        password: Password,
    ) -> Result<(User, u64), Rejection> {
        let id = Uuid::new_v4().to_string();
        let made = self.make(&id, &email, name, password).await;
        match &made {
            Ok(_) | Err(Rejection::Denied(Denial { reason: "EMAIL_TAKEN", .. })) => {}
            Err(_) => account::release(&self.backend, &email, &id).await,
        }
        made
    }

    /// Makes an account, or goes on where an earlier making of the same ended: each step is done once,
    /// and one that was done otherwise is not done again. The claim on the address comes first and is
    /// made to stand last: until then nobody can log in, so a crash in between leaves nothing that counts.
    async fn make(
        &self,
        id: &str,
        email: &Email,
        name: String,
        password: Password,
    ) -> Result<(User, u64), Rejection> {
        account::claim(&self.backend, email, id).await?;
        let made = async {
            match account::credentials(&self.backend, id).await? {
                Some(found) => {
                    let hash = Some(found.value.password_hash);
                    if !self.desk.hashing.verify(password, hash).await? {
                        return Err(Refusal::KeyReused.into());
                    }
                }
                None => {
                    let hash = self.desk.hashing.hash(password).await?;
                    account::put_credentials(&self.backend, id, hash, 0).await?;
                }
            }
            match self.backend.document::<User>(account::user_key(id)?).await? {
                Some(found) if found.value.name == name => Ok((found.value, found.version)),
                Some(_) => Err(Refusal::KeyReused.into()),
                None => {
                    let user = customer(id, email, name);
                    let version = account::put_user(&self.backend, &user, 0).await?;
                    Ok((user, version))
                }
            }
        };
        match made.await {
            // The same is being made at this moment.
            Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => Err(Refusal::KeyInProgress.into()),
            Err(rejection) => Err(rejection),
            Ok(made) => account::confirm(&self.backend, email, id).await.map(|()| made),
        }
    }
}

fn customer(id: &str, email: &Email, name: String) -> User {
    User {
        id: id.into(),
        email: email.to_string(),
        name,
        phone: None,
        language: None,
        roles: Roles::default().with(Role::Customer),
        created_s: now_s(),
        email_verified: false,
    }
}
