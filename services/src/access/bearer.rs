//! `Authorization: Bearer ...`, in HTTP headers and gRPC metadata alike.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::status::{Denial, Rejection};

/// The access token of a request, not verified yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(pub String);

/// The token of a request, if it brings one: exactly one `Authorization`, and that a bearer's.
pub(super) fn token_of(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let message = "Authorization: expected it once, found it more often";
        return Err(Denial::new("UNAUTHENTICATED", message).of("Authorization"));
    }
    match value.to_str().unwrap_or_default().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(Some(token.trim()))
        }
        _ => Err(Denial::new("UNAUTHENTICATED", "Authorization: expected `Bearer` and a token")
            .of("Authorization")),
    }
}

/// Nobody said who calls.
pub(crate) fn unauthenticated() -> Denial {
    Denial::new("UNAUTHENTICATED", "Authorization: expected a bearer token, found none").of("Authorization")
}

impl Bearer {
    /// The token of a request that must bring one.
    pub fn of(headers: &HeaderMap) -> Result<Self, Denial> {
        Ok(Self(token_of(headers)?.ok_or_else(unauthenticated)?.to_owned()))
    }
}

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(Self::of(&parts.headers)?)
    }
}
