//! One call over HTTP: JSON in, the handler as gRPC has it, JSON or a problem out.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, Value};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;

use super::codec::Encoded;
use super::terms::Terms;
use super::write::Written;
use super::{document, read};
use crate::deadline::Deadline;
use crate::field::{FieldError, shown};
use crate::http::{self, IdempotencyKey, Json};
use crate::staleness::TOLD as STALENESS;
use crate::status::{Denial, Rejection};

/// Most bytes of a body; the largest order takes about as many.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How the Connect protocol says how long the caller waits, in ms.
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
/// How gRPC says it.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The field that is the key in messages.
const KEY_FIELD: &str = "request_id";
/// What is about this connection or this body and not about the call.
const NOT_FORWARDED: [HeaderName; 10] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::HOST,
    header::EXPECT,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// A call of a service, and who answers it.
#[derive(Clone)]
pub(super) struct Call<S> {
    pub(super) method: MethodDescriptor,
    pub(super) path: PathAndQuery,
    pub(super) grpc: S,
}

impl<S> Call<S>
where
    S: Service<axum::http::Request<Body>, Response = axum::http::Response<Body>, Error = Infallible>,
    S::Future: Send,
{
    pub(super) async fn answer(self, request: Request) -> Response {
        let terms = Terms::of(request.headers());
        if !document::is_unary(&self.method) {
            let message = format!("expected gRPC: {} is a stream", self.path);
            return terms.rejected(Denial::new("STREAMING_CALL", message).into());
        }
        match self.accept(request).await {
            Ok(call) => self.run(call, terms).await,
            Err(rejection) => terms.rejected(rejection),
        }
    }

    /// Reads the request as gRPC would have sent it.
    async fn accept(&self, mut request: Request) -> Result<tonic::Request<Vec<u8>>, Rejection> {
        let extensions = std::mem::take(request.extensions_mut());
        let headers = forwarded(request.headers())?;
        let key = key(request.headers(), &self.method.input())?;
        let body = http::read(request, BODY_BYTES_MAX).await?;
        let mut message = read::read(&body, &self.method.input())?;
        if let Some(key) = key {
            put_key(&mut message, key)?;
        }
        let metadata = MetadataMap::from_headers(headers);
        Ok(tonic::Request::from_parts(metadata, extensions, message.encode_to_vec()))
    }

    async fn run(self, request: tonic::Request<Vec<u8>>, terms: Terms) -> Response {
        let output = self.method.output();
        let deadline = Deadline::of(request.metadata());
        // A reply of our own is as long as it is.
        let mut grpc = Grpc::new(self.grpc).max_decoding_message_size(usize::MAX);
        let answered = grpc.unary(request, self.path, Encoded);
        let answered = match deadline.give_up_at() {
            None => answered.await,
            Some(at) => tokio::time::timeout_at(at, answered).await.unwrap_or_else(|_| {
                Err(Denial::new("DEADLINE_EXCEEDED", "expected an answer before the deadline, found none")
                    .into())
            }),
        };
        match answered {
            Ok(reply) => match DynamicMessage::decode(output, reply.get_ref().as_slice()) {
                Ok(message) => {
                    let mut response = Json(Written(&message)).into_response();
                    let told = reply.metadata().as_ref().get(STALENESS);
                    response.headers_mut().extend(told.cloned().map(|told| (STALENESS, told)));
                    response
                }
                Err(error) => terms.rejected(Rejection::Internal(format!("expected a reply, found {error}"))),
            },
            Err(status) => terms.refused(status),
        }
    }
}

/// The headers that the handler sees.
fn forwarded(headers: &HeaderMap) -> Result<HeaderMap, FieldError> {
    let mut forwarded = headers.clone();
    for name in NOT_FORWARDED {
        forwarded.remove(name);
    }
    if let Some(value) = forwarded.remove(TIMEOUT) {
        forwarded.insert(GRPC_TIMEOUT, timeout(&value)?);
    }
    Ok(forwarded)
}

/// `Connect-Timeout-Ms` as gRPC says it, which knows up to eight digits.
fn timeout(value: &HeaderValue) -> Result<HeaderValue, FieldError> {
    let text = value.to_str().unwrap_or_default();
    let digits = text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = text.parse().ok().filter(|_| digits).map(Duration::from_millis);
    let Some(wait) = wait else {
        return Err(FieldError::invalid("Connect-Timeout-Ms", "up to ten digits", shown(text)));
    };
    let text = match u32::try_from(wait.as_millis()) {
        Ok(wait_ms) if wait_ms < 100_000_000 => format!("{wait_ms}m"),
        _ => format!("{}S", wait.as_secs()),
    };
    HeaderValue::from_str(&text).map_err(|_| FieldError::invalid("Connect-Timeout-Ms", "digits", text))
}

/// The caller's key, of a call that has one.
fn key(headers: &HeaderMap, input: &MessageDescriptor) -> Result<Option<String>, Denial> {
    match input.get_field_by_name(KEY_FIELD) {
        Some(_) => Ok(IdempotencyKey::of(headers)?.0),
        None => Ok(None),
    }
}

/// Header and field are the same thing; two different keys are a mistake.
fn put_key(message: &mut DynamicMessage, key: String) -> Result<(), FieldError> {
    let given = message.get_field_by_name(KEY_FIELD).and_then(|value| value.as_str().map(str::to_owned));
    match given.filter(|given| !given.is_empty() && *given != key) {
        Some(given) => {
            let expected = format!("the value of requestId, {}", shown(&given));
            Err(FieldError::invalid("Idempotency-Key", expected, shown(&key)))
        }
        None => {
            message.set_field_by_name(KEY_FIELD, Value::String(key));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_in_ms_becomes_what_grpc_says() {
        let table = [
            ("0", Some("0m")),
            ("250", Some("250m")),
            ("99999999", Some("99999999m")),
            ("100000000", Some("100000S")),
            ("9999999999", Some("9999999S")),
            ("10000000000", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = timeout(&HeaderValue::from_static(text)).ok();
            assert_eq!(found.as_ref().and_then(|value| value.to_str().ok()), expected, "{text:?}");
        }
    }
}
