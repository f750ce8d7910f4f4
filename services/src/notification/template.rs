//! Templates per occasion, channel and language: built in, or the shop's own. A variable that is not
//! there is an error, values are never read as templates, and neither time nor size is unbounded.

use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use onrush_proto::{DocKey, Text};
use serde::{Deserialize, Serialize};

use super::occasion::{Channel, Occasion};
use super::parts::{PARTS_MAX, parts};
use super::push::TEXT_BYTES_MAX;
use super::story::Story;

/// Most bytes of a subject's template.
pub(super) const SUBJECT_BYTES_MAX: usize = 500;
/// Most bytes of a text's template.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;
/// Most bytes of what comes of it.
const RENDERED_BYTES_MAX: usize = 64 << 10;
/// Instructions of one rendering.
const FUEL: u64 = 50_000;
/// Nesting of one rendering.
const DEPTH_MAX: usize = 16;

/// A template.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Template {
    /// Of the subject: one line.
    pub subject: String,
    /// Of the text.
    pub body: String,
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rendered {
    /// The subject: one line, whatever the values hold.
    pub subject: String,
    /// The text.
    pub body: String,
}

/// A template that cannot be rendered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{part}: {message}")]
pub(super) struct TemplateError {
    /// `subject` or `body`.
    pub part: &'static str,
    /// What is wrong, with the line.
    pub message: String,
}

impl Template {
    /// The key of the shop's own.
    pub(super) fn key(occasion: Occasion, channel: Channel, language: &str) -> DocKey {
        // All three are short.
        Text::new(&format!("template/{}/{}/{language}", occasion.name(), channel.name())).unwrap_or_default()
    }

    /// Renders a story for a channel.
    pub(super) fn render(&self, channel: Channel, story: &Story) -> Result<Rendered, TemplateError> {
        let subject = render("subject", &self.subject, story)?;
        // A line end in a value would begin another header.
        let subject = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let body = render("body", &self.body, story)?;
        match channel {
            Channel::Email => Ok(Rendered { subject, body }),
            Channel::Sms => Ok(Rendered { subject, body: text(&body)? }),
            Channel::Push => note(subject, body),
        }
    }
}

/// What goes into a text message: it is paid for by the part.
fn text(body: &str) -> Result<String, TemplateError> {
    let shown = |letter: char| if letter.is_control() && letter != '\n' { ' ' } else { letter };
    let text: String = body.chars().map(shown).collect();
    let text = text.trim().to_owned();
    let wrong = |message| Err(TemplateError { part: "body", message });
    match parts(&text) {
        _ if text.is_empty() => wrong("expected a text, found none".into()),
        found if found > PARTS_MAX => {
            wrong(format!("expected a text of at most {PARTS_MAX} parts, found {found}"))
        }
        _ => Ok(text),
    }
}

/// What goes to a browser in one sealed message, escaped as it travels.
fn note(subject: String, body: String) -> Result<Rendered, TemplateError> {
    let body = body.trim().to_owned();
    let travelling = |text: &str| serde_json::to_string(text).map_or(usize::MAX, |json| json.len());
    match travelling(&subject).saturating_add(travelling(&body)) {
        found if found > TEXT_BYTES_MAX => {
            let message = format!("expected at most {TEXT_BYTES_MAX} bytes with the subject, found {found}");
            Err(TemplateError { part: "body", message })
        }
        _ => Ok(Rendered { subject, body }),
    }
}

/// Renders one part; values in a part called `html` stay text.
pub(super) fn render<T: Serialize>(
    part: &'static str,
    source: &str,
    story: &T,
) -> Result<String, TemplateError> {
    let wrong = |error: minijinja::Error| {
        let line = error.line().map(|line| format!(" on line {line}")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        TemplateError { part, message: format!("{}{line}{detail}", error.kind()) }
    };
    // Nothing but values and a few filters that cannot grow: no loader, no functions, no macros.
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH_MAX);
    environment.set_auto_escape_callback(|part| match part {
        "html" => AutoEscape::Html,
        _ => AutoEscape::None,
    });
    environment.add_filter("upper", |text: &str| text.to_uppercase());
    environment.add_filter("lower", |text: &str| text.to_lowercase());
    let mut page = Page(Vec::new());
    let template = environment.template_from_named_str(part, source).map_err(wrong)?;
    template.render_captured_to(Serde(story), &mut page).map_err(wrong)?;
    String::from_utf8(page.0).map_err(|error| TemplateError { part, message: error.to_string() })
}

