//! The figures for machines. Keys are stable; times are in the unit their key ends in.

use serde_json::{Map, Value, json};

use super::{QUANTILES, Summary, course, stages};
use crate::machine;
use crate::operation::Verdict;
use crate::recorder::Track;

/// Copies of the data: there is no replication yet.
const REPLICAS: u32 = 1;

/// The whole summary.
pub(crate) fn json(summary: &Summary) -> String {
    let mut text = format!("{:#}", value(summary));
    text.push('\n');
    text
}

/// The whole summary as a tree.
pub(super) fn value(summary: &Summary) -> Value {
    let (tally, setup) = (&summary.tally, &summary.setup);
    json!({
        "scenario": summary.scenario,
        "mode": summary.mode,
        "target": summary.target,
        "seed": summary.seed,
        "duration_s": summary.duration_s,
        "start_s": summary.start_s,
        "orders": orders(summary),
        "paid": tally.paid,
        "last_calls": tally.last_calls,
        "given_up": tally.given_up,
        "unknown": summary.unknown,
        "goodput_per_s": rounded(summary.goodput_per_s()),
        "goodput_window_s": rounded(summary.window_s()),
        "answered_per_s": rounded(summary.answered_per_s()),
        "sold_out_s": summary.sold_out_s().map(rounded),
        "truly_sold_out_s": summary.truly_sold_out_s().map(rounded),
        "latency_us": latency(&summary.tracks),
        "generator_lateness_us": summary.lateness.as_ref().map(percentiles),
        "figures": figures(summary),
        "audit": {
            "ok": summary.findings.ok(),
            "violations": summary.findings.violations,
            "lines": summary.findings.lines,
        },
        "durability": setup.durability,
        "shards": setup.shards,
        "replicas": REPLICAS,
        "hot_key_share": rounded(setup.hot_key_share),
        "host": setup.host,
        "store": setup.store,
        "durable_writes": setup.durable_writes,
        "records": setup.records,
        "log_bytes": setup.log_bytes,
        "data_kept_in": setup.kept,
        "cpu_us_per_order": summary.cpu_us_per_order().map(|(all, _)| rounded(all)),
        "generator_cpu_us_per_order": summary.cpu_us_per_order().map(|(_, generator)| rounded(generator)),
        "memory_peak_mib": summary.memory_peak_mib,
        "memory": course::memory(&summary.course),
        "lag": course::lag(&summary.course),
        "stages_us": stages::value(&setup.stages),
        "commit": machine::commit(),
        "version": env!("CARGO_PKG_VERSION"),
        "machine": { "cores": summary.machine.cores, "cpu": summary.machine.cpu },
    })
}

fn orders(summary: &Summary) -> Value {
    let mut orders = Map::new();
    orders.insert("offered".into(), summary.tally.offered.into());
    for verdict in Verdict::ALL {
        orders.insert(verdict.name().into(), summary.orders(verdict).into());
    }
    Value::Object(orders)
}

/// What only this scenario tells, by its keys.
fn figures(summary: &Summary) -> Value {
    let figures = summary.figures.iter().map(|figure| (figure.key.to_owned(), figure.value.clone()));
    Value::Object(figures.collect())
}

fn latency(tracks: &[Track]) -> Value {
    let mut operations = Map::new();
    for track in tracks {
        let verdicts = operations.entry(track.operation.name()).or_insert_with(|| Value::Object(Map::new()));
        verdicts[track.verdict.name()] = percentiles(&track.whole);
    }
    Value::Object(operations)
}

fn percentiles(histogram: &hdrhistogram::Histogram<u64>) -> Value {
    let us = |ns: u64| rounded(ns as f64 / 1e3);
    let mut values = Map::new();
    values.insert("count".into(), histogram.len().into());
    for (name, quantile) in QUANTILES {
        values.insert(name.into(), us(histogram.value_at_quantile(quantile)).into());
    }
    values.insert("max".into(), us(histogram.max()).into());
    values.insert("mean".into(), rounded(histogram.mean() / 1e3).into());
    Value::Object(values)
}

/// Three digits behind the point: more would be noise.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_promised_keys_are_there() {
        let parsed: Value = serde_json::from_str(&json(&sample())).unwrap();
        for key in [
            "scenario",
            "target",
            "seed",
            "duration_s",
            "goodput_per_s",
            "durability",
            "shards",
            "replicas",
            "hot_key_share",
            "cpu_us_per_order",
        ] {
            assert!(!parsed[key].is_null(), "{key}");
        }
        for key in ["offered", "accepted", "sold_out", "limited", "duplicate", "throttled", "error"] {
            assert!(parsed["orders"][key].is_u64(), "{key}");
        }
        let accepted = &parsed["latency_us"]["create_order"]["accepted"];
        for key in ["count", "p50", "p90", "p99", "p999", "max"] {
            assert!(accepted[key].is_number(), "{key}");
        }
        assert_eq!(accepted["count"], 2_000);
        assert!((accepted["p50"].as_f64().unwrap() - 1_000.0).abs() < 2.0);
        assert_eq!(parsed["figures"]["paid_share"], 0.5);
        assert_eq!(parsed["audit"]["ok"], true);
        assert_eq!(parsed["audit"]["violations"], Value::Array(Vec::new()));
    }
}
