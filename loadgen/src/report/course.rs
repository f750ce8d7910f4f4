//! Memory and lag over the run, for every kind of report.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::json::rounded;
use crate::number::{grouped, size};
use crate::watch::{Course, Quarters, Reading};

/// Points of a plot.
const POINTS_MAX: usize = 600;

/// A gauge of the process or of the engine.
struct Gauge {
    key: &'static str,
    name: &'static str,
    of: fn(&Reading) -> u64,
    text: fn(u64) -> String,
}

/// What is told by quarters.
const GAUGES: [Gauge; 6] = [
    Gauge {
        key: "process_bytes",
        name: "process, resident",
        of: |reading| reading.gauges.process_bytes,
        text: size,
    },
    Gauge {
        key: "journal_bytes",
        name: "  the generator's journal",
        of: |reading| reading.journal_bytes,
        text: size,
    },
    Gauge { key: "engine_bytes", name: "  the rest: the engine", of: Reading::engine_bytes, text: size },
    Gauge {
        key: "state_bytes",
        name: "  tables, as it counts",
        of: |reading| reading.gauges.state_bytes,
        text: size,
    },
    Gauge {
        key: "orders_in_memory",
        name: "orders in memory",
        of: |reading| reading.gauges.orders_in_memory,
        text: count,
    },
    Gauge {
        key: "remembered_keys",
        name: "keys remembered",
        of: |reading| reading.gauges.remembered_keys,
        text: count,
    },
];

fn count(number: u64) -> String {
    grouped(number as i64)
}

/// Start, median of the second quarter, maximum of the last, for machines.
pub(super) fn memory(course: &Course) -> Value {
    let mut memory = Map::new();
    memory.insert("readings".into(), course.readings.len().into());
    for gauge in &GAUGES {
        memory.insert(gauge.key.into(), json!(course.quarters(gauge.of).map(quarters)));
    }
    memory.insert("state_bits_per_new_key".into(), json!(course.state_bits_per_key().map(rounded)));
    Value::Object(memory)
}

fn quarters(quarters: Quarters) -> Value {
    json!({
        "start": quarters.start,
        "second_quarter_median": quarters.second_median,
        "last_quarter_max": quarters.last_max,
        "ratio": quarters.ratio().map(rounded),
    })
}

/// The store's lag, for machines.
pub(super) fn lag(course: &Course) -> Value {
    json!(course.lag().map(|lag| json!({
        "store_bytes": { "p50": lag.p50_bytes, "p99": lag.p99_bytes, "max": lag.max_bytes, "end": lag.end_bytes },
        "bound_bytes": lag.bound_bytes,
        "level0_runs_max": lag.level0_runs_max,
    })))
}

/// A row per gauge and a line on the lag, for people; empty if nobody read anything.
pub(super) fn table(course: &Course) -> String {
    let mut text = String::new();
    let rows = GAUGES.iter().filter_map(|gauge| Some((gauge, course.quarters(gauge.of)?)));
    for (index, (gauge, quarters)) in rows.enumerate() {
        if index == 0 {
            let title = "memory over the run";
            let _ = writeln!(
                text,
                "  {title:<34} {:>11} {:>11} {:>11} {:>6}",
                "start", "2nd quarter", "last", "ratio"
            );
        }
        let cells = [quarters.start, quarters.second_median, quarters.last_max].map(gauge.text);
        let ratio = quarters.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            text,
            "  {:<34} {:>11} {:>11} {:>11} {ratio:>6}",
            gauge.name, cells[0], cells[1], cells[2]
        );
    }
    for line in lines(course) {
        let _ = writeln!(text, "  {line}");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// What the gauges come to, in words.
pub(super) fn lines(course: &Course) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(bits) = course.state_bits_per_key() {
        lines.push(format!("tables grew by {bits:.1} bits per key remembered since the 2nd quarter"));
    }
    if let Some(lag) = course.lag() {
        lines.push(format!(
            "store lag p50 {}, p99 {}, max {}, at the end {}; admission waits at {}; at most {} L0 runs",
            size(lag.p50_bytes),
            size(lag.p99_bytes),
            size(lag.max_bytes),
            size(lag.end_bytes),
            size(lag.bound_bytes),
            lag.level0_runs_max
        ));
    }
    lines
}

/// Points of the memory plot: seconds, process without the journal, tables, lag, in bytes.
pub(super) fn plot(course: &Course) -> Value {
    let step = course.readings.len().div_ceil(POINTS_MAX).max(1);
    let point = |readings: &[Reading]| {
        let most = |of: fn(&Reading) -> u64| readings.iter().map(of).max().unwrap_or(0);
        json!([
            readings[0].at_ns as f64 / 1e9,
            most(Reading::engine_bytes),
            most(|reading| reading.gauges.state_bytes),
            most(|reading| reading.gauges.lag_bytes),
        ])
    };
    course.readings.chunks(step).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::course;
    use super::*;

    #[test]
    fn memory_and_lag_are_told_to_machines() {
        let (memory, lag) = (memory(&course()), lag(&course()));
        for gauge in &GAUGES {
            let found = &memory[gauge.key];
            for key in ["start", "second_quarter_median", "last_quarter_max"] {
                assert!(found[key].is_u64(), "{}.{key}", gauge.key);
            }
        }
        assert_eq!(memory["engine_bytes"]["ratio"], 1.0);
        assert_eq!(memory["state_bits_per_new_key"], 12.0);
        for key in ["p50", "p99", "max", "end"] {
            assert!(lag["store_bytes"][key].is_u64(), "{key}");
        }
        assert_eq!(lag["bound_bytes"], 268_435_456);
    }

    #[test]
    fn memory_and_lag_are_told_to_people() {
        let text = table(&course());
        for expected in
            ["memory over the run", "the rest: the engine", "12.0 bits per key", "waits at 256 MiB", "1.00"]
        {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert_eq!(table(&Course::default()), "");
    }

    #[test]
    fn a_plot_keeps_the_peaks_of_long_runs() {
        let mut course = course();
        let readings = course.readings.repeat(30);
        course.readings = readings;
        let points = plot(&course);
        let points = points.as_array().unwrap();
        assert!(points.len() <= POINTS_MAX);
        let highest = |of: fn(&Reading) -> u64| course.readings.iter().map(of).max().unwrap();
        let plotted = points.iter().map(|point| point[3].as_u64().unwrap()).max().unwrap();
        assert_eq!(plotted, highest(|reading| reading.gauges.lag_bytes));
    }
}
