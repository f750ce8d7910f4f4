//! Every case runs, at a scale that measures nothing, so that none rots. A server that is not here is named.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a run may make no progress before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

fn peers(arguments: &str, dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush-peers"));
    command.args(arguments.split_whitespace()).arg("--dir").arg(dir).output().unwrap()
}

/// What a short run of some cases prints.
fn brief(only: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let ended = peers(&format!("--rounds 1 --seconds 0.2 --warm 0.05 {only}"), dir.path());
    let (printed, error) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{only}: {printed}{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "everything is removed");
    printed.into_owned()
}

/// The rates of all rows of cases, `None` where something is missing.
fn rates(printed: &str) -> Vec<Option<f64>> {
    let rows = printed.split("| compared |").next().unwrap().lines().filter(|line| line.starts_with("| "));
    let cells = rows.skip(1).map(|row| row.split('|').nth(2).unwrap().trim().replace(',', ""));
    cells.map(|cell| cell.parse().ok()).collect()
}

/// Runs cases of one server, or says that it is not here.
fn peer(name: &str, cases: usize) {
    let printed = brief(&format!("--only {name}-"));
    let rates = rates(&printed);
    assert_eq!(rates.len(), cases, "{printed}");
    let lacks =
        |row: &&str| row.starts_with("| ") && (row.contains(" here (") || row.contains("no such mode"));
    let skipped: Vec<&str> = printed.lines().filter(lacks).collect();
    skipped.iter().for_each(|row| eprintln!("skipped: {row}"));
    let measured = rates.iter().flatten().filter(|rate| **rate > 0.0).count();
    assert_eq!(measured + skipped.len(), cases, "{printed}");
}

#[test]
fn redis_is_measured() {
    peer("redis", 8);
}

#[test]
fn postgres_is_measured() {
    peer("postgres", 3);
}

#[test]
fn nats_is_measured() {
    peer("nats", 2);
}

#[test]
fn onrush_is_measured() {
    let printed = brief("--only onrush-");
    let rates = rates(&printed);
    assert_eq!(rates.len(), 15, "{printed}");
    assert!(rates.iter().all(|rate| rate.is_some_and(|rate| rate > 0.0)), "{printed}");
    for claim in [
        "TCP, batches of 8,192, orders/s | >= 1,000,000",
        "QUIC batches against TCP batches | >= 0.33x",
        "gRPC session against TCP, 64 orders per message | >= 0.70x",
    ] {
        assert!(printed.contains(&format!("| {claim} |")), "{claim}: {printed}");
    }
}

#[test]
fn limits_are_measured_and_written_between_the_marks() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    let write = format!("--only limit- --write {}", page.display());
    fs::write(&page, "# Page\n").unwrap();
    let ended = peers(&format!("--seconds 3600 {write}"), dir.path());
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && error.contains("<!-- peers -->"), "{error}");
    fs::write(&page, "# Page\n<!-- peers -->\nold\n<!-- /peers -->\nend\n").unwrap();
    let printed = brief(&write);
    assert_eq!(rates(&printed).iter().flatten().count(), 5, "{printed}");
    let text = fs::read_to_string(&page).unwrap();
    assert_eq!(text, format!("# Page\n<!-- peers -->\n\n{}\n\n<!-- /peers -->\nend\n", printed.trim()));
}

#[test]
fn options_are_checked_before_anything_is_started() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        ("--rounds 0", "0 is not in 1.."),
        ("--seconds 0", "expected seconds, 0.01 to 3600"),
        ("--warm much", "expected seconds, 0.01 to 3600"),
        ("--only mysql", "expected part of one of limit-write, "),
        ("--write /nowhere/page.md", "No such file"),
    ] {
        let ended = peers(arguments, dir.path());
        let error = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && error.contains(expected), "{arguments}: {error}");
    }
    let ended = peers("--list --nats-server /nowhere/nats-server", dir.path());
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(printed.contains("no nats-server at /nowhere/nats-server"), "{printed}");
    assert!(printed.lines().any(|line| line.starts_with("onrush-tcp-batch ")), "{printed}");
}

/// Processes whose command line names the directory of a run, or that are in it.
fn processes(dir: &Path) -> usize {
    let dir = dir.join("onrush-bench-").to_string_lossy().into_owned();
    let named = |entry: &fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let place = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&dir) || place.to_string_lossy().starts_with(&dir)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(named).count()
}

/// Waits until so many processes of a run are as they should be.
fn wait_for(dir: &Path, what: &str, wanted: impl Fn(usize) -> bool) {
    let start = Instant::now();
    while !wanted(processes(dir)) {
        assert!(start.elapsed() < PATIENCE, "{what}: found {} processes", processes(dir));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Nobody can do anything about a SIGKILL: what was started ends by itself.
#[test]
fn servers_do_not_outlive_a_run_that_is_killed() {
    let listed = peers("--list", tempfile::tempdir().unwrap().path());
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    // PostgreSQL has many once its connections are there, and a few while its files are made.
    for (case, least) in [
        ("limit-roundtrip", 1),
        ("onrush-tcp-lone", 1),
        ("redis-get", 1),
        ("postgres-hot", 20),
        ("nats-later", 1),
    ] {
        let row = listed.lines().find(|row| row.starts_with(&format!("{case} "))).unwrap();
        if row.ends_with(']') {
            eprintln!("skipped: {row}");
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        // A server of another account has to be able to walk there.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrush-peers"));
        command.args(["--seconds", "3600", "--only", case, "--dir"]).arg(dir.path());
        let mut run: Child = command.stderr(Stdio::null()).spawn().unwrap();
        wait_for(dir.path(), &format!("{case} that runs"), |found| found >= least);
        run.kill().unwrap();
        run.wait().unwrap();
        wait_for(dir.path(), &format!("{case} that ends"), |found| found == 0);
    }
}

#[test]
fn a_signal_ends_the_run_and_its_servers() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrush-peers"));
        command.args(["--seconds", "3600", "--only", "onrush-tcp-lone", "--dir"]).arg(dir.path());
        let run: Child = command.stderr(Stdio::piped()).spawn().unwrap();
        while processes(dir.path()) == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        kill_process(Pid::from_raw(run.id() as i32).unwrap(), signal).unwrap();
        let ended = run.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && error.contains("found \"a signal\""), "{error}");
        assert_eq!((processes(dir.path()), fs::read_dir(dir.path()).unwrap().count()), (0, 0));
    }
}
