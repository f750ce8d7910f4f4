//! Counts requests by route, method and status.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::metrics::{Meter, UNMATCHED};

pub(super) async fn count(State(meter): State<Arc<Meter>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str);
    // Who may GET may ask for the head alone.
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let counting = meter.begin(method, route);
    let response = next.run(request).await;
    counting.end(usize::from(response.status().as_u16()));
    response
}
