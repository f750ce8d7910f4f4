//! Accounts as documents of the engine, and the claim on the e-mail that makes them unique.
//!
//! `users/<id>` is what other services may read and hear of on `user.updated`; the password's hash
//! stands apart in `credentials/<id>` and is never emitted.

use onrush_proto::{Command, DocKey, NameCommand, Outcome, Refusal, Request, Text, Topic};
use serde::{Deserialize, Serialize};

use super::email::Email;
use crate::access::Roles;
use crate::backend::{Backend, unexpected};
use crate::documents::{Versioned, key};
use crate::status::{Denial, Rejection};

/// How long a claim on an address stands while its account is being made, in us.
const CLAIM_US: u64 = 60_000_000;

/// A user as everybody inside may see them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// Who they are, for good: a UUID.
    pub id: String,
    /// Their address in its normal form.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Their telephone (E.164), if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Their language (BCP 47), if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// What they are to the shop.
    pub roles: Roles,
    /// When they registered, in Unix seconds.
    pub created_s: u64,
    /// True if they have shown that mails to the address reach them.
    #[serde(default)]
    pub email_verified: bool,
}

/// What proves a user's word.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Credentials {
    /// The password's hash as a PHC string.
    pub(super) password_hash: String,
}

/// No such user: said of foreign ones too.
pub(super) fn unknown(id: &str) -> Rejection {
    let id: String = id.chars().take(40).collect();
    Denial::new("UNKNOWN_USER", format!("user_id: no user {id:?}")).of("user_id").into()
}

/// True for what the id of a user looks like: a UUID.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

pub(super) fn user_key(id: &str) -> Result<DocKey, Rejection> {
    if is_id(id) { key("users", id) } else { Err(unknown(id)) }
}

/// A user by id.
pub(super) async fn user(backend: &Backend, id: &str) -> Result<Versioned<User>, Rejection> {
    backend.document(user_key(id)?).await?.ok_or_else(|| unknown(id))
}

/// The id of the account that has an address for good.
pub(super) async fn id_of(backend: &Backend, email: &Email) -> Result<Option<String>, Rejection> {
    let get = NameCommand::Get { name: name(email)? };
    match backend.call(Request::unkeyed(Command::Name(Box::new(get)))).await.outcome {
        Outcome::Name(row) if row.confirmed => Ok(Some(row.owner.to_string())),
        Outcome::Name(_) | Outcome::Refused(Refusal::NotFound) => Ok(None),
        Outcome::Refused(refusal) => Err(refusal.into()),
        other => Err(unexpected("a name or a refusal", &other)),
    }
}

pub(super) async fn credentials(
    backend: &Backend,
    id: &str,
) -> Result<Option<Versioned<Credentials>>, Rejection> {
    backend.document(key("credentials", id)?).await
}

/// Claims an address for an account that is being made.
pub(super) async fn claim(backend: &Backend, email: &Email, id: &str) -> Result<(), Rejection> {
    let claim = NameCommand::Claim { name: name(email)?, owner: owner(id)?, for_us: CLAIM_US };
    named(backend, claim).await
}

/// Gives a claim back. If that fails, it lapses by itself.
pub(super) async fn release(backend: &Backend, email: &Email, id: &str) {
    let released = async {
        let release = NameCommand::Release { name: name(email)?, owner: owner(id)? };
        named(backend, release).await
    };
    if let Err(error) = released.await {
        tracing::debug!(%error, "a claim on an address was not given back and lapses");
    }
}

/// Puts the hash of a password; returns the new version.
pub(super) async fn put_credentials(
    backend: &Backend,
    id: &str,
    password_hash: String,
    expected: u64,
) -> Result<u64, Rejection> {
    backend.put_document(key("credentials", id)?, &Credentials { password_hash }, expected, None).await
}

/// Puts a user and says so on `user.updated`; returns the new version.
pub(super) async fn put_user(backend: &Backend, user: &User, expected: u64) -> Result<u64, Rejection> {
    backend.put_document(user_key(&user.id)?, user, expected, Some(Topic::UserUpdated)).await
}

/// Makes a claim stand for good.
pub(super) async fn confirm(backend: &Backend, email: &Email, id: &str) -> Result<(), Rejection> {
    let confirm = NameCommand::Confirm { name: name(email)?, owner: owner(id)? };
    named(backend, confirm).await
}

async fn named(backend: &Backend, command: NameCommand) -> Result<(), Rejection> {
    match backend.accept(Request::unkeyed(Command::Name(Box::new(command)))).await {
        Ok(_) => Ok(()),
        Err(Rejection::Refused(Refusal::NameTaken)) => {
            let message = "email: expected an address without an account, found one that has one";
            Err(Denial::new("EMAIL_TAKEN", message).of("email").into())
        }
        Err(rejection) => Err(rejection),
    }
}

fn name(email: &Email) -> Result<DocKey, Rejection> {
    key("email", email.as_str())
}

fn owner(id: &str) -> Result<Text<63>, Rejection> {
    Text::new(id).map_err(|error| Rejection::Internal(format!("a user's id: {error}")))
}
