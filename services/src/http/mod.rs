//! The HTTP edge: what every port answers besides gRPC.
//!
//! A service brings its routes with their description ([`Routes`]); the edge adds `/health`, `/ready`,
//! `/openapi.json`, `/docs`, request ids, and problems (RFC 9457) for whatever goes wrong.

mod caching;
mod correlation;
mod counting;
mod document;
mod form;
mod idempotency;
mod json;
mod page;
mod peer;
mod problem;
mod vital;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn_with_state, map_response, map_response_with_state};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;

use crate::config::Service;
use crate::metrics::{Edge, Metrics};
use crate::nodes::Signpost;
use crate::status::{Denial, Rejection};
use crate::traces::Traces;

pub use caching::{Etag, IfMatch};
pub use correlation::RequestId;
pub use form::{Fields, Form, Query};
pub use idempotency::IdempotencyKey;
pub use json::{BODY_BYTES_MAX, Json};
pub(crate) use json::{read, shallow};
pub use page::{Page, escaped};
pub use peer::Peer;
pub use problem::{FieldProblem, Problem};
pub use vital::{Ml, Vital};

/// A service's routes with their description.
pub type Routes = OpenApiRouter;

/// Everything that one service's port answers over HTTP.
pub(crate) fn router(
    service: Service,
    routes: Routes,
    vital: Vital,
    (metrics, traces, signpost): (&Metrics, Traces, Signpost),
) -> Router {
    let (router, api) = OpenApiRouter::with_openapi(document::frame(service))
        .merge(routes)
        .merge(vital::routes(vital))
        .split_for_parts();
    let meter = metrics.meter(service, Edge::Http, document::calls(&api));
    router
        .merge(document::pages(document::complete(api)))
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(plain_types))
        .layer(map_response_with_state(signpost, problem::led))
        .layer(from_fn_with_state(traces, correlation::correlate))
        .layer(from_fn_with_state(meter, counting::count))
}

/// What a port answers that is like this.
#[cfg(test)]
pub(crate) async fn asked_how(vital: Vital, path: &str) -> axum::http::StatusCode {
    use tonic::codegen::Service as _;
    let (mut router, _) = vital::routes(vital).split_for_parts();
    let request = axum::http::Request::get(path).body(axum::body::Body::empty());
    let answer = router.call(request.unwrap_or_default()).await;
    answer.map_or_else(|never| match never {}, |answer| answer.status())
}

async fn unknown_path() -> Rejection {
    Denial::new("UNKNOWN_PATH", "expected a path of /openapi.json, found another one").into()
}

async fn method_not_allowed() -> Rejection {
    Denial::new("METHOD_NOT_ALLOWED", "expected a method of /openapi.json for this path, found another one")
        .into()
}

/// Nobody is to guess another type than the one we say, and caches on the way keep nothing.
async fn plain_types(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
