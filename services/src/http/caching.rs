//! Versions over HTTP: `ETag` says which one it is, `If-Match` which one is to be changed.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::response::{IntoResponseParts, ResponseParts};

use crate::status::{Denial, Rejection};

/// The version of what is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Etag(pub u64);

impl IntoResponseParts for Etag {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if let Ok(value) = HeaderValue::from_str(&format!("\"v{}\"", self.0)) {
            parts.headers_mut().insert(ETAG, value);
        }
        Ok(parts)
    }
}

/// The version that the caller wants to change, from a header that it must send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IfMatch(pub u64);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let mut values = parts.headers.get_all(IF_MATCH).iter();
        let Some(value) = values.next() else {
            let message = "If-Match: expected the ETag of what is to be changed, found none";
            return Err(Denial::new("PRECONDITION_REQUIRED", message).of("If-Match").into());
        };
        match version(value).filter(|_| values.next().is_none()) {
            Some(version) => Ok(Self(version)),
            None => {
                let message = "If-Match: expected one ETag as it was answered, such as \"v7\"";
                Err(Denial::new("VERSION_MISMATCH", message).of("If-Match").into())
            }
        }
    }
}

/// A tag of ours: `"v7"`. Weak tags and `*` never match here: a change names what it changes.
fn version(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?.trim().strip_prefix("\"v")?.strip_suffix('"')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
