//! Request ids: what the caller brought, or one of our own; said back with every answer.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::trace::{SpanKind, Status};
use tracing::Instrument as _;

use crate::correlation::Correlation;
use crate::metrics::UNMATCHED;
use crate::traces::{self, Traces};

/// The id of a request, in its extensions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(pub String);

pub(super) async fn correlate(State(traces): State<Traces>, mut request: Request, next: Next) -> Response {
    let correlation = Correlation::of(request.headers(), &traces);
    let part = begin(&traces, &correlation, &request);
    let span = correlation.span(request.method().as_str(), request.uri().path());
    request.extensions_mut().insert(RequestId(correlation.request_id.clone()));
    let since = Instant::now();
    let mut response =
        traces::within(correlation.handed_on(), next.run(request)).instrument(span.clone()).await;
    let (status, took_us) = (response.status().as_u16(), since.elapsed().as_micros() as u64);
    span.in_scope(|| tracing::info!(status, took_us, "answered"));
    end(part, status);
    correlation.say_back(response.headers_mut());
    response
}

fn begin(traces: &Traces, correlation: &Correlation, request: &Request) -> traces::Span {
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str);
    let method = known(request.method());
    let name = || format!("{method} {route}");
    let mut part = traces.begin(SpanKind::Server, name, (correlation.context, correlation.parent));
    part.put("http.request.method", || method.to_owned());
    part.put("http.route", || route.to_owned());
    part
}

/// A method by its name if it is one of the usual ones: anything may be one.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

fn end(mut part: traces::Span, status: u16) {
    part.put("http.response.status_code", || i64::from(status));
    part.end(if status >= 500 { Status::error("") } else { Status::Unset });
}
