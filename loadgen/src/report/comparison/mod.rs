//! Several targets side by side: medians over the rounds, and how they stand to the first target's.

mod html;
mod plot;

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::json::{rounded, value as whole};
use super::{Summary, escaped};
use crate::machine::{self, Machine};
use crate::number::{duration, grouped};
use crate::operation::Verdict;

pub(crate) use html::html;

/// A scenario on several targets.
pub(crate) struct Comparison {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    /// The first is what the others are held against.
    pub(crate) sides: Vec<Side>,
}

/// What one target did.
pub(crate) struct Side {
    pub(crate) target: String,
    /// One per round.
    pub(crate) runs: Vec<Summary>,
}

/// A column.
struct Measure {
    key: &'static str,
    name: &'static str,
    /// Of one run; `None` if it says nothing about it.
    of: fn(&Summary) -> Option<f64>,
    text: fn(f64) -> String,
}

const MEASURES: [Measure; 5] = [
    Measure {
        key: "goodput_per_s",
        name: "goodput/s",
        of: |run| Some(run.goodput_per_s()),
        text: |per_s| grouped(per_s.round() as i64),
    },
    Measure { key: "p50_us", name: "p50", of: |run| accepted_us(run, 0.5), text: time },
    Measure { key: "p99_us", name: "p99", of: |run| accepted_us(run, 0.99), text: time },
    Measure { key: "p999_us", name: "p99.9", of: |run| accepted_us(run, 0.999), text: time },
    Measure {
        key: "cpu_us_per_order",
        name: "CPU/order",
        of: |run| run.cpu_us_per_order().map(|(all, _)| all),
        text: |us| format!("{us:.2} us"),
    },
];

fn time(us: f64) -> String {
    duration((us * 1e3) as u64)
}

/// A latency of the accepted orders of the schedule, whatever they are filed under.
fn accepted_us(run: &Summary, quantile: f64) -> Option<f64> {
    let accepted = accepted(run)?;
    (!accepted.is_empty()).then(|| accepted.value_at_quantile(quantile) as f64 / 1e3)
}

/// Latencies of all of them; `None` if there are none.
fn accepted(run: &Summary) -> Option<Histogram<u64>> {
    let of_orders = run
        .tracks
        .iter()
        .filter(|track| track.operation.is_first_send() && track.verdict == Verdict::Accepted);
    let mut sum: Option<Histogram<u64>> = None;
    for track in of_orders {
        match &mut sum {
            // The same bounds and digits: nothing is lost.
            Some(sum) => sum.add(&track.whole).unwrap_or_default(),
            None => sum = Some(track.whole.clone()),
        }
    }
    sum
}

impl Comparison {
    /// True if every run's audit passed.
    pub(crate) fn passed(&self) -> bool {
        self.sides.iter().flat_map(|side| &side.runs).all(|run| run.findings.ok())
    }

    fn rounds(&self) -> usize {
        self.sides.first().map_or(0, |side| side.runs.len())
    }

    /// A side's median against the first side's.
    fn ratio(&self, side: &Side, measure: &Measure) -> Option<f64> {
        let first = self.sides.first()?.median(measure).filter(|median| *median > 0.0)?;
        side.median(measure).map(|median| median / first)
    }
}

impl Side {
    fn median(&self, measure: &Measure) -> Option<f64> {
        let mut found: Vec<f64> = self.runs.iter().filter_map(measure.of).collect();
        found.sort_by(f64::total_cmp);
        let middle = found.len() / 2;
        match found.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(found[middle]),
            _ => Some((found[middle - 1] + found[middle]) / 2.0),
        }
    }

    fn passed(&self) -> bool {
        self.runs.iter().all(|run| run.findings.ok())
    }
}

