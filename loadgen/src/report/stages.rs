//! How long the stages of a shard's turn took, for every kind of report.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::json::rounded;
use crate::number::{duration, grouped};
use crate::target::StageTimes;

/// For machines: by name, in us.
pub(super) fn value(stages: &[StageTimes]) -> Value {
    let us = |ns: u64| rounded(ns as f64 / 1e3);
    let stage = |times: &StageTimes| {
        json!({
            "count": times.turns,
            "p50": us(times.p50_ns),
            "p90": us(times.p90_ns),
            "p99": us(times.p99_ns),
            "max": us(times.max_ns),
            "mean": (times.turns > 0).then(|| us(times.total_ns / times.turns)),
            "total": us(times.total_ns),
        })
    };
    Value::Object(stages.iter().map(|times| (times.stage.clone(), stage(times))).collect::<Map<_, _>>())
}

/// For people: a row per stage that a turn came to.
pub(super) fn table(stages: &[StageTimes]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (index, times) in stages.iter().filter(|times| times.turns > 0).enumerate() {
        if index == 0 {
            let _ = write!(text, "  {:<34} {:>11}", "stages of a turn, since the opening", "turns");
            for name in ["p50", "p90", "p99", "max", "in all"] {
                let _ = write!(text, " {name:>8}");
            }
            text.push('\n');
        }
        let _ = write!(text, "  {:<34} {:>11}", times.stage, grouped(times.turns as i64));
        for ns in [times.p50_ns, times.p90_ns, times.p99_ns, times.max_ns, times.total_ns] {
            let _ = write!(text, " {:>8}", duration(ns));
        }
        text.push('\n');
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn stages_are_told_to_machines_and_to_people() {
        let stages = sample().setup.stages;
        let commit = &value(&stages)["commit"];
        assert_eq!(
            (&commit["count"], &commit["p99"], &commit["mean"]),
            (&json!(1_000), &json!(400.0), &json!(150.0))
        );
        let text = table(&stages);
        assert!(text.contains("commit") && text.contains("130 us") && text.contains("2.00 ms"), "{text}");
        assert_eq!(table(&[]), "");
    }
}
