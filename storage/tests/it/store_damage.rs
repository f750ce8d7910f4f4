//! A damaged store says so when it opens or when it is read; it never answers wrongly.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use onrush_storage::store::{
    FjallOptions, FjallStore, KeyOrder, Keyspace, OpenError, SortedRun, Store, StoreError, WHOLE_RANGE,
};

type Row = (Vec<u8>, Vec<u8>);

const LSN_LAST: u64 = 3;

fn write_store(dir: &Path) {
    let mut store = FjallStore::open(dir, FjallOptions::default()).unwrap();
    for lsn in 1..=LSN_LAST {
        let mut builder = SortedRun::builder();
        for row in 0..20u64 {
            builder.push(&(row * lsn).to_be_bytes(), Some(&lsn.to_be_bytes()));
        }
        let run = builder.finish();
        store.ingest(Keyspace::History, &run, lsn).unwrap();
        store.ingest(Keyspace::Current, &run, lsn).unwrap();
    }
    store.settle().unwrap();
    Box::new(store).close().unwrap();
}

/// All rows of both keyspaces, or the reason why not.
fn read_all(dir: &Path) -> Result<Vec<Row>, String> {
    let store = FjallStore::open(dir, FjallOptions::default()).map_err(|error| match error {
        OpenError::Damaged { detail, .. } => detail,
        other => panic!("damage taken for something else: {other}"),
    })?;
    let mut rows = Vec::new();
    for keyspace in Keyspace::ALL {
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        let scanned = store.reader().scan(keyspace, WHOLE_RANGE, KeyOrder::Ascending, visit);
        scanned.map_err(|error| match error {
            StoreError::Damaged { detail, .. } => detail,
            other => panic!("damage taken for something else: {other}"),
        })?;
        rows.push((keyspace.name().into(), store.applied(keyspace).to_be_bytes().to_vec()));
    }
    Ok(rows)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

#[test]
fn a_flipped_bit_is_reported_or_harmless() {
    let (original, damaged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_store(original.path());
    copy(original.path(), damaged.path());
    let sound = read_all(damaged.path()).unwrap();
    let (mut flips, mut reported) = (0, 0);
    for file in files(original.path()) {
        let bytes = fs::read(&file).unwrap();
        let stride = (bytes.len() / 4).max(1);
        for at in (0..bytes.len()).step_by(stride) {
            fs::remove_dir_all(damaged.path()).unwrap();
            copy(original.path(), damaged.path());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(damaged.path().join(file.strip_prefix(original.path()).unwrap()), flipped).unwrap();
            flips += 1;
            match read_all(damaged.path()) {
                Ok(rows) => assert_eq!(rows, sound, "byte {at} of {} changed the rows", file.display()),
                Err(_) => reported += 1,
            }
        }
    }
    assert!(reported * 4 > flips, "{reported} of {flips} flips reported");
}

#[test]
fn a_missing_table_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    write_store(dir.path());
    let tables = files(dir.path());
    let table = tables.iter().find(|file| file.parent().unwrap().ends_with("1/tables")).unwrap();
    fs::remove_file(table).unwrap();
    read_all(dir.path()).unwrap_err();
}

#[test]
fn a_directory_in_use_is_locked_not_damaged_and_a_reader_is_told_at_close() {
    let dir = tempfile::tempdir().unwrap();
    let store = FjallStore::open(dir.path(), FjallOptions::default()).unwrap();
    let second = FjallStore::open(dir.path(), FjallOptions::default());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    let reader = store.reader();
    let closed = Box::new(store).close();
    assert!(matches!(closed, Err(StoreError::ReadersOpen { readers: 1 })));
    drop(reader);
    FjallStore::open(dir.path(), FjallOptions::default()).unwrap();
}
