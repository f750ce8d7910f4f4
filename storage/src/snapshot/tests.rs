//! Snapshots on a disk in memory that can lose power.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use proptest::prelude::*;

use super::{
    Newest, SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter, format::file_name, named,
    newest_verified, prune,
};
use crate::disk::{AlignedBuf, Disk, DiskFile};

/// Files by name; what was written is lost with the power until it is synced.
#[derive(Clone, Default)]
struct TestDisk(Arc<Mutex<BTreeMap<String, TestFile>>>);

#[derive(Clone, Default)]
struct TestFile {
    written: Arc<Mutex<Vec<u8>>>,
    synced: Arc<Mutex<Vec<u8>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TestDisk {
    fn lose_power(&self) {
        for file in lock(&self.0).values() {
            let synced = lock(&file.synced).clone();
            *lock(&file.written) = synced;
        }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        lock(&lock(&self.0)[name].written).clone()
    }

    fn put(&self, name: &str, bytes: Vec<u8>) {
        let file =
            TestFile { written: Arc::new(Mutex::new(bytes.clone())), synced: Arc::new(Mutex::new(bytes)) };
        lock(&self.0).insert(name.into(), file);
    }
}

impl Disk for TestDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = lock(&self.0).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(file))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        self.put(name, vec![0; len as usize]);
        self.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.0);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn sync_entries(&self) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.0).remove(name).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for TestFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.written).len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = lock(&self.written);
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        // Short reads are legal.
        let len = rest.len().min(buf.len()).min(1000);
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = lock(&self.written);
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if written.len() < end {
            written.resize(end, 0);
        }
        written[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let written = lock(&self.written).clone();
        *lock(&self.synced) = written;
        Ok(())
    }

    fn write_durable(&self, offset: u64, sectors: &AlignedBuf) -> io::Result<()> {
        self.write_at(offset, sectors.sectors())?;
        self.sync()
    }
}

fn header(lsn: u64) -> SnapshotHeader {
    SnapshotHeader { shard: 3, lsn, term: 2, time_us: 77, index: lsn / 2, state_hash: u128::from(lsn) << 65 }
}

type Row = (u8, Vec<u8>, Vec<u8>);

fn write(disk: &TestDisk, lsn: u64, rows: &[Row]) -> String {
    let mut writer = SnapshotWriter::create(Arc::new(disk.clone()), header(lsn)).unwrap();
    for (section, key, value) in rows {
        writer.push(*section, key, value).unwrap();
    }
    writer.finish().unwrap().name
}

fn read(disk: &TestDisk, name: &str) -> Result<Vec<Row>, SnapshotError> {
    let mut rows = Vec::new();
    let reader = SnapshotReader::open(disk, name)?;
    reader.rows(|section, key, value| rows.push((section, key.to_vec(), value.to_vec())))?;
    Ok(rows)
}

fn few_rows() -> Vec<Row> {
    (0..20u8).map(|row| (row / 8, vec![row], vec![row; usize::from(row)])).collect()
}

fn lsn_of(newest: &Newest) -> Option<u64> {
    newest.reader.as_ref().map(|reader| reader.header().lsn)
}

proptest! {
    #[test]
    fn what_is_written_is_read(rows in prop::collection::btree_map(
        (0u8..3, prop::collection::vec(any::<u8>(), 0..5)),
        (any::<u8>(), 0usize..20_000).prop_map(|(byte, len)| vec![byte; len]),
        0..40,
    )) {
        let disk = TestDisk::default();
        let rows: Vec<Row> = rows.into_iter().map(|((section, key), value)| (section, key, value)).collect();
        let name = write(&disk, 9, &rows);
        let reader = SnapshotReader::open(&disk, &name).unwrap();
        prop_assert_eq!(reader.header(), &header(9));
        prop_assert_eq!(reader.summary().rows, rows.len() as u64);
        prop_assert_eq!(reader.summary().bytes, disk.bytes(&name).len() as u64);
        reader.verify().unwrap();
        prop_assert_eq!(read(&disk, &name).unwrap(), rows);
    }
}

#[test]
fn rows_out_of_order_are_refused() {
    let disk = TestDisk::default();
    let mut writer = SnapshotWriter::create(Arc::new(disk), header(1)).unwrap();
    writer.push(1, b"b", b"").unwrap();
    for (section, key) in [(1, &b"b"[..]), (1, b"a"), (0, b"z")] {
        let refused = writer.push(section, key, b"").unwrap_err();
        assert!(matches!(refused, SnapshotError::OutOfOrder { .. }), "{refused}");
    }
    writer.push(2, b"a", b"").unwrap();
}

