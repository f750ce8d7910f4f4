//! What a command belongs to. It travels with the request into the log: whoever acts on the record goes on with it.

use rkyv::{Archive, Deserialize, Serialize};

use crate::text::Text;
use crate::trace::TraceContext;

/// Most bytes of a [`CorrelationId`].
pub const CORRELATION_BYTES_MAX: usize = 128;

/// What all requests that belong together have in common, in a caller's words: visible ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct CorrelationId(Text<CORRELATION_BYTES_MAX>);

impl CorrelationId {
    /// `None` for what is empty, too long, or has bytes that a header or a line of a log cannot show.
    pub fn new(text: &str) -> Option<Self> {
        let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        Text::new(text).ok().filter(|_| visible).map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Why a command was given. At least one of both is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Cause {
    /// The trace that it came in.
    pub trace: Option<TraceContext>,
    /// What it belongs to.
    pub correlation: Option<CorrelationId>,
}

impl Cause {
    /// `None` if there is neither.
    pub fn new(trace: Option<TraceContext>, correlation: Option<CorrelationId>) -> Option<Self> {
        (trace.is_some() || correlation.is_some()).then_some(Self { trace, correlation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_is_visible_and_bounded() {
        let long = "x".repeat(CORRELATION_BYTES_MAX);
        for text in ["basket-7", "~", long.as_str()] {
            assert_eq!(CorrelationId::new(text).as_ref().map(CorrelationId::as_str), Some(text));
        }
        for text in ["", "two words", "line\nfeed", "caf\u{e9}", "nul\0", &format!("{long}x")] {
            assert_eq!(CorrelationId::new(text), None, "{text:?}");
        }
        assert_eq!(Cause::new(None, None), None);
    }
}
