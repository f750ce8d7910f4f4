//! Templates per occasion, channel and language: built in, or the shop's own. A variable that is not
//! there is an error, values are never read as templates, and neither time nor size is unbounded.

use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use onrush_proto::{DocKey, Text};
use serde::{Deserialize, Serialize};

use super::occasion::{Channel, Occasion};
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
/// Languages with templates built in.
const LANGUAGES: [&str; 2] = ["en", "de"];

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

    /// The built-in one; English where there is none of the language.
    pub(super) fn built_in(occasion: Occasion, language: &str) -> Self {
        let german = language == LANGUAGES[1];
        let (subject, body) = match (occasion, german) {
            (Occasion::OrderConfirmation, false) => {
                ("Your order {{ order_id }}", include_str!("templates/order_confirmation.en.txt"))
            }
            (Occasion::OrderConfirmation, true) => {
                ("Ihre Bestellung {{ order_id }}", include_str!("templates/order_confirmation.de.txt"))
            }
            (Occasion::PaymentReceipt, false) => (
                "Receipt for order {{ order_id }}: {{ total }}",
                include_str!("templates/payment_receipt.en.txt"),
            ),
            (Occasion::PaymentReceipt, true) => (
                "Zahlungsbeleg zur Bestellung {{ order_id }}: {{ total }}",
                include_str!("templates/payment_receipt.de.txt"),
            ),
            (Occasion::ShippingUpdate, false) => (
                include_str!("templates/shipping_update.en.subject.txt"),
                include_str!("templates/shipping_update.en.txt"),
            ),
            (Occasion::ShippingUpdate, true) => (
                include_str!("templates/shipping_update.de.subject.txt"),
                include_str!("templates/shipping_update.de.txt"),
            ),
        };
        Self { subject: subject.trim().into(), body: body.into() }
    }

    /// Renders a story.
    pub(super) fn render(&self, story: &Story) -> Result<Rendered, TemplateError> {
        let subject = render("subject", &self.subject, story)?;
        // A line end in a value would begin another header.
        let subject = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Ok(Rendered { subject, body: render("body", &self.body, story)? })
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

    fn of(subject: &str, body: &str) -> Template {
        Template { subject: subject.into(), body: body.into() }
    }

    #[test]
    fn every_built_in_template_tells_the_example() {
        for occasion in Occasion::ALL {
            let mut subjects = Vec::new();
            for language in LANGUAGES {
                let rendered = Template::built_in(occasion, language).render(&Story::example()).unwrap();
                assert!(rendered.body.contains(&Story::example().order_id), "{rendered:?}");
                assert!(rendered.body.contains("token=example"), "{rendered:?}");
                subjects.push(rendered.subject);
            }
            assert_ne!(subjects[0], subjects[1], "each language has its own");
            assert_eq!(Template::built_in(occasion, "xx"), Template::built_in(occasion, "en"));
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
            let error = template.render(&Story::example()).unwrap_err();
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
        let rendered = of("{{ total }}", "{{ lines[0].name }}").render(&story).unwrap();
        assert_eq!(rendered.subject, "1  Bcc: eve@example.com");
        assert_eq!(rendered.body, "{{ customer_id }}");
    }
}
