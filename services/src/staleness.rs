//! How stale what a node has published may be: said to whoever asks, and no staler than a caller accepts.
//!
//! Any node answers what only reads what is published, as far as it has applied. A call with [`MOST`] is answered only by
//! one that is no staler; another one turns it away as `NOT_LEADER`, and the shipped client goes to the node that leads.

use std::time::Duration;

use onrush_engine::EngineHandle;
use onrush_proto::{Refusal, ShardId};
use tonic::Status;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

use crate::backend::Backend;
use crate::field::{FieldError, shown};
use crate::status::Rejection;

/// With a call: the most that is accepted, in ms. All shards of a shop are decided at one node, where nothing is stale.
const MOST: HeaderName = HeaderName::from_static("onrush-max-staleness-ms");
/// With its answer: how stale what it rests on may be, in ms, rounded up.
pub(crate) const TOLD: HeaderName = HeaderName::from_static("onrush-staleness-ms");

/// What a port knows of it. A process that is no node has nothing that is stale.
#[derive(Clone)]
pub(crate) struct Staleness(Option<EngineHandle>);

impl Staleness {
    /// Of what this engine publishes, if it is a node's.
    pub(crate) fn of(backend: &Backend) -> Self {
        match backend {
            Backend::Local { engine, .. } => Self::at(engine),
            _ => Self(None),
        }
    }

    /// Of what the engine of a port of the native protocol publishes.
    pub(crate) fn at(engine: &EngineHandle) -> Self {
        Self(engine.node().is_some().then(|| engine.clone()))
    }

    /// What is to be said with the answer to a call; `None` if nobody asked.
    ///
    /// # Errors
    /// The refusal of a call that accepts nothing as stale as this node is.
    pub(crate) fn of_call(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Status> {
        let Some(most_ms) = accepted(headers)? else { return Ok(None) };
        let stale_ms = self.within(most_ms).map_err(Rejection::from)?;
        Ok(HeaderValue::from_str(&stale_ms.to_string()).ok())
    }

    /// How stale what is published here may be, in ms, rounded up.
    ///
    /// # Errors
    /// [`Refusal::NotLeader`] if it may be staler than this, or nobody knows.
    pub(crate) fn within(&self, most_ms: u32) -> Result<u128, Refusal> {
        let stale = match &self.0 {
            None => Some(Duration::ZERO),
            Some(engine) => engine.staleness(),
        };
        let stale_ms = stale.map(|stale| stale.as_micros().div_ceil(1_000));
        stale_ms.filter(|stale_ms| *stale_ms <= u128::from(most_ms)).ok_or_else(|| self.elsewhere())
    }

    fn elsewhere(&self) -> Refusal {
        let leader = self.0.as_ref().and_then(|engine| engine.leader(ShardId(0)));
        Refusal::NotLeader { leader: leader.map_or(0, |leader| leader.0) }
    }
}

/// The most that a caller accepts, in ms; `None` if it takes what comes.
///
/// # Errors
/// The refusal of what is no such number.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Option<u32>, Status> {
    let Some(most) = headers.get(MOST) else { return Ok(None) };
    let most = most.to_str().unwrap_or_default();
    let digits = most.len() <= 9 && most.bytes().all(|byte| byte.is_ascii_digit());
    let wrong =
        || Rejection::from(FieldError::invalid(MOST.as_str(), "up to nine digits", shown(most))).into();
    most.parse().ok().filter(|_| digits).map(Some).ok_or_else(wrong)
}
