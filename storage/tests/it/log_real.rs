//! The log on the file system.

use std::path::Path;
use std::sync::Arc;

use onrush_storage::disk::{DirLock, Disk, RealDisk};
use onrush_storage::log::{Log, LogOptions, Prepare};

use crate::log_stage::{append_one, read_all};

fn exercise(dir: &Path, prepare: Prepare) {
    let _lock = DirLock::acquire(dir).unwrap();
    let open = |epoch| {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir).unwrap());
        Log::open(disk, LogOptions { segment_bytes: 256 << 10, prepare, ..LogOptions::new(1, epoch) })
    };
    let (mut log, _) = open(1).unwrap();
    for _ in 0..200 {
        append_one(&mut log, 9000);
        log.release_below(log.end_lsn().saturating_sub(60));
    }
    log.seal(7).unwrap();
    let before = read_all(&log);
    assert_eq!(before.last().unwrap().0, 200);
    drop(log);
    let (mut log, recovery) = open(2).unwrap();
    assert!(recovery.sealed && recovery.cut.is_none() && recovery.end_lsn == 200);
    assert_eq!(read_all(&log), before);
    append_one(&mut log, 10);
    assert_eq!(read_all(&log).len(), before.len() + 1, "a direct write must reach the reader");
}

#[test]
fn works_on_a_file_system() {
    exercise(tempfile::tempdir().unwrap().path(), Prepare::Inline);
    exercise(tempfile::tempdir().unwrap().path(), Prepare::Background);
}

#[test]
fn works_in_memory_backed_directories() {
    if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
        exercise(dir.path(), Prepare::Background);
    }
}

/// Read-ahead brings pages behind the end into the page cache while they are being overwritten the
/// direct way: a reader at the writer's heels must never see what was there before.
#[test]
fn a_reader_at_the_heels_of_direct_writes_sees_every_frame_whole() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir.path()).unwrap());
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::new(1, 1) };
    let (mut log, _) = Log::open(disk, options).unwrap();
    append_one(&mut log, 10);
    let mut reader = log.reader();
    reader.seek(1).unwrap();
    let follower = std::thread::spawn(move || {
        let mut next = 1;
        while next <= 1500 {
            while let Some(frame) = reader.next_frame().unwrap() {
                assert_eq!(frame.info().first_lsn, next);
                next = frame.info().next_lsn();
            }
            std::thread::yield_now();
        }
    });
    for bytes in 1..1500 {
        append_one(&mut log, bytes * 7);
        log.release_below(log.end_lsn().saturating_sub(200));
    }
    follower.join().unwrap();
}
