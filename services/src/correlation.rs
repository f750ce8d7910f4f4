//! Which requests belong together: ids that the caller brought, or ones of our own; said back with the
//! answer, and with every line of the log that is written meanwhile.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;
use uuid::Uuid;

/// One request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// All requests that belong together; the request itself if the caller does not say.
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The same by W3C Trace Context.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const ID_BYTES_MAX: usize = 128;

/// The ids of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Correlation {
    pub(crate) request_id: String,
    correlation_id: String,
    /// 32 hex digits, those of the caller's trace if it brought one.
    trace_id: String,
    /// 16 hex digits: our part of it.
    span_id: String,
}

impl Correlation {
    /// What a caller brought, and the rest made; `None` if it brought nothing.
    pub(crate) fn brought(headers: &HeaderMap) -> Option<Self> {
        let any = [REQUEST_ID, CORRELATION_ID, TRACE_PARENT].iter().any(|name| headers.contains_key(name));
        any.then(|| Self::of(headers))
    }

    /// What a caller brought, and the rest made.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let request_id = given(headers, &REQUEST_ID).unwrap_or_else(|| Uuid::new_v4().to_string());
        let correlation_id = given(headers, &CORRELATION_ID).unwrap_or_else(|| request_id.clone());
        let trace_id = headers.get(TRACE_PARENT).and_then(|value| trace_id(value.to_str().ok()?));
        let trace_id = trace_id.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned);
        let (span, _) = Uuid::new_v4().as_u64_pair();
        Self { request_id, correlation_id, trace_id, span_id: format!("{:016x}", span.max(1)) }
    }

    /// What stands with each line of the log about a request to `path`. It is there whatever the filter
    /// lets pass below errors, or the lines that pass would not say to which request they belong.
    pub(crate) fn span(&self, method: &str, path: &str) -> Span {
        let Self { request_id, correlation_id, trace_id, span_id } = self;
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
    let text = headers.get(name)?.to_str().ok()?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && (1..=ID_BYTES_MAX).contains(&text.len())).then(|| text.to_owned())
}

/// The trace of a `traceparent`: version, trace, parent and flags in lower-case hex. Later versions may add
/// fields behind; what does not read so begins a trace of its own.
fn trace_id(text: &str) -> Option<&str> {
    let mut fields = text.splitn(5, '-');
    let mut field = |digits: usize| {
        let hex = |text: &&str| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        fields.next().filter(hex)
    };
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let ends = version != "00" || fields.next().is_none();
    (version != "ff" && ends && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_trace_is_taken_on_if_it_reads_as_the_standard_says() {
        let parent = "00f067aa0ba902b7";
        for text in [
            format!("00-{TRACE}-{parent}-01"),
            format!("00-{TRACE}-{parent}-00"),
            format!("cc-{TRACE}-{parent}-01-more"),
        ] {
            assert_eq!(trace_id(&text), Some(TRACE), "{text}");
        }
        let upper = TRACE.to_uppercase();
        let strange = [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-{parent}"),
            format!("00-{TRACE}-{parent}-01-more"),
            format!("ff-{TRACE}-{parent}-01"),
            format!("00-{upper}-{parent}-01"),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}1-{parent}-01"),
            format!("0-{TRACE}-{parent}-01"),
        ];
        for text in strange {
            assert_eq!(trace_id(&text), None, "{text}");
        }
    }

    #[test]
    fn who_brings_nothing_has_ids_of_its_own_and_what_is_brought_goes_on() {
        let mut headers = HeaderMap::new();
        assert_eq!(Correlation::brought(&headers), None);
        let own = Correlation::of(&headers);
        assert_eq!((own.trace_id.len(), own.span_id.len()), (32, 16));
        assert_eq!(own.request_id, own.correlation_id);
        assert_ne!(own.trace_id, Correlation::of(&headers).trace_id);

        headers.insert(CORRELATION_ID, HeaderValue::from_static("basket-7"));
        let parent = HeaderValue::from_str(&format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        headers.insert(TRACE_PARENT, parent);
        let brought = Correlation::brought(&headers).unwrap();
        assert_eq!((brought.correlation_id.as_str(), brought.trace_id.as_str()), ("basket-7", TRACE));
        assert_ne!(brought.span_id, "00f067aa0ba902b7", "our part is our own");
        let mut answer = HeaderMap::new();
        let request_id = brought.request_id.clone();
        brought.say_back(&mut answer);
        assert_eq!(
            (&answer[CORRELATION_ID], answer[REQUEST_ID].to_str().unwrap()),
            (&headers[CORRELATION_ID], &*request_id)
        );
    }
}
