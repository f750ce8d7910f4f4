//! Traces: what one request set going, over HTTP, gRPC and the log.
//!
//! A request that is part of a trace, or brings a correlation, hands both on as a [`Cause`] with every command to the
//! engine. What is accepted has it in its record, and who acts on the record goes on with it, in its lines of the log
//! too. What is sampled is a [`Span`], which leaves by OTLP where there is a collector. A call that brings nothing and
//! is not sampled pays for none of it.

mod exporter;
mod span;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use onrush_proto::{Cause, OrderId, TraceContext};
use opentelemetry::trace::{SpanKind, Status};
use tracing::Instrument as _;
use uuid::Uuid;

pub use exporter::{Collector, CollectorError};
pub(crate) use exporter::{Exporter, Queue};
pub(crate) use span::Span;

tokio::task_local! {
    /// What the task that is being polled works for.
    static CURRENT: Cause;
}

/// What the running task works for, if it says so.
pub(crate) fn current() -> Option<Cause> {
    CURRENT.try_with(|cause| *cause).ok()
}

/// Has work be for that, if for anything.
pub(crate) async fn within<T>(cause: Option<Cause>, work: impl Future<Output = T>) -> T {
    match cause {
        Some(cause) => CURRENT.scope(cause, work).await,
        None => work.await,
    }
}

/// The same for one poll.
pub(crate) fn within_poll<T>(cause: Option<Cause>, poll: impl FnOnce() -> T) -> T {
    match cause {
        Some(cause) => CURRENT.sync_scope(cause, poll),
        None => poll(),
    }
}

/// What stands with each line of the log about work that was caused so.
pub(crate) fn log(name: &'static str, cause: Cause) -> tracing::Span {
    let (trace_id, span_id) = cause.trace.map(ids).unzip();
    let correlation_id = cause.correlation.as_ref().map(|id| id.as_str());
    tracing::error_span!("work", name, trace_id, span_id, correlation_id)
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
    /// Spans that go to a receiver instead of a collector.
    #[cfg(test)]
    fn into_nowhere(ratio: f64) -> (Self, tokio::sync::mpsc::Receiver<opentelemetry_sdk::trace::SpanData>) {
        let (spans, waiting) = tokio::sync::mpsc::channel(16);
        (Self { queue: Some(Arc::new(Queue::new(spans, Arc::default(), ratio))) }, waiting)
    }

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

    /// Does what a record asks for as a part of what the record belongs to, if it says so.
    pub(crate) async fn follow<T>(
        &self,
        cause: Option<Cause>,
        (name, order): (&'static str, OrderId),
        work: impl Future<Output = T>,
    ) -> T {
        self.follow_if(cause, (name, order), work, |_| true).await
    }

    /// The same for work that may come to nothing and be done again: only what counts is told of.
    pub(crate) async fn follow_if<T>(
        &self,
        cause: Option<Cause>,
        (name, order): (&'static str, OrderId),
        work: impl Future<Output = T>,
        counts: impl FnOnce(&T) -> bool,
    ) -> T {
        let Some(Cause { trace: parent, correlation }) = cause else { return work.await };
        let own = Cause { trace: parent.map(|parent| parent.at(span_id())), correlation };
        let mut span = own.trace.map(|context| {
            self.begin(SpanKind::Consumer, || name.into(), (context, parent.map(|parent| parent.span)))
        });
        if let Some(span) = &mut span {
            span.put("onrush.order", || order.to_string());
        }
        let (log, since) = (log(name, own), Instant::now());
        let done = within(Some(own), work).instrument(log.clone()).await;
        let counts = counts(&done);
        if counts {
            let took_us = since.elapsed().as_micros() as u64;
            log.in_scope(|| tracing::info!(%order, took_us, "done"));
        }
        match span {
            Some(span) if counts => span.end(Status::Unset),
            Some(span) => span.discard(),
            None => {}
        }
        done
    }
}

/// A trace and a span as logs have them.
pub(crate) fn ids(context: TraceContext) -> (String, String) {
    (format!("{:032x}", context.trace), format!("{:016x}", context.span))
}

#[cfg(test)]
mod tests {
    use onrush_proto::CorrelationId;

    use super::*;

    fn of(trace: TraceContext) -> Cause {
        Cause { trace: Some(trace), correlation: CorrelationId::new("basket-7") }
    }

    #[tokio::test]
    async fn what_belongs_to_no_trace_still_belongs_together() {
        let (traces, mut waiting) = Traces::into_nowhere(0.0);
        let cause = Cause::new(None, CorrelationId::new("basket-7"));
        let found = traces.follow(cause, ("charge", OrderId(7)), async { current() }).await;
        assert_eq!(found, cause);
        assert!(waiting.try_recv().is_err(), "there is no trace to tell of");
        assert_eq!(traces.follow(None, ("charge", OrderId(7)), async { current() }).await, None);
    }

    #[tokio::test]
    async fn work_stands_where_it_was_put_and_nowhere_else() {
        assert_eq!(current(), None);
        let context = of(begun(true));
        let inner = of(begun(false));
        let found = within(Some(context), async {
            tokio::task::yield_now().await;
            (current(), within_poll(Some(inner), current), tokio::spawn(async { current() }).await.unwrap())
        });
        assert_eq!(found.await, (Some(context), Some(inner), None));
        assert_eq!(current(), None);
    }

    #[test]
    fn of_all_requests_the_share_that_was_asked_for_is_sampled() {
        for (ratio, expected) in [(0.0, 0..=0), (0.25, 249..=251), (0.01, 9..=11), (1.0, 1_000..=1_000)] {
            let (traces, waiting) = Traces::into_nowhere(ratio);
            let sampled = (0..1_000).filter(|_| traces.samples()).count();
            assert!(expected.contains(&sampled), "{ratio}: {sampled}");
            drop(waiting);
        }
    }

    #[tokio::test]
    async fn what_breaks_off_is_told_of_and_what_comes_to_nothing_is_not() {
        let (traces, mut waiting) = Traces::into_nowhere(0.0);
        let parent = Some(of(begun(true)));
        let stands = |name: &'static str| (name, OrderId(7));
        traces.follow_if(parent, stands("nothing"), async {}, |()| false).await;
        traces.follow(parent, stands("done"), async {}).await;
        let broken = traces.follow(parent, stands("broken"), std::future::pending::<()>());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), broken).await.is_err());
        let told = [waiting.recv().await.unwrap(), waiting.recv().await.unwrap()];
        assert_eq!((&*told[0].name, &told[0].status), ("done", &Status::Unset));
        assert_eq!((&*told[1].name, &told[1].status), ("broken", &Status::error("broke off")));
        assert!(waiting.try_recv().is_err());
    }

    #[test]
    fn without_a_collector_nothing_is_sampled() {
        let traces = Traces::default();
        assert!(!(0..100).any(|_| traces.samples()));
        assert_eq!(traces.lost(), None);
    }
}
