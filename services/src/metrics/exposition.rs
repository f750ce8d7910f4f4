//! Families as text: Prometheus' own (0.0.4), or OpenMetrics for who asks for it.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::family::{Family, Found};

/// What every name begins with.
const PREFIX: &str = "onrush";

/// A format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// What promtool reads.
    Prometheus,
    /// What Prometheus asks for first.
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` header asks for.
    pub(crate) fn accepted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// Its media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The families in this format.
    pub(crate) fn write(self, families: Vec<Family>) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Found(families)));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        match self {
            Self::Prometheus => Ok(prometheus(&text)),
            Self::OpenMetrics => Ok(text),
        }
    }
}

/// The encoder writes OpenMetrics, which names a counter's family without `_total`. The older format knows
/// no such difference: there help and type stand under the name of the samples.
fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        if line.starts_with("# HELP ") {
            help = Some(line);
            continue;
        }
        let suffix = if line.ends_with(" counter") { "_total" } else { "" };
        for line in help.take().into_iter().chain([line]) {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some(what), Some(name), Some(rest)) => {
                    text.push_str(&format!("# {what} {name}{suffix} {rest}\n"));
                }
                _ => {
                    // The encoder writes braces also where there are no labels.
                    text.push_str(&line.replacen("{} ", " ", 1));
                    text.push('\n');
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::family::Times;
    use super::*;

    fn families() -> Vec<Family> {
        let times = Times { buckets: vec![(0.5, 2), (f64::INFINITY, 1)], sum: 3.5 };
        let state = |name: &str| vec![("state", name.to_owned())];
        vec![
            Family::counters("calls", "Calls answered", vec![(state("a\"b"), 3)]),
            Family::gauges("open", "Open orders of a counter", vec![(Vec::new(), 2.0)]),
            Family::gauges("nothing", "Never told", Vec::new()),
            Family::histograms("call_seconds", "How long", vec![(state("x"), times)]),
        ]
    }

    #[test]
    fn counters_are_named_as_each_format_wants_it() {
        let prometheus = Format::Prometheus.write(families()).unwrap();
        let expected = "# HELP onrush_calls_total Calls answered\n\
            # TYPE onrush_calls_total counter\n\
            onrush_calls_total{state=\"a\\\"b\"} 3\n\
            # HELP onrush_open Open orders of a counter\n\
            # TYPE onrush_open gauge\n\
            onrush_open 2.0\n\
            # HELP onrush_call_seconds How long\n\
            # TYPE onrush_call_seconds histogram\n\
            onrush_call_seconds_sum{state=\"x\"} 3.5\n\
            onrush_call_seconds_count{state=\"x\"} 3\n\
            onrush_call_seconds_bucket{le=\"0.5\",state=\"x\"} 2\n\
            onrush_call_seconds_bucket{le=\"+Inf\",state=\"x\"} 3\n";
        assert_eq!(prometheus, expected);
        let open_metrics = Format::OpenMetrics.write(families()).unwrap();
        assert!(
            open_metrics.starts_with("# HELP onrush_calls Calls answered\n# TYPE onrush_calls counter\n")
        );
        assert!(open_metrics.ends_with("# EOF\n"), "{open_metrics}");
    }

    #[test]
    fn open_metrics_is_for_who_asks_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        for accept in ["", "*/*", "text/plain", "text/html,application/xhtml+xml"] {
            assert_eq!(Format::accepted(accept), Format::Prometheus, "{accept}");
        }
    }
}
