//! Releasing segments, recycling their files, and readers that hold them.

use std::sync::Arc;

use onrush_storage::disk::{AlignedBuf, Disk, FaultDisk};
use onrush_storage::log::{AppendError, Damage, Log, OpenError, Prepare, ReadError};

use crate::log_stage::{SECTOR, append_one, open, options, read_all, read_on};

/// Two frames to a segment.
const SMALL: u64 = 3 * SECTOR;

fn filled(disk: &FaultDisk, frames: usize) -> Log {
    let (mut log, _) = open(disk, options(SMALL, 1)).unwrap();
    for _ in 0..frames {
        append_one(&mut log, 10);
    }
    log
}

#[test]
fn only_whole_segments_below_the_floor_go() {
    let disk = FaultDisk::new(1);
    let mut log = filled(&disk, 9);
    for (floor, first) in [(0, 1), (2, 1), (3, 3), (4, 3), (5, 5), (100, 9)] {
        log.release_below(floor);
        assert_eq!(log.first_lsn(), first, "floor {floor}");
    }
    assert_eq!(log.stats().segments, 1, "the segment being written stays");
    let error = log.reader().seek(8).unwrap_err();
    assert!(matches!(error, ReadError::OutOfRange { first: 9, found: 8 }), "{error}");
    let (log, recovery) = open(&disk, options(SMALL, 2)).unwrap();
    assert_eq!((recovery.first_lsn, recovery.end_lsn), (9, 9));
    assert_eq!(read_all(&log).len(), 1);
}

#[test]
fn released_files_are_used_again_and_the_directory_stops_growing() {
    let disk = FaultDisk::new(1);
    let mut log = filled(&disk, 8);
    log.release_below(7);
    let files = disk.list().unwrap().len();
    for _ in 0..40 {
        append_one(&mut log, 10);
        log.release_below(log.end_lsn() - 2);
    }
    assert_eq!(disk.list().unwrap().len(), files);
    assert!(log.stats().recycled >= 20, "{:?}", log.stats());
    let (log, _) = open(&disk, options(SMALL, 2)).unwrap();
    assert_eq!(read_all(&log).last().unwrap().0, 48);
}

#[test]
fn spares_beyond_the_limit_are_removed_and_those_of_another_size_too() {
    let disk = FaultDisk::new(1);
    let mut few = options(SMALL, 1);
    few.spares_max = 2;
    let (mut log, _) = open(&disk, few).unwrap();
    for _ in 0..12 {
        append_one(&mut log, 10);
    }
    log.release_below(100);
    assert_eq!(disk.list().unwrap(), ["000000000001.spare", "000000000002.spare", "000000000006.segment"]);
    let (mut log, _) = open(&disk, options(4 * SECTOR, 2)).unwrap();
    append_one(&mut log, 10);
    assert_eq!(disk.list().unwrap(), ["000000000006.segment", "000000000007.segment"]);
    assert_eq!(log.stats().recycled, 0);
}

/// A fuzzer removed the last segment and left a spare: a new log took it as its segment 1, whose header it still had, and
/// the next opening read the old life for the log.
#[test]
fn what_a_log_let_go_of_is_not_taken_for_a_new_one() {
    let disk = FaultDisk::new(1);
    let mut log = filled(&disk, 3);
    log.release_below(3);
    drop(log);
    assert_eq!(disk.list().unwrap(), ["000000000001.spare", "000000000002.segment"]);
    disk.remove("000000000002.segment").unwrap();
    let refused = || {
        let error = Log::open(Arc::new(disk.clone()), options(SMALL, 2)).err().unwrap();
        let OpenError::Corrupt { file, damage: Damage::NoSegment, .. } = &error else { panic!("{error}") };
        assert_eq!(file, "000000000001.spare");
    };
    refused();
    refused();
    // Nor if its first sector is lost, too, or a first segment stands beside it that has no frame.
    let mut zeros = AlignedBuf::default();
    zeros.extend_zeros(SECTOR as usize);
    disk.open("000000000001.spare").unwrap().write_durable(0, &zeros).unwrap();
    refused();
    disk.create("000000000001.segment", SMALL).unwrap();
    refused();
    disk.remove("000000000001.segment").unwrap();
    // One that was never written is what a crash leaves of a log that was about to begin.
    disk.remove("000000000001.spare").unwrap();
    disk.create("000000000001.spare", SMALL).unwrap();
    assert!(Log::open(Arc::new(disk.clone()), options(SMALL, 3)).is_ok());
}