#[test]
fn a_flip_of_any_bit_and_any_truncation_is_damage() {
    let disk = TestDisk::default();
    let name = write(&disk, 5, &few_rows());
    let sound = disk.bytes(&name);
    for at in 0..sound.len() * 8 {
        let mut flipped = sound.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        disk.put(&name, flipped);
        let damage = read(&disk, &name).unwrap_err();
        assert!(matches!(damage, SnapshotError::Damaged { .. }), "bit {at}: {damage}");
    }
    for len in 0..sound.len() {
        disk.put(&name, sound[..len].to_vec());
        let damage = read(&disk, &name).unwrap_err();
        assert!(matches!(damage, SnapshotError::Damaged { .. }), "length {len}: {damage}");
    }
    disk.put(&name, [&sound[..], b"more"].concat());
    read(&disk, &name).unwrap_err();
}

#[test]
fn a_block_swapped_with_one_of_another_place_is_damage() {
    let disk = TestDisk::default();
    // One row a block, all blocks of one size.
    let rows: Vec<Row> = (0..3u8).map(|row| (0, vec![row], vec![row; 70_000])).collect();
    let name = write(&disk, 5, &rows);
    let mut bytes = disk.bytes(&name);
    let block = (bytes.len() - 64 - 48) / 3;
    let (first, second) = bytes[64..].split_at_mut(block);
    first.swap_with_slice(&mut second[..block]);
    disk.put(&name, bytes);
    read(&disk, &name).unwrap_err();
}

#[test]
fn a_snapshot_under_another_lsn_is_damage() {
    let disk = TestDisk::default();
    let name = write(&disk, 5, &few_rows());
    disk.rename(&name, &file_name(6, "snap")).unwrap();
    read(&disk, &file_name(6, "snap")).unwrap_err();
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_ones() {
    let disk = TestDisk::default();
    write(&disk, 5, &few_rows());
    let mut writer = SnapshotWriter::create(Arc::new(disk.clone()), header(9)).unwrap();
    for (section, key, value) in few_rows() {
        writer.push(section, &key, &value).unwrap();
    }
    drop(writer);
    disk.lose_power();
    let newest = newest_verified(&disk).unwrap();
    assert_eq!((lsn_of(&newest), newest.damaged.len()), (Some(5), 0));
    let pruned = prune(&disk, 2, u64::MAX).unwrap();
    assert_eq!((pruned.kept, pruned.removed), (vec![5], vec![file_name(9, "tmp")]));
}

#[test]
fn a_finished_snapshot_survives_the_loss_of_power() {
    let disk = TestDisk::default();
    let name = write(&disk, 5, &few_rows());
    disk.lose_power();
    assert_eq!(read(&disk, &name).unwrap(), few_rows());
}

#[test]
fn the_newest_verified_one_is_found_and_the_damaged_ones_are_named() {
    let disk = TestDisk::default();
    for lsn in [5, 10, 100] {
        write(&disk, lsn, &few_rows());
    }
    disk.put("notes.snap", vec![]);
    disk.put(&file_name(100, "snap"), disk.bytes(&file_name(10, "snap")));
    let newest = newest_verified(&disk).unwrap();
    assert_eq!(lsn_of(&newest), Some(10));
    assert_eq!(newest.damaged[0].0, file_name(100, "snap"));
    assert!(newest_verified(&TestDisk::default()).unwrap().reader.is_none());
}

#[test]
fn pruning_counts_only_verified_ones_and_removes_nothing_while_they_are_too_few() {
    let disk = TestDisk::default();
    for lsn in [1, 2, 3, 4] {
        write(&disk, lsn, &few_rows());
    }
    disk.put(&file_name(3, "snap"), vec![0; 500]);
    let pruned = prune(&disk, 2, u64::MAX).unwrap();
    assert_eq!(pruned.kept, [4, 2]);
    assert_eq!(pruned.removed, [file_name(3, "snap"), file_name(1, "snap")]);
    disk.put(&file_name(4, "snap"), vec![0; 500]);
    let pruned = prune(&disk, 2, u64::MAX).unwrap();
    assert_eq!((pruned.kept, pruned.removed), (vec![2], vec![]));
}

/// Consumers may be behind both of the newest: whoever begins anew from a snapshot is to have the log that they lack.
#[test]
fn one_in_front_of_what_is_needed_is_kept_besides() {
    let disk = TestDisk::default();
    assert_eq!(named(&disk).unwrap(), []);
    for lsn in [10, 20, 30, 40] {
        write(&disk, lsn, &few_rows());
    }
    assert_eq!(named(&disk).unwrap(), [40, 30, 20, 10]);
    let pruned = prune(&disk, 2, 25).unwrap();
    assert_eq!((pruned.kept, pruned.removed), (vec![40, 30, 20], vec![file_name(10, "snap")]));
    assert_eq!(prune(&disk, 2, 20).unwrap().kept, [40, 30], "none is in front of it");
    write(&disk, 50, &few_rows());
    disk.put(&file_name(40, "snap"), vec![0; 500]);
    let pruned = prune(&disk, 2, 40).unwrap();
    assert_eq!((pruned.kept, pruned.removed), (vec![50, 30], vec![file_name(40, "snap")]));
}
