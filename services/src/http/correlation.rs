//! Request ids: what the caller brought, or one of our own; said back with every answer.

use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::correlation::Correlation;

/// The id of a request, in its extensions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(pub String);

pub(super) async fn correlate(mut request: Request, next: Next) -> Response {
    let correlation = Correlation::of(request.headers());
    let span = correlation.span(request.method().as_str(), request.uri().path());
    request.extensions_mut().insert(RequestId(correlation.request_id.clone()));
    let since = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let took_us = since.elapsed().as_micros() as u64;
    span.in_scope(|| tracing::info!(status = response.status().as_u16(), took_us, "answered"));
    correlation.say_back(response.headers_mut());
    response
}
