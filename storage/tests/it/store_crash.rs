//! A run is there whole or not at all, whenever the process dies.
//!
//! The test binary runs itself again as the victim, which ingests one run after the other and tells
//! each that returned; the parent kills it with SIGKILL in the middle of a later one.

use std::{
    io::{BufRead, BufReader, Write},
    ops::ControlFlow,
    path::Path,
    process::{Command, Stdio},
};

use onrush_storage::store::{FjallOptions, FjallStore, KeyOrder, Keyspace, SortedRun, Store, WHOLE_RANGE};

const DIR: &str = "ONRUSH_STORE_VICTIM_DIR";
const ROWS: u64 = 5_000;
const KILLS: u64 = 12;

/// Every run rewrites every third row of the ones before and adds rows of its own.
fn run(lsn: u64) -> SortedRun {
    let mut builder = SortedRun::builder();
    for row in 0..ROWS {
        let key = if row % 3 == 0 { row } else { lsn * ROWS + row };
        builder.push(&key.to_be_bytes(), Some(&lsn.to_be_bytes()));
    }
    builder.finish()
}

/// Not a test of its own: does nothing unless the test below starts it.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut store = FjallStore::open(Path::new(&dir), FjallOptions::default()).unwrap();
    let mut told = std::io::stdout();
    // Replay from the lower applied index, as the engine does: Current may lack the last run.
    for lsn in store.applied(Keyspace::Current) + 1..=store.applied(Keyspace::History) {
        store.ingest(Keyspace::Current, &run(lsn), lsn).unwrap();
    }
    for lsn in store.applied(Keyspace::History) + 1.. {
        store.ingest(Keyspace::History, &run(lsn), lsn).unwrap();
        writeln!(told, "ingested {lsn}").unwrap();
        store.ingest(Keyspace::Current, &run(lsn), lsn).unwrap();
    }
}

#[test]
fn a_killed_ingestion_leaves_its_run_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    for kill in 1..=KILLS {
        let last_told = kill_after(dir.path(), kill % 4 + 1);
        let store = FjallStore::open(dir.path(), FjallOptions::default()).unwrap();
        let history = store.applied(Keyspace::History);
        let current = store.applied(Keyspace::Current);
        assert!(history >= last_told, "lsn {last_told} was ingested, found {history}");
        assert!(current <= history && current + 1 >= last_told, "{current} of {history}");
        for (keyspace, applied) in [(Keyspace::History, history), (Keyspace::Current, current)] {
            check_whole(&store, keyspace, applied);
        }
        Box::new(store).close().unwrap();
    }
}

/// Starts the victim, waits for so many ingestions, kills it; returns the last it told.
fn kill_after(dir: &Path, ingestions: u64) -> u64 {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store_crash::victim", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(victim.stdout.take().unwrap()).lines();
    // The harness writes the name of the test before the first line, without a line end.
    let mut lsns = told.filter_map(|line| line.unwrap().split_once("ingested ")?.1.parse().ok());
    let last = lsns.by_ref().take(usize::try_from(ingestions).unwrap()).last();
    victim.kill().unwrap();
    victim.wait().unwrap();
    lsns.last().or(last).expect("the victim ingested a run")
}

fn check_whole(store: &FjallStore, keyspace: Keyspace, applied: u64) {
    let mut expected = SortedRun::default();
    for lsn in 1..=applied {
        expected = SortedRun::merge(&[&expected, &run(lsn)]);
    }
    let mut rows = expected.iter();
    let visit = &mut |key: &[u8], value: &[u8]| {
        assert_eq!(rows.next(), Some((key, Some(value))), "at applied {applied}");
        ControlFlow::Continue(())
    };
    store.reader().scan(keyspace, WHOLE_RANGE, KeyOrder::Ascending, visit).unwrap();
    assert_eq!(rows.len(), 0, "rows of a run are missing at applied {applied}");
}
