//! The scenarios that ask a question of their own, each with its answer and its audit.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{loadgen, stderr, stdout, text};

/// Runs with a report for machines, expects the audit to pass, and reads the report.
fn figures(args: &[&str]) -> Value {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let json = dir.path().join("run.json");
    let output = loadgen(&[args, &["--json", text(&json)]].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}{}", stdout(&output), stderr(&output));
    let report = fs::read_to_string(json).expect("a report");
    serde_json::from_str(&report).expect("a report in JSON")
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("expected a count, found {value}"))
}

#[test]
fn bots_get_no_more_than_their_limit_and_people_are_told_apart() {
    for target in ["embedded", "tcp"] {
        let run = figures(&[
            "bots",
            "--target",
            target,
            "--duration",
            "1",
            "--rate",
            "2000",
            "--stock",
            "400",
            "--store",
            "memory",
        ]);
        let figures = &run["figures"];
        assert!(count(&figures["people"]["hot_units"]) > 0, "{figures}");
        assert!(count(&run["latency_us"]["create_order_by_bots"]["limited"]["count"]) > 100, "{run}");
        let lines = run["audit"]["lines"].to_string();
        assert!(lines.contains("limits kept for"), "{lines}");
    }
}

#[test]
fn an_overload_is_shed_as_throttled_and_measured_against_the_capacity() {
    let run = figures(&[
        "overload",
        "--duration",
        "3",
        "--store",
        "memory",
        "--skus",
        "50",
        "--times",
        "4",
        "--in-flight",
        "256",
    ]);
    let figures = &run["figures"];
    assert!(figures["capacity_per_s"].as_f64().unwrap() > 0.0, "{figures}");
    assert!(figures["overload_goodput"]["of_capacity"].as_f64().unwrap() > 0.0, "{figures}");
    assert!(count(&figures["overload_offered"]["turned_away"]) > 0, "{figures}");
    assert_eq!(count(&run["orders"]["error"]), 0, "{run}");
}

#[test]
fn neighbours_live_on_other_shards_and_are_measured_with_and_without() {
    let sale = ["neighbours", "--shards", "3", "--duration", "1.2", "--phases", "4", "--store", "memory"];
    let run = figures(&[&sale[..], &["--rate", "500", "--skus", "40"]].concat());
    let figures = &run["figures"];
    assert!(figures["neighbours_p99"]["ratio"].as_f64().unwrap() > 0.0, "{figures}");
    for key in ["accepted", "neighbours_alone", "neighbours_beside"] {
        assert!(count(&figures["hot_orders"][key]) > 50, "{key}: {figures}");
    }
    assert_eq!(run["shards"], 3);
}

#[test]
fn a_gateway_with_bad_days_charges_once_and_everything_comes_to_rest() {
    let days = ["--brownout-s", "0.3", "--outage-s", "0.2", "--gateway-p50", "10", "--gateway-p99", "60"];
    for target in ["embedded", "grpc", "grpc-stream", "tcp"] {
        let sale = ["payments", "--target", target, "--duration", "1", "--rate", "200", "--store", "memory"];
        let run = figures(&[&sale[..], &days].concat());
        let lines = run["audit"]["lines"].to_string();
        assert!(lines.contains("each once"), "{target}: {lines}");
        assert!(run["figures"]["paid_share"].as_f64().unwrap() > 0.5, "{target}: {}", run["figures"]);
        if target == "embedded" {
            assert!(count(&run["figures"]["silences"]) > 10, "{}", run["figures"]);
        }
    }
}

#[test]
fn of_three_refunds_of_two_fifths_two_go_through() {
    for target in ["embedded", "grpc-stream", "tcp"] {
        let run = figures(&[
            "refunds",
            "--target",
            target,
            "--duration",
            "1",
            "--rate",
            "100",
            "--store",
            "memory",
        ]);
        let refunds = &run["figures"]["refunds"];
        let (granted, refused) = (count(&refunds["granted"]), count(&refunds["refused"]));
        assert!(refused > 20 && granted == 2 * refused, "{target}: {refunds}");
        assert!(count(&run["latency_us"]["cancel_order"]["accepted"]["count"]) > 0, "{target}: {run}");
    }
}

#[test]
fn pushes_doubled_late_forged_and_stale_leave_both_books_equal() {
    let run =
        figures(&["webhooks", "--duration", "2", "--rate", "100", "--hold-s", "1", "--store", "memory"]);
    let pushes = &run["figures"]["pushes"];
    assert!(count(&pushes["heard"]) > 100 && count(&pushes["doubled"]) > 0, "{pushes}");
    assert!(count(&pushes["late"]) > 0 && count(&pushes["reordered"]) > 0, "{pushes}");
    assert!(run["audit"]["lines"].to_string().contains("the gateway's books say the same"), "{run}");
}

/// The server's binary beside ours; built here if only this crate's tests are.
fn onrush() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_loadgen")).with_file_name("onrush");
    if !path.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "-p", "onrush-services", "--bin", "onrush"]).status();
        let built = built.expect("cargo runs");
        assert!(built.success() && path.is_file(), "expected the server's binary at {path:?}");
    }
    path
}

#[test]
fn what_a_killed_server_told_its_buyers_is_there_when_it_is_back() {
    let onrush = onrush();
    for target in ["tcp", "grpc"] {
        let crash = ["crash", "--kills", "2", "--duration", "2", "--rate", "1000", "--target", target];
        let run = figures(&[&crash[..], &["--onrush", text(&onrush)]].concat());
        assert_eq!(run["figures"]["kills"], 2);
        let lines = run["audit"]["lines"].to_string();
        assert!(lines.contains("onrush verify") && lines.contains("orders read back"), "{target}: {lines}");
        assert!(count(&run["orders"]["accepted"]) > 0, "{target}: {run}");
    }
}

#[test]
fn targets_are_compared_in_turns_and_the_ratios_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (json, report) = (dir.path().join("all.json"), dir.path().join("all.html"));
    let sale = [
        "flash-sale",
        "--duration",
        "0.6",
        "--rate",
        "800",
        "--skus",
        "20",
        "--store",
        "memory",
        "--stock",
        "200",
    ];
    let how = ["compare", "--targets", "embedded,tcp,grpc", "--rounds", "2"];
    let files = ["--json", text(&json), "--report", text(&report)];
    let output = loadgen(&[&how[..], &sale, &files].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let table = stdout(&output);
    for expected in ["flash-sale on 3 targets in turns, 2 round(s)", "to embedded", "CPU/order", "passed"] {
        assert!(table.contains(expected), "{expected}\n{table}");
    }
    let told = stderr(&output);
    let turns: Vec<&str> = told.lines().filter(|line| line.starts_with("round ")).collect();
    assert_eq!(turns.len(), 6, "{told}");
    assert!(
        turns[1].starts_with("round 1 of 2, tcp") && turns[3].starts_with("round 2 of 2, embedded"),
        "{told}"
    );
    let all: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(all["audit_ok"], true);
    assert_eq!(all["targets"][0]["ratio"]["goodput_per_s"], 1.0);
    assert_eq!(all["targets"][2]["runs"].as_array().unwrap().len(), 2);
    assert!(all["targets"][1]["median"]["p99_us"].as_f64().unwrap() > 0.0, "{all}");
    assert_eq!(fs::read_to_string(report).unwrap().matches("<svg").count(), 6);
}
