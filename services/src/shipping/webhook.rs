//! The carrier's pushes: signed, and believed only as far as "look again". What became of a parcel is
//! read from the carrier, so a push that comes twice, late or replayed changes nothing.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::carrier::Carrier;
use super::desk::Desk;
use super::tracking_number;
use crate::config::Secret;
use crate::http::{BODY_BYTES_MAX, Problem};
use crate::status::{Denial, Rejection};

/// Where the signature stands, and how it begins.
const SIGNATURE: &str = "x-hmac-signature";
const PREFIX: &str = "hmac-sha256-hex=";

/// What a push says, as far as it is read.
#[derive(Deserialize)]
struct Push {
    result: Subject,
}

#[derive(Deserialize)]
struct Subject {
    tracking_code: Option<String>,
}

/// Something became of a parcel; signed by HMAC-SHA256 over the raw body.
#[utoipa::path(
    post,
    path = "/carrier/webhook",
    tag = "shipping",
    request_body(content = String, content_type = "application/json"),
    responses(
        (status = 204, description = "Heard"),
        (status = 400, description = "Not a push", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Not signed by the carrier", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn hear(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Rejection> {
    let too_large =
        |_| Denial::new("MESSAGE_TOO_LARGE", format!("expected at most {BODY_BYTES_MAX} bytes, found more"));
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(too_large)?;
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_signed(secret(&desk), &body, signature) {
        let message = "X-Hmac-Signature: expected the carrier's signature of this body, found none";
        return Err(Denial::new("UNAUTHENTICATED", message).of("X-Hmac-Signature").into());
    }
    let push: Push = serde_json::from_slice(&body)
        .map_err(|error| Denial::new("INVALID_MESSAGE", format!("expected a push, found {error}")))?;
    if let Some(number) = push.result.tracking_code.and_then(|number| tracking_number(number).ok())
        && let Some(order) = desk.shelf.tracked(&number).await?
    {
        desk.wake(order);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Without a secret nobody can sign.
fn secret(desk: &Desk) -> Option<&Secret> {
    match desk.carrier() {
        Carrier::Http(carrier) => Some(carrier.webhook_secret()).filter(|secret| !secret.is_empty()),
        Carrier::Simulated(_) => None,
    }
}

/// True if the signature is one of these very bytes; compared in constant time.
fn is_signed(secret: Option<&Secret>, body: &[u8], signature: &str) -> bool {
    let (Some(secret), Some(tag)) = (secret, signature.strip_prefix(PREFIX).and_then(unhex)) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hmac::verify(&key, body, &tag).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let plain = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| text.as_bytes().chunks(2).map(digits).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_signed_byte_by_byte() {
        let secret = Secret::new("whsec");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"whsec");
        let tag: String = hmac::sign(&key, br#"{"id":"evt_1"}"#)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let signed = format!("{PREFIX}{tag}");
        assert!(is_signed(Some(&secret), br#"{"id":"evt_1"}"#, &signed));
        for (secret, body, signature) in [
            (Some(&secret), &br#"{"id": "evt_1"}"#[..], signed.as_str()),
            (Some(&secret), br#"{"id":"evt_1"}"#, tag.as_str()),
            (Some(&secret), br#"{"id":"evt_1"}"#, PREFIX),
            (Some(&secret), br#"{"id":"evt_1"}"#, ""),
            (Some(&Secret::new("other")), br#"{"id":"evt_1"}"#, signed.as_str()),
            (None, br#"{"id":"evt_1"}"#, signed.as_str()),
        ] {
            assert!(!is_signed(secret, body, signature), "{signature}");
        }
    }
}