/// For people.
pub(crate) fn table(comparison: &Comparison) -> String {
    let Comparison { scenario, seed, sides } = comparison;
    let rounds = comparison.rounds();
    let mut text =
        format!("\n{scenario} on {} targets in turns, {rounds} round(s), seed {seed}\n\n", sides.len());
    let wide = sides.iter().map(|side| side.target.len()).max().unwrap_or(0).max(12);
    // Writing to a String cannot fail.
    let _ = write!(text, "  {:<wide$}", "median");
    for measure in &MEASURES {
        let _ = write!(text, " {:>11}", measure.name);
    }
    text.push_str("  audits\n");
    for (index, side) in sides.iter().enumerate() {
        let cell = |measure: &Measure| side.median(measure).map_or_else(|| "-".into(), measure.text);
        row(&mut text, &side.target, wide, &MEASURES.each_ref().map(cell));
        let _ = writeln!(text, "  {}", if side.passed() { "passed" } else { "FAILED" });
        if index > 0 {
            let cell = |measure: &Measure| {
                comparison.ratio(side, measure).map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}x"))
            };
            row(&mut text, &format!("  to {}", sides[0].target), wide, &MEASURES.each_ref().map(cell));
            text.push('\n');
        }
    }
    let machine = Machine::here();
    let _ = writeln!(text, "\n  accepted orders; CPU of the whole process, generator included");
    let _ = writeln!(text, "  machine: {} cores, {}", machine.cores, machine.cpu);
    text.push('\n');
    text.push_str(&findings(comparison));
    text
}

fn row(text: &mut String, name: &str, wide: usize, cells: &[String]) {
    let _ = write!(text, "  {name:<wide$}");
    for cell in cells {
        let _ = write!(text, " {cell:>11}");
    }
}

/// What the audits that failed found.
pub(crate) fn findings(comparison: &Comparison) -> String {
    let mut text = String::new();
    for side in &comparison.sides {
        for (index, run) in side.runs.iter().enumerate().filter(|(_, run)| !run.findings.ok()) {
            let _ = writeln!(text, "  {}, round {}:", side.target, index + 1);
            text.push_str(&super::findings(&run.findings));
        }
    }
    text
}

/// For machines: medians, ratios, and every run whole.
pub(crate) fn json(comparison: &Comparison) -> String {
    let side = |side: &Side| {
        let medians = |of: &dyn Fn(&Measure) -> Option<f64>| {
            let pair = |measure: &Measure| (measure.key.to_owned(), json!(of(measure).map(rounded)));
            Value::Object(MEASURES.iter().map(pair).collect::<Map<_, _>>())
        };
        json!({
            "target": side.target,
            "median": medians(&|measure| side.median(measure)),
            "ratio": medians(&|measure| comparison.ratio(side, measure)),
            "audit_ok": side.passed(),
            "runs": side.runs.iter().map(whole).collect::<Vec<_>>(),
        })
    };
    let machine = Machine::here();
    let value = json!({
        "compare": comparison.scenario,
        "seed": comparison.seed,
        "rounds": comparison.rounds(),
        "audit_ok": comparison.passed(),
        "targets": comparison.sides.iter().map(side).collect::<Vec<_>>(),
        "commit": machine::commit(),
        "version": env!("CARGO_PKG_VERSION"),
        "machine": { "cores": machine.cores, "cpu": machine.cpu },
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    /// Goodput is the accepted of 1.7 s of window: 1,700 are 1,000 per second.
    pub(super) fn comparison() -> Comparison {
        let run = |accepted| {
            let mut run = sample();
            run.tally.accepted_in_window = accepted;
            run
        };
        let side = |target: &str, runs: [u64; 3]| Side {
            target: target.into(),
            runs: runs.into_iter().map(run).collect(),
        };
        Comparison {
            scenario: "flash-sale".into(),
            seed: 7,
            sides: vec![side("embedded", [1_700, 17, 3_400]), side("tcp", [850, 850, 850])],
        }
    }

    #[test]
    fn medians_are_held_against_the_first_target() {
        let comparison = comparison();
        let goodput = &MEASURES[0];
        assert!((comparison.sides[0].median(goodput).unwrap() - 1_000.0).abs() < 1e-6);
        assert!((comparison.ratio(&comparison.sides[1], goodput).unwrap() - 0.5).abs() < 1e-9);
        let text = table(&comparison);
        for expected in
            ["flash-sale on 2 targets in turns, 3 round(s), seed 7", "to embedded", "0.50x", "2.25 us"]
        {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        let value: Value = serde_json::from_str(&json(&comparison)).unwrap();
        assert_eq!(value["targets"][1]["ratio"]["goodput_per_s"], 0.5);
        assert_eq!(value["targets"][0]["runs"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn one_broken_audit_breaks_the_comparison() {
        let mut comparison = comparison();
        assert!(comparison.passed() && findings(&comparison).is_empty());
        comparison.sides[1].runs[2].findings.violations.push("oversold by 1".into());
        assert!(!comparison.passed());
        let text = table(&comparison);
        assert!(text.contains("FAILED") && text.contains("tcp, round 3:\n"), "{text}");
        assert!(text.contains("BROKEN: oversold by 1"), "{text}");
    }
}
