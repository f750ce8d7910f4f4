//! A span under way.

use std::sync::Arc;
use std::time::SystemTime;

use onrush_proto::TraceContext;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value};
use opentelemetry_sdk::trace::SpanData;

use super::exporter::Queue;

/// One part of a trace. What is dropped before its [`end`](Self::end) broke off.
pub(crate) struct Span {
    /// Where it stands.
    pub(crate) context: TraceContext,
    /// None if nobody is to hear of it.
    recording: Option<Box<Recording>>,
}

struct Recording {
    to: Arc<Queue>,
    kind: SpanKind,
    name: String,
    parent: Option<u64>,
    since: SystemTime,
    attributes: Vec<KeyValue>,
}

impl Span {
    pub(super) fn new(
        context: TraceContext,
        recorded: Option<(Arc<Queue>, SpanKind, String, Option<u64>)>,
    ) -> Self {
        let recording = recorded.map(|(to, kind, name, parent)| {
            Box::new(Recording { to, kind, name, parent, since: SystemTime::now(), attributes: Vec::new() })
        });
        Self { context, recording }
    }

    /// Notes what is known of it.
    pub(crate) fn put<V: Into<Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(recording) = &mut self.recording {
            recording.attributes.push(KeyValue::new(name, value()));
        }
    }

    /// Nobody hears of it.
    pub(crate) fn discard(mut self) {
        self.recording = None;
    }

    /// Ends it.
    pub(crate) fn end(mut self, status: Status) {
        self.send(status);
    }

    fn send(&mut self, status: Status) {
        let Some(recording) = self.recording.take() else { return };
        let Recording { to, kind, name, parent, since, attributes } = *recording;
        to.send(SpanData {
            span_context: SpanContext::new(
                TraceId::from(self.context.trace),
                SpanId::from(self.context.span),
                TraceFlags::new(self.context.flags),
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
            // It came in a header or in a record.
            parent_span_is_remote: parent.is_some(),
            span_kind: kind,
            name: name.into(),
            start_time: since,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("onrush")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        });
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.send(Status::error("broke off"));
    }
}
