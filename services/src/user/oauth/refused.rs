//! Refusals in the terms of OAuth 2 (RFC 6749, 5.2), which its clients read.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Json;
use crate::status::{Denial, Rejection};

/// Why a call of a client was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub(super) struct OAuthProblem {
    /// A name of the standard, such as invalid_grant.
    #[schema(example = "invalid_grant")]
    pub(super) error: &'static str,
    /// What was expected and what was found.
    pub(super) error_description: String,
}

/// A refusal.
#[derive(Debug)]
pub(super) enum Refused {
    /// Of the client.
    Client(OAuthProblem),
    /// Of nobody's making but ours, or too much at once.
    Rejected(Rejection),
}

impl Refused {
    pub(super) fn new(error: &'static str, description: &str) -> Self {
        Self::Client(OAuthProblem { error, error_description: plain(description) })
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        match rejection.reason().http {
            400 => Self::new("invalid_request", &rejection.message()),
            _ => Self::Rejected(rejection),
        }
    }
}

impl From<crate::field::FieldError> for Refused {
    fn from(error: crate::field::FieldError) -> Self {
        Rejection::from(error).into()
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Rejection::from(denial).into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Rejected(rejection) => return rejection.into_response(),
            Self::Client(problem) => problem,
        };
        let unknown = problem.error == "invalid_client";
        let mut response = Json(problem).into_response();
        *response.status_mut() = StatusCode::BAD_REQUEST;
        if unknown {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let basic = HeaderValue::from_static("Basic realm=\"onrush\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
        }
        response
    }
}

/// What a description may hold: ASCII without quotes and backslashes.
pub(super) fn plain(text: &str) -> String {
    let fits = |c: char| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~');
    text.chars().map(|c| if fits(c) { c } else { '\'' }).collect()
}
