//! `Idempotency-Key`: a retry under the same key gets the first acceptance again.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use crate::field::REQUEST_ID_BYTES_MAX;
use crate::status::{Denial, Rejection};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The caller's key; `None` if it brought none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey(pub Option<String>);

impl IdempotencyKey {
    /// The key in these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Denial> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let text = value.to_str().ok().map(|text| text.trim().trim_matches('"'));
        match text.filter(|text| (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())) {
            Some(text) if values.next().is_none() => Ok(Self(Some(text.to_owned()))),
            _ => Err(Denial::new(
                "INVALID_FIELD",
                format!("Idempotency-Key: expected it once, with 1 to {REQUEST_ID_BYTES_MAX} bytes of ASCII"),
            )
            .of("Idempotency-Key")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(Self::of(&parts.headers)?)
    }
}
