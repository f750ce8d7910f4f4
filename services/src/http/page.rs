//! The few pages that people see: plain HTML that runs nothing, loads nothing and stands in no frame.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

/// The policy before the places that a form may lead to, and behind them.
const POLICY: (&str, &str) =
    ("default-src 'none'; form-action 'self'", "; frame-ancestors 'none'; base-uri 'none'");

/// A page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Its status.
    pub status: StatusCode,
    /// Its title, as plain text.
    pub title: &'static str,
    /// What stands in it, as HTML.
    pub body: String,
    /// Where its form may lead besides this site, as a source of a content security policy. Empty: nowhere.
    pub leads_to: String,
}

impl Page {
    /// A page that leads nowhere else.
    pub fn new(status: StatusCode, title: &'static str, body: String) -> Self {
        Self { status, title, body, leads_to: String::new() }
    }
}

/// A text as it may stand in HTML, between tags and in quoted attributes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, body, leads_to } = self;
        let text = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
             <h1>{title}</h1>\n{body}\n</html>\n"
        );
        let (before, behind) = POLICY;
        let policy = HeaderValue::try_from(format!("{before} {leads_to}{behind}"));
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        // Without a policy a page would be another one: a source that does not fit lets nothing happen.
        let nothing =
            HeaderValue::from_static("default-src 'none'; form-action 'none'; frame-ancestors 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.unwrap_or(nothing));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_tag_or_ends_an_attribute() {
        assert_eq!(escaped("<a href=\"x\" b='y'>&"), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;");
    }
}
