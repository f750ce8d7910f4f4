//! Lines of JSON in the shape of Elastic's Common Schema: flat names with dots, one object a line.

use std::io::Write;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;

/// Which edition of the schema.
const ECS_VERSION: &str = "8.11.0";

/// Writes events as lines.
pub(super) struct Ecs<W> {
    service: String,
    writer: W,
}

impl<W> Ecs<W> {
    pub(super) fn new(service: String, writer: W) -> Self {
        Self { service, writer }
    }
}

impl<S, W> Layer<S> for Ecs<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line::new(&self.service, level(metadata.level()), "");
        line.put("log.logger", metadata.target());
        // The innermost span has the last word, and the event itself the very last.
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.0.extend(fields.0.clone());
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.0.extend(fields.0);
        line.write(&mut self.writer.make_writer_for(metadata));
    }
}

/// One line.
pub(super) struct Line(Map<String, Value>);

impl Line {
    /// A line of now.
    pub(super) fn new(service: &str, level: &str, message: &str) -> Self {
        let mut line = Self(Map::new());
        line.put("@timestamp", format!("{:.6}", Timestamp::now()));
        line.put("log.level", level);
        line.put("message", message);
        line.put("ecs.version", ECS_VERSION);
        line.put("service.name", service);
        if let Some(thread) = std::thread::current().name() {
            line.put("process.thread.name", thread);
        }
        line
    }

    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Writes it at once, so that lines of several threads do not mix. A log that nobody takes is no reason
    /// to stop.
    pub(super) fn write(self, writer: &mut impl Write) {
        let mut text = Value::Object(self.0).to_string();
        text.push('\n');
        let _ = writer.write_all(text.as_bytes());
    }
}

fn level(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_a_line_with_what_its_spans_say() {
        let lines = Lines::default();
        let to = lines.clone();
        let layer = Ecs::new("shop".into(), move || to.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let outer =
                tracing::error_span!("request", request_id = "r-1", path = "/orders", trace_id = "abc");
            let inner = outer.in_scope(|| tracing::error_span!("turn", shard = 3u64, path = "/inner"));
            let error = io::Error::other("the disk is \"full\"\nreally");
            inner.in_scope(|| tracing::warn!(%error, took_us = 12u64, ok = false, "two\nlines"));
            tracing::info!(status = "canceled", "alone");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [first, second] = &found[..] else { panic!("expected two lines, found {text}") };
        let expected = [
            ("log.level", Value::from("warn")),
            ("message", "two\nlines".into()),
            ("service.name", "shop".into()),
            ("ecs.version", ECS_VERSION.into()),
            ("http.request.id", "r-1".into()),
            ("trace.id", "abc".into()),
            ("url.path", "/inner".into()),
            ("labels.shard", "3".into()),
            ("labels.ok", "false".into()),
            ("event.duration", 12_000.into()),
            ("error.message", "the disk is \"full\"\nreally".into()),
        ];
        for (name, value) in expected {
            assert_eq!(first[name], value, "{name}");
        }
        assert!(first["@timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok());
        assert_eq!((&second["message"], &second["trace.id"]), (&Value::from("alone"), &Value::Null));
        // A text where the schema has a number would have the line refused.
        assert_eq!(second["labels.status"], "canceled");
        assert_eq!(second["http.response.status_code"], Value::Null);
    }
}
