//! `/health`: the process is alive. `/ready`: it takes calls.

use std::time::Duration;

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
use crate::metrics::Readers;

/// How long an engine in another process may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a port knows of its process.
#[derive(Clone)]
pub struct Vital {
    /// The engine behind.
    pub backend: Backend,
    /// True once the process drains.
    pub stop: watch::Receiver<bool>,
    /// Who reads the log for what this port serves.
    pub(crate) readers: Readers,
    /// Whether a model is there for what this port recommends; `None` if it recommends nothing.
    pub ml: Option<Ml>,
}

/// How a process is.
#[derive(Serialize, ToSchema)]
struct Condition {
    /// `serving`; `draining` once it is told to stop; `stopped` if a shard no longer writes, or a consumer of this port
    /// no longer reads; `unreachable` if the engine is in another process that does not answer.
    #[schema(example = "serving")]
    status: &'static str,
    /// Shards that no longer write.
    stopped_shards: u16,
    /// Consumers of this port that no longer read a shard's log.
    stopped_consumers: usize,
    /// At `/ready` of the port that recommends: whether a model is loaded. Without one history and trends answer, and the port is
    /// ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    ml: Option<Ml>,
}

/// Whether the model that was named for recommendations is loaded.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub struct Ml {
    /// True if it is.
    pub ready: bool,
    /// How it is, or why there is none.
    pub detail: &'static str,
}

pub(super) fn routes(vital: Vital) -> Routes {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready)).with_state(vital)
}

impl Condition {
    fn is_ready(&self) -> bool {
        self.status == "serving"
    }
}

impl Vital {
    async fn condition(&self) -> Condition {
        // Who asks whether somebody is there does not wait long.
        let stopped = tokio::time::timeout(PATIENCE, self.backend.stopped_shards()).await;
        let stopped = stopped.ok().and_then(Result::ok);
        let stopped_consumers = self.readers.gone();
        let status = match (*self.stop.borrow(), stopped) {
            (true, _) => "draining",
            (false, None) => "unreachable",
            (false, Some(0)) if stopped_consumers == 0 => "serving",
            (false, Some(_)) => "stopped",
        };
        Condition { status, stopped_shards: stopped.unwrap_or_default(), stopped_consumers, ml: None }
    }

    /// True if the port takes calls.
    pub(crate) async fn is_ready(&self) -> bool {
        self.condition().await.is_ready()
    }
}

/// Alive: answered as long as the process runs.
#[utoipa::path(get, path = "/health", tag = "process", responses((status = 200, description = "Alive", body = Condition)))]
async fn health(State(vital): State<Vital>) -> Json<Condition> {
    Json(vital.condition().await)
}

/// Ready: takes calls.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "process",
    responses(
        (status = 200, description = "Takes calls", body = Condition),
        (status = 503, description = "Drains, a shard or a consumer has stopped, or the engine does not answer", body = Condition),
    )
)]
async fn ready(State(vital): State<Vital>) -> Response {
    let mut condition = vital.condition().await;
    condition.ml = vital.ml;
    let ready = condition.is_ready();
    let mut response = Json(condition).into_response();
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
