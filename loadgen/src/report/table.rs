//! The result on a terminal.

use std::fmt::Write;

use super::{QUANTILES, Summary, course, stages};
use crate::audit::Findings;
use crate::machine;
use crate::number::{duration, grouped};
use crate::operation::Verdict;

/// Headline, latencies, audit.
pub(crate) fn table(summary: &Summary) -> String {
    let mut text = format!("\n{} on {} ({})\n\n", summary.scenario, summary.target, summary.mode);
    // Writing to a String cannot fail.
    for (name, value) in headline(summary) {
        let _ = writeln!(text, "  {name:<24} {value}");
    }
    text.push('\n');
    text.push_str(&latencies(summary));
    text.push_str(&stages::table(&summary.setup.stages));
    text.push_str(&course::table(&summary.course));
    text.push_str(&findings(&summary.findings));
    text
}

/// Names and values of the headline, for every kind of report.
pub(super) fn headline(summary: &Summary) -> Vec<(&'static str, String)> {
    let (tally, setup) = (&summary.tally, &summary.setup);
    let count = |number: u64| grouped(number as i64);
    let rate = |per_s: f64| grouped(per_s.round() as i64);
    let seconds = |seconds: f64| format!("{seconds:.3} s after T0");
    let mut lines = vec![
        ("offered", format!("{} buys in {:.1} s", count(tally.offered), summary.duration_s)),
        (
            "answered",
            format!("{} orders, {} per second", count(tally.answered), rate(summary.answered_per_s())),
        ),
        ("accepted", format!("{} orders, {} paid", count(tally.accepted), count(tally.paid))),
        (
            "goodput",
            format!("{} accepted per second over {:.3} s", rate(summary.goodput_per_s()), summary.window_s()),
        ),
    ];
    if let Some(sold_out_s) = summary.sold_out_s() {
        lines.push(("first sold out", seconds(sold_out_s)));
    }
    if let Some(truly_s) = summary.truly_sold_out_s() {
        let late = match tally.last_calls {
            0 => String::new(),
            calls => format!(", {} units in the last call", count(calls)),
        };
        lines.push(("last unit sold", seconds(truly_s) + &late));
    }
    lines.extend(summary.figures.iter().map(|figure| (figure.name, figure.text.clone())));
    let refused = Verdict::ALL[1..].iter().map(|verdict| (verdict, summary.orders(*verdict)));
    let refused: Vec<String> = refused
        .filter(|(_, n)| *n > 0)
        .map(|(verdict, n)| format!("{} {}", count(n), verdict.name()))
        .collect();
    if !refused.is_empty() {
        lines.push(("other answers", refused.join(", ")));
    }
    if summary.unknown > 0 || tally.given_up > 0 {
        lines.push((
            "given up",
            format!("{} buys, {} of unknown outcome", count(tally.given_up), count(summary.unknown)),
        ));
    }
    if let Some((all, generator)) = summary.cpu_us_per_order() {
        lines.push((
            "CPU per order",
            format!("{all:.2} us, {generator:.2} of them by the generator's thread"),
        ));
    }
    if let Some(lateness) = &summary.lateness {
        let at = |quantile| duration(lateness.value_at_quantile(quantile));
        lines.push(("generator lateness", format!("p50 {}, p99 {}, max {}", at(0.5), at(0.99), at(1.0))));
    }
    let hosts = format!(
        "{}, {} shard(s), host {}, store {}",
        setup.durability, setup.shards, setup.host, setup.store
    );
    lines.push(("durability", hosts));
    lines.push(("machine", format!("{} cores, {}", summary.machine.cores, summary.machine.cpu)));
    if let Some(commit) = machine::commit() {
        lines.push(("commit", commit.into()));
    }
    if let Some(kept) = &setup.kept {
        lines.push(("data kept in", kept.display().to_string()));
    }
    lines
}

fn latencies(summary: &Summary) -> String {
    let mut text = format!("  {:<34} {:>11}", "latency", "count");
    for name in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        let _ = write!(text, " {name:>8}");
    }
    text.push('\n');
    for track in &summary.tracks {
        let name = format!("{} {}", track.operation.name(), track.verdict.name());
        let _ = write!(text, "  {name:<34} {:>11}", grouped(track.whole.len() as i64));
        for (_, quantile) in QUANTILES {
            let _ = write!(text, " {:>8}", duration(track.whole.value_at_quantile(quantile)));
        }
        let _ = writeln!(text, " {:>8}", duration(track.whole.max()));
    }
    text.push('\n');
    text
}

/// The audit in plain words.
pub(crate) fn findings(findings: &Findings) -> String {
    let mut text = String::new();
    let result = if findings.ok() { "passed" } else { "FAILED" };
    let _ = writeln!(text, "  audit {result}");
    for line in &findings.lines {
        let _ = writeln!(text, "    {line}");
    }
    for line in &findings.violations {
        let _ = writeln!(text, "    BROKEN: {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_table_tells_latency_by_outcome_and_the_audit() {
        let text = table(&sample());
        for expected in [
            "create_order accepted",
            "create_order sold_out",
            "p99.99",
            "2,000 units received = 0 available + 0 held + 2,000 sold",
            "audit passed",
            "memory over the run",
            "paid in the end          50.0 %",
            "stages of a turn",
            "1,000 accepted per second",
            "first sold out           1.700 s after T0",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn broken_rules_are_listed() {
        let text = findings(&Findings { lines: Vec::new(), violations: vec!["oversold by 1".into()] });
        assert!(text.contains("audit FAILED") && text.contains("BROKEN: oversold by 1"));
    }
}
