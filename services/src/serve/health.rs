//! `GET /health` beside the gRPC services.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

/// Adds `/health` to a router: 200 while serving, 503 once the process drains.
pub(super) fn with_health(router: Router, stop: watch::Receiver<bool>) -> Router {
    router.route("/health", get(move || std::future::ready(answer(*stop.borrow()))))
}

fn answer(draining: bool) -> impl IntoResponse {
    let (status, body) = if draining {
        (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"draining\"}\n")
    } else {
        (StatusCode::OK, "{\"status\":\"serving\"}\n")
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}
