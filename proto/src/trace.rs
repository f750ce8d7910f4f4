//! Where a request stands in a trace, after W3C Trace Context (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// What is sampled has this flag.
const SAMPLED: u8 = 1;

/// A trace and one span of it. It travels with a request into the log: whoever acts on the record goes
/// on with the trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace: u128,
    /// The span; not 0.
    pub span: u64,
    /// 1 if it is sampled.
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`: version, trace, span and flags in lower-case hex with dashes between. Later
    /// versions may add fields behind. `None` for what does not read so: it begins a trace of its own.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(5, '-');
        let mut field = |digits: usize| {
            let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let text = fields.next().filter(|text| text.len() == digits && text.bytes().all(lower))?;
            u128::from_str_radix(text, 16).ok()
        };
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let ends = version != 0 || fields.next().is_none();
        let stands = version != 0xff && ends && trace != 0 && span != 0;
        // Of other flags version 00 says nothing, so they are not said on.
        stands.then_some(Self { trace, span: span as u64, flags: flags as u8 & SAMPLED })
    }

    /// True if its spans are recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, sampled or not.
    #[must_use]
    pub fn sampled(self, sampled: bool) -> Self {
        Self { flags: (self.flags & !SAMPLED) | u8::from(sampled), ..self }
    }

    /// The same trace at another span.
    #[must_use]
    pub fn at(self, span: u64) -> Self {
        Self { span, ..self }
    }
}

/// A `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_context_reads_as_the_standard_says() {
        let trace = u128::from_str_radix(TRACE, 16).unwrap();
        for (text, flags) in [
            (format!("00-{TRACE}-{SPAN}-01"), 1),
            (format!("00-{TRACE}-{SPAN}-00"), 0),
            (format!("cc-{TRACE}-{SPAN}-03-more"), 1),
        ] {
            let expected = TraceContext { trace, span: 0x00f0_67aa_0ba9_02b7, flags };
            assert_eq!(TraceContext::parse(&text), Some(expected), "{text}");
        }
        let text = format!("00-{TRACE}-{SPAN}-01");
        let context = TraceContext::parse(&text).unwrap();
        assert_eq!((context.to_string(), context.is_sampled()), (text, true));
        assert!(!context.sampled(false).is_sampled());
    }

    #[test]
    fn what_reads_otherwise_is_no_context() {
        let upper = TRACE.to_uppercase();
        for text in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}1-{SPAN}-01"),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("0-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }
}
