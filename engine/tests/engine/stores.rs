//! Stores that lag, that are seldom looked after, and that were not finished.

use onrush_engine::{Engine, EngineOptions, FlushOptions, HostKind, verify};
use onrush_proto::{Outcome, Refusal};

use super::{options, order, stocked};

/// A store that lags by more than its bound holds up admission; whoever waits gets an answer when it has caught up,
/// though on the inline host nobody else comes back to it. What another shard has to decide may be refused.
#[test]
fn admission_waits_for_a_store_that_lags_on_every_host() {
    for (host, shards) in
        [(HostKind::Inline, 1), (HostKind::Thread, 1), (HostKind::Inline, 4), (HostKind::Thread, 4)]
    {
        let dir = tempfile::tempdir().unwrap();
        let flush = FlushOptions { lag_bytes_max: 1_000, ..FlushOptions::default() };
        let open = || {
            Engine::open(EngineOptions {
                host,
                shards: Some(shards),
                flush,
                segment_bytes: 1 << 20,
                ..options(dir.path())
            })
            .unwrap()
        };
        let mut engine = open();
        let sku = stocked(&engine, "console", 100);
        for number in 0..40 {
            let placed = || engine.handle().call_blocking(order(&engine, sku, number)).outcome;
            let mut outcome = placed();
            while outcome == Outcome::Refused(Refusal::Overloaded) {
                outcome = placed();
            }
            assert!(matches!(outcome, Outcome::Accepted(_)), "{host:?}, {shards} shards: {outcome:?}");
            if number == 20 {
                // What is replayed is absorbed again: it counts as committed too.
                engine.close().unwrap();
                engine = open();
            }
        }
        assert!(engine.handle().audit().unwrap().ok);
        engine.close().unwrap();
    }
}

/// The next snapshot used to be due by the log since the start: who was restarted before that much had come never
/// took one, and the log was never released.
#[test]
fn snapshots_are_taken_though_every_life_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let flush = FlushOptions { log_bytes: 1, snapshot_bytes: 40_000, ..FlushOptions::default() };
    let mut shelves = Vec::new();
    for life in 0..8 {
        let options = EngineOptions { flush, segment_bytes: 1 << 20, ..options(dir.path()) };
        let engine = Engine::open(options).unwrap();
        let sku = stocked(&engine, "console", 10);
        for number in 0..10 {
            engine.handle().call_blocking(order(&engine, sku, 10 * life + number));
        }
        engine.close().unwrap();
        let shelf = std::fs::read_dir(dir.path().join("shard-000/snapshots")).unwrap();
        shelves.push(shelf.count());
    }
    assert_eq!((shelves[0], shelves[7]), (0, 2), "{shelves:?}");
    assert!(verify(dir.path()).unwrap().ok);
}

/// Half filled from a snapshot, a store may look like one that the log continues. It is begun anew.
#[test]
fn a_store_that_was_being_filled_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(dir.path())).unwrap();
    let sku = stocked(&engine, "console", 10);
    let placed = engine.handle().call_blocking(order(&engine, sku, 1));
    engine.close().unwrap();
    let shard = dir.path().join("shard-000");
    // Rows are missing that the log had put there.
    std::fs::remove_dir_all(shard.join("store")).unwrap();
    let half = EngineOptions { shards: Some(1), ..options(&dir.path().join("other")) };
    let half = Engine::open(half).unwrap();
    stocked(&half, "tea", 1);
    half.close().unwrap();
    std::fs::rename(dir.path().join("other/shard-000/store"), shard.join("store")).unwrap();
    std::fs::remove_dir_all(dir.path().join("other")).unwrap();
    let mark = shard.join("store-is-being-filled");
    std::fs::write(&mark, []).unwrap();
    let engine = Engine::open(options(dir.path())).unwrap();
    assert!(!mark.exists());
    assert_eq!(engine.handle().stock(&"tea".parse().unwrap()), None);
    assert_eq!(engine.handle().stock(&sku).map(|view| view.available), Some(9));
    let again = engine.handle().call_blocking(order(&engine, sku, 1));
    assert_eq!((again.replayed, again.outcome), (true, placed.outcome));
    engine.close().unwrap();
}
