//! Problems: what a refused call looks like over HTTP (RFC 9457).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::nodes::{LEADER, Signpost};
use crate::reason::Reason;
use crate::status::Rejection;

/// Where the meaning of each reason stands, as a URN.
const TYPE: &str = "urn:onrush:reason:";

/// Why a call was not done.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The reason as a URI: `urn:onrush:reason:` and the reason.
    #[schema(example = "urn:onrush:reason:INVALID_FIELD")]
    pub r#type: String,
    /// What the reason means, the same in every case.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    pub status: u16,
    /// What was expected and what was found in this case.
    pub detail: String,
    /// The stable name, the same as in gRPC.
    #[schema(example = "INVALID_FIELD")]
    pub reason: &'static str,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// What a program may want to read of the case.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// When another try makes sense, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A field at fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Its path, or the name of a header.
    #[schema(example = "lines[3].quantity")]
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl From<&Rejection> for Problem {
    fn from(rejection: &Rejection) -> Self {
        let reason = rejection.reason();
        let mut detail = rejection.message();
        let mut field = rejection.field();
        // In messages the key is a field, here it is a header.
        if field.as_deref() == Some("request_id") {
            detail = detail.replacen("request_id", "Idempotency-Key", 1);
            field = Some("Idempotency-Key".into());
        }
        let field = field.map(|field| FieldProblem { field, detail: detail.clone() });
        Self {
            errors: field.into_iter().collect(),
            facts: rejection.facts().into_iter().collect(),
            retry_after_ms: rejection.retry_after().map(|wait| wait.as_millis() as u64),
            ..Self::of(reason, detail)
        }
    }
}

impl Problem {
    /// As JSON: numbers and texts, there is nothing in it that does not become that.
    fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A case of a reason, without more.
    pub(crate) fn of(reason: &'static Reason, detail: String) -> Self {
        Self {
            r#type: format!("{TYPE}{}", reason.name),
            title: reason.title,
            status: reason.http,
            detail,
            reason: reason.name,
            errors: Vec::new(),
            facts: BTreeMap::new(),
            retry_after_ms: None,
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        if let Self::Internal(message) = &self {
            tracing::error!(error = message, "a call failed on our side");
        }
        Problem::from(&self).into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"onrush\""));
        }
        if let Some(wait_ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000)));
        }
        if self.facts.contains_key(LEADER) {
            response.extensions_mut().insert(self);
        }
        response
    }
}

/// A problem that names who leads says where that is, if it is known. It is no redirect: a client that follows one may
/// make another call of it, without its body or its key.
pub(super) async fn led(State(signpost): State<Signpost>, mut response: Response) -> Response {
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>()
        && let Some((name, address)) = signpost.address(|name| problem.facts.get(name))
    {
        problem.facts.insert(name, address);
        *response.body_mut() = problem.body().into();
    }
    response
}
