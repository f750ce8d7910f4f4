//! `Authorization: Bearer ...`, in HTTP headers and gRPC metadata alike.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::status::{Denial, Rejection};

/// The access token of a request, not verified yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(pub String);

/// The token in the value of `Authorization`.
pub fn token_in(value: Option<&str>) -> Result<&str, Denial> {
    let Some(value) = value else {
        return Err(Denial::new("UNAUTHENTICATED", "Authorization: expected a bearer token, found none")
            .of("Authorization"));
    };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(token.trim())
        }
        _ => Err(Denial::new("UNAUTHENTICATED", "Authorization: expected `Bearer` and a token")
            .of("Authorization")),
    }
}

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let mut values = parts.headers.get_all(AUTHORIZATION).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            let message = "Authorization: expected it once, found it more often";
            return Err(Denial::new("UNAUTHENTICATED", message).of("Authorization").into());
        }
        let text = first.map(|value| value.to_str().unwrap_or_default());
        Ok(Self(token_in(text)?.to_owned()))
    }
}
