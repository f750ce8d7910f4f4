//! `/health`: the process is alive. `/ready`: it takes calls.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Routes};
use crate::backend::Backend;

/// What a port knows of its process.
#[derive(Clone)]
pub struct Vital {
    /// The engine behind.
    pub backend: Backend,
    /// True once the process drains.
    pub stop: watch::Receiver<bool>,
}

/// How a process is.
#[derive(Serialize, ToSchema)]
struct Condition {
    /// `serving`; `draining` once it is told to stop; `stopped` if a shard no longer writes.
    #[schema(example = "serving")]
    status: &'static str,
    /// Shards that no longer write.
    stopped_shards: u16,
}

pub(super) fn routes(vital: Vital) -> Routes {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready)).with_state(vital)
}

impl Vital {
    fn condition(&self) -> Condition {
        let stopped_shards = self.backend.stats().stopped_shards;
        let status = match (*self.stop.borrow(), stopped_shards) {
            (true, _) => "draining",
            (false, 0) => "serving",
            (false, _) => "stopped",
        };
        Condition { status, stopped_shards }
    }
}

/// Alive: answered as long as the process runs.
#[utoipa::path(get, path = "/health", tag = "process", responses((status = 200, description = "Alive", body = Condition)))]
async fn health(State(vital): State<Vital>) -> Json<Condition> {
    Json(vital.condition())
}

/// Ready: takes calls.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "process",
    responses(
        (status = 200, description = "Takes calls", body = Condition),
        (status = 503, description = "Drains, or a shard has stopped", body = Condition),
    )
)]
async fn ready(State(vital): State<Vital>) -> Response {
    let condition = vital.condition();
    let ready = condition.status == "serving";
    let mut response = Json(condition).into_response();
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
