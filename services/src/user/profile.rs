//! `GET /profile` and `PUT /profile`.

use axum::extract::State;
use axum::response::IntoResponse;
use onrush_proto::{Receipt, Topic};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Users;
use super::account::{User, user_key};
use crate::access::{Bearer, Role};
use crate::deadline::Deadline;
use crate::documents;
use crate::field::{FieldError, shown};
use crate::http::{Etag, IdempotencyKey, IfMatch, Json, Problem};
use crate::status::Rejection;

const NAME_CHARS_MAX: usize = 200;

/// A user as they see themselves.
#[derive(Serialize, ToSchema)]
pub(super) struct Profile {
    /// Who they are, for good; the `customer_id` of their orders.
    id: String,
    /// Their address in its normal form.
    #[schema(example = "ada@example.com")]
    email: String,
    /// What they are called.
    #[schema(example = "Ada Lovelace")]
    name: String,
    /// Their telephone (E.164), if they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    /// Their language (BCP 47), if they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    /// What they are to the shop.
    roles: Vec<Role>,
    /// When they registered, in Unix seconds.
    created_s: u64,
    /// True if they have shown that mails to the address reach them.
    email_verified: bool,
}

/// What users may change of themselves. A field that is left out is taken away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileChange {
    /// What they are called.
    #[schema(example = "Ada King", min_length = 1, max_length = 200)]
    name: String,
    /// Their telephone (E.164).
    #[schema(example = "+4930123456", pattern = r"^\+[1-9][0-9]{6,14}$")]
    phone: Option<String>,
    /// Their language (BCP 47).
    #[schema(example = "en-GB", max_length = 35)]
    language: Option<String>,
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        let User { id, email, name, phone, language, roles, created_s, email_verified } = user;
        Self { id, email, name, phone, language, roles: roles.into(), created_s, email_verified }
    }
}

/// The caller's profile.
#[utoipa::path(
    get,
    path = "/profile",
    operation_id = "read_profile",
    tag = "accounts",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The profile", body = Profile, headers(("ETag" = String, description = "Its version"))),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
    )
)]
pub(super) async fn read(State(users): State<Users>, bearer: Bearer) -> Result<impl IntoResponse, Rejection> {
    let (_, found) = users.caller(&bearer.0).await?;
    Ok((Etag(found.version), Json(Profile::from(found.value))))
}

/// Changes the caller's profile, if it is still the version of `If-Match`.
#[utoipa::path(
    put,
    path = "/profile",
    operation_id = "change_profile",
    tag = "accounts",
    security(("bearer" = [])),
    params(
        ("If-Match" = String, Header, description = "The ETag of the profile that is to be changed"),
        ("Idempotency-Key" = Option<String>, Header, description = "A retry under the same key and body gets the first answer again"),
    ),
    request_body = ProfileChange,
    responses(
        (status = 200, description = "The profile as it is now", body = Profile, headers(("ETag" = String, description = "Its version"))),
        (status = 400, description = "MISSING_FIELD, UNKNOWN_FIELD, INVALID_FIELD, INVALID_MESSAGE", body = Problem),
        (status = 401, description = "UNAUTHENTICATED, INVALID_TOKEN", body = Problem),
        (status = 412, description = "VERSION_MISMATCH: somebody else changed it", body = Problem),
        (status = 422, description = "IDEMPOTENCY_KEY_REUSED", body = Problem),
        (status = 428, description = "PRECONDITION_REQUIRED: If-Match is missing", body = Problem),
    )
)]
pub(super) async fn change(
    State(users): State<Users>,
    bearer: Bearer,
    IfMatch(version): IfMatch,
    key: IdempotencyKey,
    Json(body): Json<ProfileChange>,
) -> Result<impl IntoResponse, Rejection> {
    let (caller, found) = users.caller(&bearer.0).await?;
    let user = User {
        name: name("name", &body.name)?,
        phone: body.phone.as_deref().map(phone).transpose()?,
        language: body.language.as_deref().map(language).transpose()?,
        ..found.value
    };
    let command = documents::put(user_key(&user.id)?, &user, Some(version), Some(Topic::UserUpdated))?;
    let key = key.0.unwrap_or_default();
    let keyed = users.backend.keyed(caller.user.as_str(), &key, Deadline::unstated(), command)?;
    match users.backend.accept(keyed.request).await?.receipt {
        Receipt::Document { version } => Ok((Etag(version), Json(Profile::from(user)))),
        other => Err(Rejection::Internal(format!("expected a document's receipt, found {other:?}"))),
    }
}

/// A name: some visible text on one line.
pub(super) fn name(path: &str, text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(FieldError::invalid(path, "a name", "none").because("MISSING_FIELD"));
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(FieldError::invalid(path, format!("at most {NAME_CHARS_MAX} characters"), "more"));
    }
    // Would hide, turn or break a line wherever the name is shown, in a mail's header for one.
    let strange = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if text.chars().any(strange) {
        return Err(FieldError::invalid(path, "visible characters on one line", "others"));
    }
    Ok(text.to_owned())
}

fn phone(text: &str) -> Result<String, FieldError> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    let is_number = (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    if is_number {
        Ok(text.to_owned())
    } else {
        Err(FieldError::invalid("phone", "E.164 such as +4930123456", shown(text)))
    }
}

fn language(text: &str) -> Result<String, FieldError> {
    let part =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first = text.split('-').next().unwrap_or_default();
    let is_tag = text.len() <= 35
        && (2..=3).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && text.split('-').all(part);
    if is_tag {
        Ok(text.to_owned())
    } else {
        Err(FieldError::invalid("language", "BCP 47 such as en-GB", shown(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_phones_and_languages_are_bounded() {
        assert_eq!(name("name", "  Ada Lovelace ").unwrap(), "Ada Lovelace");
        let long = "x".repeat(201);
        for text in ["", "   ", "Ada\r\nBcc: all@example.com", "A\u{202e}da", "A\u{200b}da", &long] {
            assert_eq!(name("name", text).unwrap_err().path, "name", "{text:?}");
        }
        assert!(phone("+4930123456").is_ok() && language("en").is_ok() && language("zh-Hant-TW").is_ok());
        for text in ["", "030123456", "+0301234567", "+49 30 1234", "+123456", "+1234567890123456"] {
            assert_eq!(phone(text).unwrap_err().path, "phone", "{text:?}");
        }
        for text in ["", "e", "engl", "en_GB", "en-", "en-toolongpart"] {
            assert_eq!(language(text).unwrap_err().path, "language", "{text:?}");
        }
    }
}
