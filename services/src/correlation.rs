//! Which requests belong together: ids that the caller brought, or ones of our own; said back with the
//! answer, and with every line of the log that is written meanwhile.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use onrush_proto::{Cause, CorrelationId, TraceContext};
use tracing::Span;
use uuid::Uuid;

use crate::traces::{self, Traces};

/// One request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// All requests that belong together; the request itself if the caller does not say.
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The same by W3C Trace Context.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The ids of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Correlation {
    pub(crate) request_id: String,
    correlation_id: String,
    /// The caller's trace if it brought one, at our part of it.
    pub(crate) context: TraceContext,
    /// The caller's part.
    pub(crate) parent: Option<u64>,
}

impl Correlation {
    /// What a caller brought, and the rest made; `None` if it brought nothing and no trace begins here.
    pub(crate) fn brought(headers: &HeaderMap, traces: &Traces) -> Option<Self> {
        let any = [REQUEST_ID, CORRELATION_ID, TRACE_PARENT].iter().any(|name| headers.contains_key(name));
        if any {
            return Some(Self::of(headers, traces));
        }
        traces.samples().then(|| Self::with(headers, None, true))
    }

    /// What a caller brought, and the rest made.
    pub(crate) fn of(headers: &HeaderMap, traces: &Traces) -> Self {
        // Two of them are as good as none.
        let mut parents = headers.get_all(TRACE_PARENT).iter();
        let parent = parents.next().filter(|_| parents.next().is_none());
        let parent = parent.and_then(|value| TraceContext::parse(value.to_str().ok()?));
        Self::with(headers, parent, parent.is_none() && traces.samples())
    }

    fn with(headers: &HeaderMap, parent: Option<TraceContext>, sampled: bool) -> Self {
        let request_id = given(headers, &REQUEST_ID).unwrap_or_else(|| Uuid::new_v4().to_string());
        let correlation_id = given(headers, &CORRELATION_ID).unwrap_or_else(|| request_id.clone());
        let context = parent.map_or_else(|| traces::begun(sampled), |parent| parent.at(traces::span_id()));
        Self { request_id, correlation_id, context, parent: parent.map(|parent| parent.span) }
    }

    /// What the engine's log is told: the correlation, which the caller is told too. A trace that nobody else knows
    /// of, and nobody hears of, is not worth a row in each record.
    pub(crate) fn handed_on(&self) -> Option<Cause> {
        let known = self.parent.is_some() || self.context.is_sampled();
        Cause::new(known.then_some(self.context), CorrelationId::new(&self.correlation_id))
    }

    /// What stands with each line of the log about a request to `path`. It is there whatever the filter
    /// lets pass below errors, or the lines that pass would not say to which request they belong.
    pub(crate) fn span(&self, method: &str, path: &str) -> Span {
        let Self { request_id, correlation_id, context, .. } = self;
        let (trace_id, span_id) = traces::ids(*context);
        // No query: it may carry what is nobody's business.
        tracing::error_span!("request", method, path, request_id, correlation_id, trace_id, span_id)
    }

    /// Says the ids back.
    pub(crate) fn say_back(self, headers: &mut HeaderMap) {
        for (name, id) in [(REQUEST_ID, self.request_id), (CORRELATION_ID, self.correlation_id)] {
            if let Ok(value) = HeaderValue::from_str(&id) {
                headers.insert(name, value);
            }
        }
    }
}

/// An id that may go into our log and back: visible ASCII of a bounded length. Anything else is as if
/// it had not been there.
fn given(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    CorrelationId::new(headers.get(name)?.to_str().ok()?).map(|id| id.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

    #[test]
    fn who_brings_nothing_has_ids_of_its_own_and_what_is_brought_goes_on() {
        let (mut headers, traces) = (HeaderMap::new(), Traces::default());
        assert_eq!(Correlation::brought(&headers, &traces), None);
        let own = Correlation::of(&headers, &traces);
        assert_eq!((own.request_id == own.correlation_id, own.parent), (true, None));
        assert_ne!(own.context.trace, Correlation::of(&headers, &traces).context.trace);
        let handed_on = own.handed_on().unwrap();
        assert!(!own.context.is_sampled() && handed_on.trace.is_none(), "nobody would hear of it");
        assert_eq!(
            handed_on.correlation,
            CorrelationId::new(&own.correlation_id),
            "the caller is told of it"
        );

        headers.insert(CORRELATION_ID, HeaderValue::from_static("basket-7"));
        let parent = TraceContext { trace: TRACE, span: 7, flags: 1 };
        headers.insert(TRACE_PARENT, HeaderValue::from_str(&parent.to_string()).unwrap());
        let brought = Correlation::brought(&headers, &traces).unwrap();
        assert_eq!((brought.correlation_id.as_str(), brought.context.trace), ("basket-7", TRACE));
        assert_eq!((brought.parent, brought.context.is_sampled()), (Some(7), true));
        assert_eq!(brought.handed_on(), Cause::new(Some(brought.context), CorrelationId::new("basket-7")));
        assert_ne!(brought.context.span, 7, "our part is our own");
        let mut answer = HeaderMap::new();
        let request_id = brought.request_id.clone();
        brought.say_back(&mut answer);
        assert_eq!(
            (&answer[CORRELATION_ID], answer[REQUEST_ID].to_str().unwrap()),
            (&headers[CORRELATION_ID], &*request_id)
        );
    }

    #[test]
    fn a_trace_that_does_not_read_begins_anew() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACE_PARENT, HeaderValue::from_static("00-nonsense-1-1"));
        let found = Correlation::brought(&headers, &Traces::default()).unwrap();
        assert_eq!((found.parent, found.context.flags), (None, 0));

        let good = TraceContext { trace: TRACE, span: 7, flags: 1 }.to_string();
        headers.insert(TRACE_PARENT, HeaderValue::from_str(&good).unwrap());
        headers.append(TRACE_PARENT, HeaderValue::from_str(&good).unwrap());
        assert_eq!(Correlation::brought(&headers, &Traces::default()).unwrap().parent, None, "twice is none");
    }
}
