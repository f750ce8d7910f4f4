//! Request ids: what the caller brought, or one of our own; said back with every answer.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

/// One request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// All requests that belong together; the request itself if the caller does not say.
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const ID_BYTES_MAX: usize = 128;

/// The id of a request, in its extensions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(pub String);

pub(super) async fn correlate(mut request: Request, next: Next) -> Response {
    let id = given(request.headers(), &REQUEST_ID).unwrap_or_else(|| Uuid::new_v4().to_string());
    let correlation = given(request.headers(), &CORRELATION_ID).unwrap_or_else(|| id.clone());
    // No query: it may carry what is nobody's business.
    let span = tracing::info_span!(
        "http",
        method = %request.method(),
        path = request.uri().path(),
        request_id = id,
        correlation_id = correlation
    );
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).instrument(span).await;
    for (name, id) in [(REQUEST_ID, id), (CORRELATION_ID, correlation)] {
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// An id that may go into our log and back: visible ASCII of a bounded length. Anything else is as if
/// it had not been there.
fn given(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && (1..=ID_BYTES_MAX).contains(&text.len())).then(|| text.to_owned())
}
