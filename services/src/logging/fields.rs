//! Fields of an event or a span under the names that the schema has for them.

use std::error::Error;
use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

/// Our names and the schema's. What it has no name for is a label, which is text.
const NAMES: [(&str, &str); 13] = [
    ("message", "message"),
    ("error", "error.message"),
    ("rejection", "error.message"),
    ("problem", "error.message"),
    ("method", "http.request.method"),
    ("path", "url.path"),
    ("status", "http.response.status_code"),
    ("request_id", "http.request.id"),
    ("trace_id", "trace.id"),
    ("span_id", "span.id"),
    ("address", "server.address"),
    ("correlation_id", "labels.correlation_id"),
    ("service", "labels.service"),
];

/// What was recorded.
#[derive(Clone, Default)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // The schema's status is a number; a refused document would be lost.
        let fits = |schema: &str| schema != "http.response.status_code" || value.is_number();
        let known = NAMES.iter().find(|(ours, schema)| *ours == field.name() && fits(schema));
        let (name, value) = match known {
            Some((_, name)) => ((*name).to_owned(), value),
            None => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (format!("labels.{}", field.name()), text.into())
            }
        };
        self.0.insert(name, value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            // The schema counts an event's time in ns.
            "took_us" => drop(self.0.insert("event.duration".into(), value.saturating_mul(1_000).into())),
            _ => self.put(field, value.into()),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}