/// What is rendered, up to a bound.
struct Page(Vec<u8>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::other(format!("expected at most {RENDERED_BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::built_in::{self, LANGUAGES};

    fn of(subject: &str, body: &str) -> Template {
        Template { subject: subject.into(), body: body.into() }
    }

    #[test]
    fn every_built_in_template_tells_the_example() {
        for (occasion, channel) in Occasion::ALL.into_iter().flat_map(|o| Channel::ALL.map(|c| (o, c))) {
            let mut told = Vec::new();
            for language in LANGUAGES {
                let template = built_in::template(occasion, channel, language);
                let rendered = template.render(channel, &Story::example()).unwrap();
                let end = match channel {
                    Channel::Email => "token=example",
                    Channel::Sms => "STOP",
                    Channel::Push => "",
                };
                let whole = format!("{} {}", rendered.subject, rendered.body);
                assert!(whole.contains(&Story::example().order_id) && whole.contains(end), "{rendered:?}");
                assert_eq!(rendered.subject.is_empty(), !channel.has_subject(), "{rendered:?}");
                told.push(rendered);
            }
            assert_ne!(told[0], told[1], "each language has its own");
            let english = built_in::template(occasion, channel, "en");
            assert_eq!(built_in::template(occasion, channel, "xx"), english);
        }
    }

    /// As long as the values can be: an order of a large amount, a long carrier.
    #[test]
    fn a_built_in_text_always_fits() {
        let mut story = Story::example();
        story.total = "-92233720368547758.08 EUR".into();
        (story.carrier, story.tracking_number) = ("c".repeat(64), "9".repeat(64));
        for (occasion, language) in Occasion::ALL.into_iter().flat_map(|o| LANGUAGES.map(|l| (o, l))) {
            let text =
                built_in::template(occasion, Channel::Sms, language).render(Channel::Sms, &story).unwrap();
            assert!(parts(&text.body) <= 2, "{text:?}");
        }
    }

    #[test]
    fn what_goes_to_a_browser_fits_into_one_message() {
        let render = |body: &str| of("s", body).render(Channel::Push, &Story::example());
        assert_eq!(render(" {{ total }}\n").unwrap().body, "9.98 EUR");
        assert!(render(&"x".repeat(TEXT_BYTES_MAX - 5)).is_ok());
        // A quotation mark takes two bytes on its way.
        for body in ["x".repeat(TEXT_BYTES_MAX - 4), "\"".repeat(TEXT_BYTES_MAX / 2)] {
            assert!(render(&body).unwrap_err().message.starts_with("expected at most"));
        }
    }

    #[test]
    fn a_text_is_one_of_few_parts_and_nothing_else() {
        let render = |body: &str| of("", body).render(Channel::Sms, &Story::example());
        assert_eq!(render(" a\tb\r\nc <b>&amp;\u{7}\n").unwrap().body, "a b \nc <b>&amp;");
        for (body, expected) in [
            ("a".repeat(613), "found 5"),
            (format!("ő{}", "a".repeat(268)), "found 5"),
            ("{% if false %}x{% endif %} ".into(), "found none"),
        ] {
            let error = render(&body).unwrap_err();
            assert!(error.part == "body" && error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn mistakes_and_bombs_are_refused_with_their_place() {
        let long_loop = "{% for a in lines * 9999 %}{% for b in lines * 9999 %}x{% endfor %}{% endfor %}";
        let bomb = r#"{{ ("x" * 60000) }}{{ ("x" * 60000) }}"#;
        for (template, part, expected) in [
            (of("{{ nobody }}", "x"), "subject", "undefined"),
            (of("x", "a\n{{ lines[0].nobody.more }}"), "body", "line 2"),
            (of("x", "{{ order_id"), "body", "syntax"),
            (of("x", "{% include 'secrets' %}"), "body", ""),
            (of("x", "{{ range(9) }}"), "body", "range"),
            (of("x", "{{ order_id|pprint }}"), "body", "pprint"),
            (of("x", long_loop), "body", ""),
            (of("x", bomb), "body", ""),
            (of("x", &format!("{}{}", "{% if true %}".repeat(500), "{% endif %}".repeat(500))), "body", ""),
        ] {
            let error = template.render(Channel::Email, &Story::example()).unwrap_err();
            assert_eq!(error.part, part, "{error}");
            assert!(error.message.contains(expected), "{expected}: {error}");
        }
    }

    /// A product is called `{{ customer_id }}`, and another one ends its line.
    #[test]
    fn values_are_values() {
        let mut story = Story::example();
        story.lines[0].name = "{{ customer_id }}".into();
        story.total = "1\r\nBcc: eve@example.com".into();
        let rendered = of("{{ total }}", "{{ lines[0].name }}").render(Channel::Email, &story).unwrap();
        assert_eq!(rendered.subject, "1  Bcc: eve@example.com");
        assert_eq!(rendered.body, "{{ customer_id }}");
    }
}
