//! The report to show: one file, no network.

use serde_json::{Value, json};

use super::json::value;
use super::table::headline;
use super::{QUANTILES, Summary, course, escaped};
use crate::number::{duration, grouped};
use crate::recorder::Track;

const PAGE: &str = include_str!("page.html");

/// The page with the run's figures in it.
pub(crate) fn html(summary: &Summary) -> String {
    let data = json!({
        "summary": value(summary),
        "tracks": summary.tracks.iter().map(track).collect::<Vec<_>>(),
        "start_s": summary.start_s,
        "duration_s": summary.duration_s,
        "course": course::plot(&summary.course),
    });
    // Inside a script element only `</` and `<!--` could end the data early.
    let data = data.to_string().replace('<', "\\u003c");
    let (mark, state) = if summary.findings.ok() { ("passed", "good") } else { ("failed", "bad") };
    let fields = [
        ("{{title}}", format!("{} on {}", escaped(&summary.scenario), escaped(&summary.target))),
        ("{{mode}}", escaped(&summary.mode)),
        ("{{audit}}", mark.into()),
        ("{{audit_class}}", state.into()),
        ("{{tiles}}", tiles(summary)),
        ("{{headline}}", rows(&headline(summary))),
        ("{{latencies}}", latencies(&summary.tracks)),
        ("{{findings}}", findings(summary)),
        (
            "{{course}}",
            course::lines(&summary.course).iter().map(|line| format!("{}. ", escaped(line))).collect(),
        ),
        ("{{method}}", summary.method().iter().map(|line| format!("<p>{}</p>", escaped(line))).collect()),
        ("{{data}}", data),
    ];
    fields.iter().fold(PAGE.to_owned(), |page, (field, text)| page.replace(field, text))
}

fn track(track: &Track) -> Value {
    // A step per fifth of a halving of the distance to 100 %: what a log axis can show.
    let steps = track.whole.iter_quantiles(5).map(|step| {
        let quantile = step.quantile_iterated_to().min(1.0 - 0.5 / track.whole.len() as f64);
        json!([1.0 / (1.0 - quantile), step.value_iterated_to() as f64 / 1e3])
    });
    let points = track.points.iter().map(|point| {
        let us = |ns: u64| ns as f64 / 1e3;
        json!([point.at_ns as f64 / 1e9, us(point.p50_ns), us(point.p99_ns), us(point.max_ns), point.count])
    });
    json!({
        "name": format!("{} {}", track.operation.name(), track.verdict.name()),
        "count": track.whole.len(),
        "steps": steps.collect::<Vec<_>>(),
        "points": points.collect::<Vec<_>>(),
    })
}

fn tiles(summary: &Summary) -> String {
    let accepted = summary
        .tracks
        .iter()
        .find(|track| (track.operation.name(), track.verdict.name()) == ("create_order", "accepted"));
    let p99 = accepted.map(|track| duration(track.whole.value_at_quantile(0.99)));
    let sold_out = summary.sold_out_s().map(|seconds| format!("{seconds:.2} s"));
    let cpu = summary.cpu_us_per_order().map(|(us, _)| format!("{us:.2} us"));
    let tiles = [
        ("goodput, orders/s", Some(grouped(summary.goodput_per_s() as i64))),
        ("answered, orders/s", Some(grouped(summary.answered_per_s() as i64))),
        ("p99 of accepted", p99),
        ("T0 to sold out", sold_out),
        ("CPU per order", cpu),
    ];
    let tile = |(name, value): (&str, Option<String>)| {
        value.map(|value| format!("<div class=\"tile\"><b>{}</b><span>{name}</span></div>", escaped(&value)))
    };
    tiles.into_iter().filter_map(tile).collect()
}

fn rows(headline: &[(&'static str, String)]) -> String {
    headline
        .iter()
        .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>", escaped(value)))
        .collect()
}

fn latencies(tracks: &[Track]) -> String {
    let row = |track: &Track| {
        let cells: String = QUANTILES
            .iter()
            .map(|(_, quantile)| track.whole.value_at_quantile(*quantile))
            .chain([track.whole.max()])
            .map(|ns| format!("<td>{}</td>", duration(ns)))
            .collect();
        let (operation, verdict) = (track.operation.name(), track.verdict.name());
        let count = grouped(track.whole.len() as i64);
        format!(
            "<tr><th>{operation}</th><td class=\"v {verdict}\">{verdict}</td><td>{count}</td>{cells}</tr>"
        )
    };
    tracks.iter().map(row).collect()
}

fn findings(summary: &Summary) -> String {
    let item = |class: &str, line: &String| format!("<li class=\"{class}\">{}</li>", escaped(line));
    let lines = summary.findings.lines.iter().map(|line| item("line", line));
    lines.chain(summary.findings.violations.iter().map(|line| item("broken", line))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = html(&sample());
        for forbidden in ["src=", "href=", "@import", "url(", "fetch(", "https://", "{{"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        // The SVG namespace is a name, not an address that anybody opens.
        assert_eq!(page.matches("http://").count(), page.matches("http://www.w3.org/2000/svg").count());
        for expected in [
            "<!doctype html>",
            "create_order accepted",
            "passed",
            "prefers-color-scheme",
            "open loop",
            "store lag p50",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
    }

    #[test]
    fn what_the_engine_says_cannot_break_out_of_the_page() {
        let mut summary = sample();
        summary.findings.violations.push("</script><script>alert(1)</script>".into());
        let page = html(&summary);
        assert!(!page.contains("<script>alert"));
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("failed"));
    }
}
