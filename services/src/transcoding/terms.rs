//! The terms in which a caller wants to be refused: a problem, or an error of the Connect protocol for
//! its own clients, which read nothing else.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost_reflect::prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::pb;

use super::refused::{problem, reasoned};
use crate::status::Rejection;

/// What the clients of the Connect protocol send along.
const CONNECT: HeaderName = HeaderName::from_static("connect-protocol-version");

/// How a refusal is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Terms {
    /// As a problem (RFC 9457).
    Problem,
    /// As the Connect protocol has it, with the details of gRPC.
    Connect,
}

impl Terms {
    /// What the request asks for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(CONNECT) { Self::Connect } else { Self::Problem }
    }

    /// What the edge refuses.
    pub(super) fn rejected(self, rejection: Rejection) -> Response {
        match self {
            Self::Problem => rejection.into_response(),
            Self::Connect => self.refused(rejection.into()),
        }
    }

    /// What a handler refuses.
    pub(super) fn refused(self, status: Status) -> Response {
        let status = reasoned(status);
        let mut response = problem(&status).into_response();
        if self == Self::Connect {
            *response.body_mut() = Body::from(error(&status).to_string());
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        response
    }
}

fn error(status: &Status) -> Value {
    // Bytes of our own: what cannot be read of them is left out.
    let known = pb::Status::decode(status.details()).unwrap_or_default();
    let details = known.details.iter().map(|detail| {
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        json!({"type": name, "value": STANDARD_NO_PAD.encode(&detail.value)})
    });
    json!({"code": name(status.code()), "message": status.message(), "details": details.collect::<Vec<_>>()})
}

/// How Connect spells a code.
fn name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        // There is no error that is fine.
        Code::Ok | Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
