//! Property: `fjall` and `memory` answer alike over any sequence of runs, reads and reopenings.

use std::{
    ops::{Bound, ControlFlow},
    path::Path,
};

use onrush_storage::store::{
    FjallOptions, FjallStore, KeyOrder, Keyspace, MemoryStore, SortedRun, Store, StoreError, StoreReader,
};
use proptest::prelude::*;

type Key = Vec<u8>;
type Row = (Key, Option<Vec<u8>>);

#[derive(Clone, Debug)]
enum Step {
    Ingest { keyspace: Keyspace, rows: Vec<Row> },
    Get { keyspace: Keyspace, key: Key },
    Scan { keyspace: Keyspace, from: Bound<Key>, to: Bound<Key>, limit: usize },
    Freeze,
    Settle,
    Reopen,
}

/// Few enough to collide often, many of them prefixes of others, some above every byte of the
/// store's own key.
fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0x7F, 0xFF]), 1..4)
}

fn bound() -> impl Strategy<Value = Bound<Key>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

fn step() -> impl Strategy<Value = Step> {
    let keyspace = || prop::sample::select(Keyspace::ALL.to_vec());
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..8));
    let rows = prop::collection::vec((key(), value), 0..12);
    prop_oneof![
        8 => (keyspace(), rows).prop_map(|(keyspace, rows)| Step::Ingest { keyspace, rows }),
        3 => (keyspace(), key()).prop_map(|(keyspace, key)| Step::Get { keyspace, key }),
        4 => (keyspace(), bound(), bound(), 0..20usize)
            .prop_map(|(keyspace, from, to, limit)| Step::Scan { keyspace, from, to, limit }),
        1 => Just(Step::Freeze),
        1 => Just(Step::Settle),
        1 => Just(Step::Reopen),
    ]
}

fn options() -> FjallOptions {
    let mut options = FjallOptions { cache_bytes: 1 << 20, ..FjallOptions::default() };
    options.history.level0_threshold = 3;
    options
}

fn open(dir: &Path) -> FjallStore {
    FjallStore::open(dir, options()).unwrap()
}

fn run(rows: &[Row]) -> SortedRun {
    let mut builder = SortedRun::builder();
    for (key, value) in rows {
        builder.push(key, value.as_deref());
    }
    builder.finish()
}

type Rows = Vec<(Key, Vec<u8>)>;

fn scan(
    reader: &dyn StoreReader,
    keyspace: Keyspace,
    (from, to): (&Bound<Key>, &Bound<Key>),
    limit: usize,
) -> (Rows, Rows) {
    let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
    let rows = |order| {
        let mut rows = Vec::new();
        reader.scan(keyspace, range, order, &mut collect(&mut rows, limit)).unwrap();
        rows
    };
    (rows(KeyOrder::Ascending), rows(KeyOrder::Descending))
}

fn collect(rows: &mut Rows, limit: usize) -> impl FnMut(&[u8], &[u8]) -> ControlFlow<()> {
    move |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn everything(reader: &dyn StoreReader) -> [(Rows, Rows); 2] {
    Keyspace::ALL.map(|keyspace| scan(reader, keyspace, (&Bound::Unbounded, &Bound::Unbounded), usize::MAX))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn fjall_and_memory_are_equal(steps in prop::collection::vec(step(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path());
        let mut memory = MemoryStore::new();
        let mut frozen = None;
        for (lsn, step) in (1..).zip(steps) {
            match step {
                Step::Ingest { keyspace, rows } => {
                    disk.ingest(keyspace, &run(&rows), lsn).unwrap();
                    memory.ingest(keyspace, &run(&rows), lsn).unwrap();
                }
                Step::Get { keyspace, key } => {
                    prop_assert_eq!(
                        disk.reader().get(keyspace, &key).unwrap(),
                        memory.reader().get(keyspace, &key).unwrap()
                    );
                }
                Step::Scan { keyspace, from, to, limit } => {
                    prop_assert_eq!(
                        scan(&*disk.reader(), keyspace, (&from, &to), limit),
                        scan(&*memory.reader(), keyspace, (&from, &to), limit)
                    );
                }
                Step::Freeze => {
                    frozen = Some((disk.reader().freeze().unwrap(), memory.reader().freeze().unwrap()));
                }
                Step::Settle => disk.settle().unwrap(),
                Step::Reopen => {
                    frozen = None;
                    Box::new(disk).close().unwrap();
                    disk = open(dir.path());
                }
            }
            for keyspace in Keyspace::ALL {
                prop_assert_eq!(disk.applied(keyspace), memory.applied(keyspace));
            }
            if let Some((disk, memory)) = &frozen {
                prop_assert_eq!(disk.history_applied, memory.history_applied);
                prop_assert_eq!(disk.current_applied, memory.current_applied);
                prop_assert_eq!(everything(&*disk.reader), everything(&*memory.reader));
            }
        }
        prop_assert_eq!(everything(&*disk.reader()), everything(&*memory.reader()));
    }
}

#[test]
fn a_run_that_is_not_newer_or_uses_a_reserved_key_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Box<dyn Store>; 2] = [Box::new(open(dir.path())), Box::new(MemoryStore::new())];
    for mut store in stores {
        let row = |key: &[u8]| run(&[(key.to_vec(), Some(vec![1]))]);
        store.ingest(Keyspace::History, &row(b"a"), 7).unwrap();
        let stale = store.ingest(Keyspace::History, &row(b"b"), 7).unwrap_err();
        assert!(matches!(stale, StoreError::AppliedNotGrown { held: 7, offered: 7, .. }), "{stale}");
        let reserved = store.ingest(Keyspace::History, &row(b"b\xFFapplied lsn"), 8).unwrap_err();
        assert!(matches!(reserved, StoreError::ReservedKey { .. }), "{reserved}");
        let empty = store.ingest(Keyspace::History, &row(b""), 8).unwrap_err();
        assert!(matches!(empty, StoreError::KeySize { bytes: 0, .. }), "{empty}");
        assert_eq!((store.applied(Keyspace::History), store.applied(Keyspace::Current)), (7, 0));
        store.ingest(Keyspace::History, &row(b"c"), 8).unwrap();
        assert_eq!(store.reader().get(Keyspace::History, b"b").unwrap(), None);
    }
}

#[test]
fn level_0_stays_within_its_limit_however_fast_runs_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.level0_runs_max = 6;
    let mut store = FjallStore::open(dir.path(), options).unwrap();
    for lsn in 1..=300u64 {
        let rows: Vec<Row> = (0..20u64)
            .map(|row| ((lsn * 31 * row % 97).to_be_bytes().to_vec(), Some(lsn.to_be_bytes().to_vec())))
            .collect();
        store.ingest(Keyspace::History, &run(&rows), lsn).unwrap();
        assert!(store.level0_runs(Keyspace::History) <= 7);
    }
}
