//! Every subcommand runs, at a scale that measures nothing, so that none rots.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::path::Path;
use std::process::Command;

/// What a subcommand prints.
fn bench(arguments: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush-bench"));
    let ended = command.args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "onrush-bench {arguments}: {error}");
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert!(printed.contains("machine ") && printed.contains("method "), "{printed}");
    printed
}

#[test]
fn a_shard_is_measured_and_allocates_nothing_per_command() {
    let printed = bench("shard --orders 4096 --warm 4096 --rounds 1 --skus 10");
    for kind in ["accepted-hot", "accepted-uniform", "sold-out", "replay-same-body", "replay-other-body"] {
        let row = printed.lines().find(|line| line.starts_with(kind)).unwrap();
        let allocations: f64 = row.split_whitespace().nth(6).unwrap().parse().unwrap();
        assert!(allocations < 0.02, "tables grow, commands do not allocate: {row}");
    }
}

#[test]
fn an_idle_engine_is_measured() {
    let printed = bench("idle --seconds 0.02 --rounds 1");
    assert!(printed.contains("order, inline host") && printed.contains("order, thread host"), "{printed}");
}

#[test]
fn replay_is_measured() {
    let printed = bench("replay --orders 600 --rounds 1 --skus 10");
    assert!(printed.contains("whole Engine::open"), "{printed}");
}

#[test]
fn unary_calls_are_measured() {
    let printed = bench("unary --seconds 0.1 --rounds 1 --connections 2 --in-flight 4 --store memory");
    for pair in ["CreateOrder      / bare", "with a token     / bare"] {
        assert!(printed.contains(pair), "{printed}");
    }
}

#[test]
fn a_flood_of_logins_is_measured() {
    let printed = bench("logins --seconds 0.2 --rounds 1 --rate 50");
    let row = printed.lines().find(|line| line.starts_with("flooded")).unwrap();
    let hashed: f64 = row.split_whitespace().nth(5).unwrap().parse().unwrap();
    assert!(hashed > 0.0 && printed.contains("p99 flooded / calm"), "{printed}");
}

#[test]
fn a_gateway_that_is_down_is_measured_and_every_order_is_paid() {
    let printed = bench("outage --down 0.5 --rate 10");
    assert!(printed.contains("audit               ok"), "{printed}");
}

/// The binary is built with the workspace; a bench that stands alone says what it lacks.
#[test]
fn a_first_purchase_is_measured() {
    let without = Command::new(env!("CARGO_BIN_EXE_onrush-bench"))
        .args(["newcomer", "--binary", "./none"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&without.stderr).contains("cargo build --release --bin onrush"));
    if Path::new(env!("CARGO_BIN_EXE_onrush-bench")).with_file_name("onrush").exists() {
        assert!(bench("newcomer --rounds 1").contains("the last mail sent  <= 2"));
    }
}

#[test]
fn token_checks_are_measured_and_a_repeated_one_allocates_nothing() {
    let printed = bench("token --tokens 20 --checks 10 --rounds 1");
    let row = printed.lines().find(|line| line.starts_with("again")).unwrap();
    assert_eq!(row.split_whitespace().nth(3), Some("0.000"), "{row}");
}

#[test]
fn durable_writes_are_measured() {
    assert!(bench("fsync --seconds 0.01 --rounds 1").contains("1024"));
}

#[test]
fn groups_are_measured_on_every_host() {
    for host in ["inline", "thread"] {
        let printed = bench(&format!("group --orders 2048 --rounds 1 --skus 10 --host {host}"));
        assert!(printed.contains("hot / uniform"), "{printed}");
    }
}
