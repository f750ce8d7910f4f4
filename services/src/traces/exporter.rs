//! Sends spans to a collector by OTLP over gRPC, from a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};

use super::Traces;

/// Spans that wait to be sent; one more is lost.
const QUEUE_SPANS: usize = 4_096;
/// Most spans of one call.
const CALL_SPANS: usize = 512;
/// How long spans gather before a call.
const GATHER: Duration = Duration::from_millis(200);
/// How long the collector may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for all that waits when the process ends.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// A collector, and what it hears of.
#[derive(Clone, PartialEq, Debug)]
pub struct Collector {
    /// Where it listens: `http://host:port`.
    pub endpoint: String,
    /// Share of requests without a trace of their own that begin one, 0 to 1.
    pub ratio: f64,
    /// What the process is called there.
    pub service_name: String,
}

/// A collector cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The exporter cannot be made.
    #[error("expected a collector at {endpoint}, found: {error}")]
    Exporter {
        /// Where.
        endpoint: String,
        /// What it said.
        error: ExporterBuildError,
    },
    /// The thread cannot be had.
    #[error("expected to start the thread that sends spans, found: {0}")]
    Thread(#[from] io::Error),
}

/// Spans on their way.
pub(crate) struct Queue {
    spans: mpsc::Sender<SpanData>,
    lost: Arc<AtomicU64>,
    /// Of all fractions of 2^64, those below are sampled.
    below: u64,
}

impl Queue {
    pub(super) fn new(spans: mpsc::Sender<SpanData>, lost: Arc<AtomicU64>, ratio: f64) -> Self {
        Self { spans, lost, below: (ratio * u64::MAX as f64) as u64 }
    }

    pub(super) fn samples(&self, fraction: u64) -> bool {
        fraction < self.below
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn send(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread that sends.
pub(crate) struct Exporter {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Starts to send to a collector, which need not be there yet.
    pub(crate) fn start(collector: &Collector) -> Result<(Traces, Self), CollectorError> {
        let (spans, waiting) = mpsc::channel(QUEUE_SPANS);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let exporter = {
            // The channel to the collector lives where it is made.
            let _context = runtime.enter();
            exporter(collector)?
        };
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let work = move || {
            runtime.block_on(send(exporter, waiting, stopped, &counted));
            runtime.shutdown_background();
        };
        let thread = Builder::new().name("onrush-traces".into()).spawn(work)?;
        Ok((
            Traces { queue: Some(Arc::new(Queue::new(spans, lost, collector.ratio))) },
            Self { stop, thread },
        ))
    }

    /// Sends what waits, and ends; false if it had ended by panic.
    pub(crate) fn end(self) -> bool {
        // The thread is gone only by panic.
        let _ = self.stop.send(());
        self.thread.join().is_ok()
    }
}

fn exporter(collector: &Collector) -> Result<SpanExporter, CollectorError> {
    let Collector { endpoint, service_name, .. } = collector;
    let built = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(PATIENCE).build();
    let mut exporter =
        built.map_err(|error| CollectorError::Exporter { endpoint: endpoint.clone(), error })?;
    let resource = Resource::builder().with_service_name(service_name.clone());
    exporter.set_resource(
        &resource
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build(),
    );
    Ok(exporter)
}

/// Sends what comes until it is told to stop; then what waits, as far as there is time.
async fn send(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    mut stop: oneshot::Receiver<()>,
    lost: &AtomicU64,
) {
    let on_and_on = async {
        loop {
            tokio::time::sleep(GATHER).await;
            deliver_all(&exporter, &mut spans, lost).await;
        }
    };
    tokio::select! {
        () = on_and_on => {}
        // An error means that the process is gone already.
        _ = &mut stop => {}
    }
    spans.close();
    if tokio::time::timeout(LAST_PATIENCE, deliver_all(&exporter, &mut spans, lost)).await.is_err() {
        tracing::warn!("the collector did not take the last spans in time");
    }
}

async fn deliver_all(exporter: &SpanExporter, spans: &mut mpsc::Receiver<SpanData>, lost: &AtomicU64) {
    loop {
        let mut batch = Vec::new();
        while batch.len() < CALL_SPANS
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
        if batch.is_empty() || !deliver(exporter, batch, lost).await {
            return;
        }
    }
}

/// The exporter's own patience does not count what a connection takes.
async fn deliver(exporter: &SpanExporter, batch: Vec<SpanData>, lost: &AtomicU64) -> bool {
    let count = batch.len();
    let problem = match tokio::time::timeout(PATIENCE, exporter.export(batch)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".into(),
    };
    lost.fetch_add(count as u64, Ordering::Relaxed);
    tracing::warn!(problem, count, "spans were not taken by the collector");
    false
}
