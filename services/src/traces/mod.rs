//! Traces: what one request set going, over HTTP, gRPC and the log.
//!
//! A request that is part of a trace hands its context on with every command to the engine. What is
//! accepted has it in its record, and who acts on the record goes on with the trace. What is sampled is a
//! [`Span`], which leaves by OTLP where there is a collector. A call that brings no context and is not
//! sampled pays for none of it.

mod exporter;
mod span;

use std::cell::Cell;
use std::sync::Arc;

use onrush_proto::{OrderId, TraceContext};
use opentelemetry::trace::{SpanKind, Status};
use tracing::Instrument as _;
use uuid::Uuid;

pub use exporter::{Collector, CollectorError};
pub(crate) use exporter::{Exporter, Queue};
pub(crate) use span::Span;

tokio::task_local! {
    /// Where the task that is being polled stands.
    static CURRENT: TraceContext;
}

/// Where the running task stands, if it works for a trace.
pub(crate) fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// Has work stand there, if anywhere.
pub(crate) async fn within<T>(context: Option<TraceContext>, work: impl Future<Output = T>) -> T {
    match context {
        Some(context) => CURRENT.scope(context, work).await,
        None => work.await,
    }
}

/// The same for one poll.
pub(crate) fn within_poll<T>(context: TraceContext, poll: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(context, poll)
}

/// A trace of our own.
pub(crate) fn begun(sampled: bool) -> TraceContext {
    let trace = Uuid::new_v4().as_u128();
    TraceContext { trace, span: span_id(), flags: 0 }.sampled(sampled)
}

/// A span in a trace that is there.
pub(crate) fn span_id() -> u64 {
    let (id, _) = Uuid::new_v4().as_u64_pair();
    id.max(1)
}

/// Where spans go, if anywhere, and which requests begin a trace.
#[derive(Clone, Default)]
pub(crate) struct Traces {
    queue: Option<Arc<Queue>>,
}

impl Traces {
    /// Spans that were not sent, if any are.
    pub(crate) fn lost(&self) -> Option<u64> {
        self.queue.as_ref().map(|queue| queue.lost())
    }

    /// True if a request that brings no trace begins one that is sampled. Per thread the share is kept as
    /// evenly as can be: multiples of the golden ratio, by the fraction (Weyl's sequence).
    pub(crate) fn samples(&self) -> bool {
        thread_local! {
            static REQUESTS: Cell<u64> = const { Cell::new(0) };
        }
        let Some(queue) = &self.queue else { return false };
        let fraction = REQUESTS.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        REQUESTS.set(fraction);
        queue.samples(fraction)
    }

    /// A span that begins now; it is sent if its trace is sampled and there is a collector.
    pub(crate) fn begin(
        &self,
        kind: SpanKind,
        name: impl FnOnce() -> String,
        (context, parent): (TraceContext, Option<u64>),
    ) -> Span {
        let queue = self.queue.as_ref().filter(|_| context.is_sampled());
        Span::new(context, queue.map(|queue| (queue.clone(), kind, name(), parent)))
    }

    /// Does what a record asks for as a part of the trace that the record came in, if it came in one.
    pub(crate) async fn follow<T>(
        &self,
        parent: Option<TraceContext>,
        (name, order): (&'static str, OrderId),
        work: impl Future<Output = T>,
    ) -> T {
        let Some(parent) = parent else { return work.await };
        let context = parent.at(span_id());
        let mut span = self.begin(SpanKind::Consumer, || name.into(), (context, Some(parent.span)));
        span.put("onrush.order", || order.to_string());
        let (trace_id, span_id) = ids(context);
        let log = tracing::error_span!("work", name, trace_id, span_id);
        let done = within(Some(context), work).instrument(log).await;
        span.end(Status::Unset);
        done
    }
}

/// A trace and a span as logs have them.
pub(crate) fn ids(context: TraceContext) -> (String, String) {
    (format!("{:032x}", context.trace), format!("{:016x}", context.span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_stands_where_it_was_put_and_nowhere_else() {
        assert_eq!(current(), None);
        let context = begun(true);
        let inner = begun(false);
        let found = within(Some(context), async {
            tokio::task::yield_now().await;
            (current(), within_poll(inner, current), tokio::spawn(async { current() }).await.unwrap())
        });
        assert_eq!(found.await, (Some(context), Some(inner), None));
        assert_eq!(current(), None);
    }

    #[test]
    fn without_a_collector_nothing_is_sampled() {
        let traces = Traces::default();
        assert!(!(0..100).any(|_| traces.samples()));
        assert_eq!(traces.lost(), None);
    }
}
