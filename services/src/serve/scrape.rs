//! `/metrics`: everything that this process measures, whatever port is asked.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shop;
use crate::backend::Backend;
use crate::breaker::BreakerState;
use crate::gateway::Gateways;
use crate::http::Routes;
use crate::metrics::exposition::Format;
use crate::metrics::family::{Family, Labels};
use crate::metrics::{Metrics, calls, commands, engine};
use crate::notification::Post;
use crate::status::Rejection;
use crate::traces::Traces;
use crate::user::Desk;

/// How long an engine in another process may take to say where its logs end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where measures are found.
#[derive(Clone)]
struct Scrape {
    metrics: Arc<Metrics>,
    backend: Backend,
    /// None if this process does not work with gateways.
    gateways: Option<Arc<Gateways>>,
    users: Arc<Desk>,
    post: Arc<Post>,
    traces: Traces,
}

/// The route, with its description.
pub(super) fn routes(shop: &Shop) -> Routes {
    let scrape = Scrape {
        metrics: shop.metrics.clone(),
        backend: shop.backend.clone(),
        gateways: shop.pays.then(|| shop.gateways.clone()),
        users: shop.users.clone(),
        post: shop.notification.clone(),
        traces: shop.traces.clone(),
    };
    OpenApiRouter::new().routes(routes!(metrics)).with_state(scrape)
}

/// Measures of the whole process: Prometheus' text format, or OpenMetrics if it is accepted.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "process",
    responses((status = 200, description = "Measures", content_type = "text/plain", body = String))
)]
async fn metrics(State(scrape): State<Scrape>, headers: HeaderMap) -> Result<Response, Rejection> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let text = format.write(scrape.families().await);
    let text =
        text.map_err(|error| Rejection::Internal(format!("expected measures as text, found {error}")))?;
    Ok(([(header::CONTENT_TYPE, format.media_type())], text).into_response())
}

impl Scrape {
    async fn families(&self) -> Vec<Family> {
        let version = vec![("version", env!("CARGO_PKG_VERSION").into())];
        let mut families =
            vec![Family::gauges("build", "1, with the release that runs", vec![(version, 1.0)])];
        families.extend(calls::families(&self.metrics));
        families.extend(commands::families(&self.metrics));
        families.extend(self.backend.shard_stats().iter().flat_map(|shards| engine::families(shards)));
        families.push(Family::gauges("breaker_state", "1 for the state a breaker is in", self.breakers()));
        families.push(Family::gauges(
            "consumer_lag_records",
            "Records that a consumer group has before it in a shard's log",
            self.consumers().await,
        ));
        families.push(Family::gauges(
            "hashing_queue_depth",
            "Passwords that wait to be hashed",
            vec![(Vec::new(), self.users.hashing.waiting() as f64)],
        ));
        let letters = self.post.letters().map(|(outcome, count)| (vec![("outcome", outcome.into())], count));
        families.push(Family::counters(
            "notification_letters",
            "Tries to send a letter by how they ended",
            letters.collect(),
        ));
        let lost = self.traces.lost().into_iter().map(|lost| (Vec::new(), lost)).collect();
        families.push(Family::counters("trace_spans_lost", "Spans that no collector took", lost));
        families
    }

    fn breakers(&self) -> Vec<(Labels, f64)> {
        let gateways = self.gateways.iter().flat_map(|gateways| gateways.breakers());
        let gateways = gateways.map(|(kind, state)| (kind.name(), state));
        let engine = self.backend.breaker().map(|state| ("engine", state));
        let state = |(name, found): (&str, BreakerState)| {
            BreakerState::ALL.map(|state| {
                let labels = vec![("breaker", name.to_owned()), ("state", state.name().to_owned())];
                (labels, f64::from(u8::from(state == found)))
            })
        };
        gateways.chain(engine).flat_map(state).collect()
    }

    async fn consumers(&self) -> Vec<(Labels, f64)> {
        let Ok(Ok(ends)) = tokio::time::timeout(PATIENCE, self.backend.ends()).await else {
            return Vec::new();
        };
        let lag = |(group, shard, lag): (&str, onrush_proto::ShardId, u64)| {
            (vec![("group", group.to_owned()), ("shard", shard.0.to_string())], lag as f64)
        };
        self.metrics.positions.lags(&ends).into_iter().map(lag).collect()
    }
}