#[test]
fn a_reader_holds_its_segment_and_all_later_ones() {
    let disk = FaultDisk::new(1);
    let mut log = filled(&disk, 9);
    let mut reader = log.reader();
    reader.seek(3).unwrap();
    log.release_below(100);
    assert_eq!(log.first_lsn(), 3);
    for _ in 0..6 {
        append_one(&mut log, 10);
    }
    let lsns: Vec<u64> = read_on(&mut reader).into_iter().map(|(lsn, _)| lsn).collect();
    assert_eq!(lsns, (3..=15).collect::<Vec<_>>());
    log.release_below(100);
    assert_eq!(log.first_lsn(), 15, "the reader moved on");
    drop(reader);
}

#[test]
fn a_reader_that_waited_for_the_first_frame_is_told_of_a_gap() {
    let disk = FaultDisk::new(1);
    let mut log = filled(&disk, 0);
    let (mut asked, mut any) = (log.reader(), log.reader());
    asked.seek(1).unwrap();
    assert!(asked.next_frame().unwrap().is_none());
    for _ in 0..9 {
        append_one(&mut log, 10);
    }
    log.release_below(100);
    assert!(matches!(asked.next_frame(), Err(ReadError::OutOfRange { first: 9, found: 1 })));
    assert_eq!(any.next_frame().unwrap().unwrap().info().first_lsn, 9);
}

#[test]
fn a_failed_release_poisons_rather_than_leave_a_gap() {
    let disk = FaultDisk::new(1);
    let mut log = filled(&disk, 9);
    disk.crash_after_steps(1);
    log.release_below(100);
    assert!(log.is_poisoned());
    let (log, recovery) = open(&disk, options(SMALL, 2)).unwrap();
    assert_eq!(recovery.end_lsn, 9);
    assert_eq!(read_all(&log).len() as u64, 10 - recovery.first_lsn);
}

#[test]
fn a_background_thread_prepares_and_recycles_while_readers_read() {
    let disk = FaultDisk::new(1);
    let mut background = options(16 * SECTOR, 1);
    background.prepare = Prepare::Background;
    let (mut log, _) = Log::open(Arc::new(disk.clone()), background).unwrap();
    append_one(&mut log, 10);
    let mut reader = log.reader();
    reader.seek(1).unwrap();
    let follower = std::thread::spawn(move || {
        let mut seen = 0;
        while seen < 500 {
            while let Some(frame) = reader.next_frame().unwrap() {
                assert_eq!(frame.info().first_lsn, seen + 1);
                seen = frame.info().next_lsn() - 1;
            }
            std::thread::yield_now();
        }
    });
    for _ in 1..500 {
        append_one(&mut log, 10);
        log.release_below(log.end_lsn().saturating_sub(40));
    }
    follower.join().unwrap();
    log.release_below(log.end_lsn().saturating_sub(40));
    assert_eq!(log.stats().durable_writes, disk.durable_writes());
    drop(log);
    let (mut log, recovery) = Log::open(Arc::new(disk.clone()), background).unwrap();
    assert_eq!((recovery.end_lsn, recovery.cut.clone()), (500, None));
    assert!(recovery.first_lsn > 400, "{recovery:?}");
    append_one(&mut log, 10);
    assert_eq!(read_all(&log).last().unwrap().0, 501);
}

#[test]
fn a_background_release_that_fails_poisons_at_the_next_append() {
    let disk = FaultDisk::new(1);
    let mut background = options(SMALL, 1);
    background.prepare = Prepare::Background;
    let (mut log, _) = Log::open(Arc::new(disk.clone()), background).unwrap();
    for _ in 0..9 {
        append_one(&mut log, 10);
    }
    // The worker may be making a segment of its own accord; both fail the same way.
    disk.remove("000000000001.segment").unwrap();
    log.release_below(100);
    let error = (0..10_000).find_map(|_| {
        std::thread::yield_now();
        log.append(&mut crate::log_stage::frame_of(&[]), 1).err()
    });
    assert!(matches!(error, Some(AppendError::Write { .. })), "{error:?}");
    assert!(log.is_poisoned());
}
