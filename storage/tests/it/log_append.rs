//! Appending, reading, seeking, reopening; and what a failing disk does to a log.

use onrush_storage::disk::{Disk, FaultDisk, FaultPlan};
use onrush_storage::log::{AppendError, FLAG_SEAL, Frame, FrameBuf, OpenError, ReadError};
use proptest::prelude::*;

use crate::log_stage::{Pushed, SECTOR, append_one, frame_of, open, options, read_all, read_on, record};

#[test]
fn a_fresh_log_is_empty_and_numbers_from_one() {
    let disk = FaultDisk::new(1);
    let (mut log, recovery) = open(&disk, options(64 << 10, 1)).unwrap();
    assert_eq!((recovery.first_lsn, recovery.end_lsn, recovery.sealed), (1, 0, false));
    assert_eq!((log.first_lsn(), log.end_lsn(), log.term()), (1, 0, 0));
    log.seal(5).unwrap();
    assert_eq!(disk.durable_writes(), 0, "there is nothing to seal");
    log.set_term(4);
    let mut frame = frame_of(&[record(0, 1, 10), record(0, 2, 0)]);
    let info = log.append(&mut frame, 77).unwrap();
    assert_eq!((info.first_lsn, info.record_count, info.term, info.time_us, info.flags), (1, 2, 4, 77, 0));
    assert_eq!(frame.view().info(), info);
    assert_eq!(Frame::parse(frame.sectors()).unwrap(), frame.to_frame());
    assert_eq!((log.first_lsn(), log.end_lsn()), (1, 2));
}

#[test]
fn a_log_may_begin_behind_an_installed_snapshot() {
    let disk = FaultDisk::new(1);
    let mut from_snapshot = options(64 << 10, 1);
    from_snapshot.first_lsn = 1001;
    let (mut log, recovery) = open(&disk, from_snapshot).unwrap();
    assert_eq!((recovery.first_lsn, recovery.end_lsn), (1001, 1000));
    assert_eq!(append_one(&mut log, 1).first_lsn, 1001);
    drop(log);
    let (log, recovery) = open(&disk, options(64 << 10, 2)).unwrap();
    assert_eq!((recovery.first_lsn, recovery.end_lsn, recovery.cut), (1001, 1001, None));
    assert_eq!(read_all(&log)[0].0, 1001);
}

#[test]
fn one_durable_write_per_frame_also_where_a_segment_begins() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(5 * SECTOR, 1)).unwrap();
    for _ in 0..20 {
        append_one(&mut log, 100);
    }
    log.seal(9).unwrap();
    log.seal(9).unwrap();
    let stats = log.stats();
    assert_eq!((stats.frames, stats.records, stats.segments, stats.recycled), (21, 20, 6, 0));
    assert_eq!((stats.durable_writes, disk.durable_writes()), (21, 21));
    assert_eq!(stats.bytes, (21 + 6) * SECTOR);
}

#[test]
fn a_seal_is_remembered_and_not_repeated() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(64 << 10, 1)).unwrap();
    append_one(&mut log, 1);
    log.seal(50).unwrap();
    let (mut log, recovery) = open(&disk, options(64 << 10, 2)).unwrap();
    assert!(recovery.sealed && recovery.last_time_us == 50 && recovery.end_lsn == 1);
    log.seal(60).unwrap();
    assert_eq!(log.stats().frames, 0);
    append_one(&mut log, 1);
    let (log, recovery) = open(&disk, options(64 << 10, 3)).unwrap();
    assert!(!recovery.sealed);
    let mut reader = log.reader();
    let flags: Vec<u16> =
        std::iter::from_fn(|| reader.next_frame().unwrap().map(|frame| frame.info().flags)).collect();
    assert_eq!(flags, [0, FLAG_SEAL, 0]);
}

#[test]
fn a_frame_larger_than_a_segment_is_refused_and_the_log_goes_on() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(3 * SECTOR, 1)).unwrap();
    let most = 2 * SECTOR as usize - 64 - 16;
    let error = log.append(&mut frame_of(&[record(0, 1, most + 1)]), 1).unwrap_err();
    assert_eq!(error.to_string(), "expected a frame of at most 8192 bytes, found 12288");
    assert!(!log.is_poisoned());
    append_one(&mut log, most);
    append_one(&mut log, most);
    assert_eq!(read_all(&log).len(), 2);
}

#[test]
fn after_a_failed_write_nothing_is_accepted_even_if_the_disk_recovers() {
    for seed in 0..20 {
        let disk = FaultDisk::new(seed);
        let (mut log, _) = open(&disk, options(64 << 10, 1)).unwrap();
        append_one(&mut log, 10);
        disk.fail_next_write();
        let error = log.append(&mut frame_of(&[record(0, 2, 20_000)]), 1).unwrap_err();
        assert!(matches!(error, AppendError::Write { offset: 8192, .. }), "{error}");
        assert!(log.is_poisoned());
        let writes = disk.durable_writes();
        for _ in 0..3 {
            let error = log.append(&mut frame_of(&[record(0, 2, 1)]), 1).unwrap_err();
            assert!(matches!(error, AppendError::Poisoned));
            assert!(matches!(log.seal(1), Err(AppendError::Poisoned)));
        }
        log.release_below(100);
        assert_eq!(disk.durable_writes(), writes, "a poisoned log must not touch the disk");
        assert_eq!((log.end_lsn(), read_all(&log).len()), (1, 1));
        let (mut log, recovery) = open(&disk, options(64 << 10, 2)).unwrap();
        assert!((1..=2).contains(&recovery.end_lsn));
        append_one(&mut log, 10);
    }
}

#[test]
fn a_full_disk_is_said_so_and_does_not_poison() {
    let disk = FaultDisk::new(1);
    disk.faults(FaultPlan { space_bytes: Some(3 * SECTOR), ..FaultPlan::default() });
    let (mut log, _) = open(&disk, options(3 * SECTOR, 1)).unwrap();
    append_one(&mut log, 10);
    append_one(&mut log, 10);
    let mut frame = frame_of(&[record(0, 3, 10)]);
    for _ in 0..2 {
        let error = log.append(&mut frame, 3).unwrap_err();
        assert!(matches!(&error, AppendError::NoSpace { file, .. } if file == "000000000002.segment"));
        assert!(!log.is_poisoned());
    }
    disk.faults(FaultPlan::default());
    assert_eq!(log.append(&mut frame, 3).unwrap().first_lsn, 3);
    let (log, _) = open(&disk, options(3 * SECTOR, 2)).unwrap();
    assert_eq!(read_all(&log).len(), 3);
}

#[test]
fn bad_options_and_foreign_logs_are_refused() {
    let disk = FaultDisk::new(1);
    for segment_bytes in [0, SECTOR, 3 * SECTOR + 1, 2 << 30] {
        let error = open(&disk, options(segment_bytes, 1)).err().unwrap();
        assert!(matches!(error, OpenError::SegmentBytes { found } if found == segment_bytes));
    }
    let (mut log, _) = open(&disk, options(64 << 10, 1)).unwrap();
    append_one(&mut log, 1);
    let mut foreign = options(64 << 10, 2);
    foreign.shard = 9;
    let error = open(&disk, foreign).err().unwrap();
    assert_eq!(
        error.to_string(),
        "expected the log of shard 9 in 000000000001.segment, found that of shard 3"
    );
}

#[test]
fn segment_size_may_change_between_opens() {
    let disk = FaultDisk::new(1);
    for (life, sectors) in [4, 2, 9, 3].into_iter().enumerate() {
        let (mut log, recovery) = open(&disk, options(sectors * SECTOR, life as u64)).unwrap();
        assert_eq!(recovery.end_lsn, life as u64 * 7);
        for _ in 0..7 {
            append_one(&mut log, 100);
        }
        assert_eq!(read_all(&log).len(), (life + 1) * 7);
    }
}

#[test]
fn a_reader_follows_the_writer_over_segments() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(3 * SECTOR, 1)).unwrap();
    let mut reader = log.reader();
    assert!(reader.next_frame().unwrap().is_none());
    for lsn in 1..=9 {
        append_one(&mut log, 10);
        assert_eq!(reader.next_frame().unwrap().unwrap().info().first_lsn, lsn);
        assert!(reader.next_frame().unwrap().is_none());
    }
    let error = reader.seek(11).unwrap_err();
    assert!(matches!(error, ReadError::BeyondEnd { next: 10, found: 11 }), "{error}");
    reader.seek(10).unwrap();
    assert!(reader.next_frame().unwrap().is_none());
    append_one(&mut log, 10);
    assert_eq!(read_on(&mut reader).len(), 1);
    assert!(matches!(reader.seek(0), Err(ReadError::OutOfRange { first: 1, found: 0 })));
}

#[test]
fn unreadable_and_damaged_frames_are_named_and_retried_in_place() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(64 << 10, 1)).unwrap();
    append_one(&mut log, 10);
    append_one(&mut log, 10);
    let mut reader = log.reader();
    disk.fail_next_read();
    let error = reader.next_frame().unwrap_err();
    assert!(matches!(&error, ReadError::Read { file, offset: 4096, .. } if file == "000000000001.segment"));
    assert_eq!(read_on(&mut reader).len(), 2);
    disk.flip_bit("000000000001.segment", 2 * SECTOR + 70, 3).unwrap();
    reader.seek(1).unwrap();
    assert!(reader.next_frame().unwrap().is_some());
    for _ in 0..2 {
        let error = reader.next_frame().unwrap_err();
        assert!(matches!(error, ReadError::Corrupt { offset: 8192, .. }), "{error}");
    }
}

#[test]
fn a_read_error_at_open_is_not_taken_for_damage() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(64 << 10, 1)).unwrap();
    append_one(&mut log, 10);
    disk.fail_next_read();
    assert!(matches!(open(&disk, options(64 << 10, 2)).err().unwrap(), OpenError::Read { .. }));
    disk.fail_next_sync();
    assert!(matches!(open(&disk, options(64 << 10, 2)).err().unwrap(), OpenError::Write { .. }));
    assert_eq!(open(&disk, options(64 << 10, 2)).unwrap().1.end_lsn, 1);
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    Seal,
    Term,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop_oneof![8 => 0..300usize, 1 => 4000..4200usize, 1 => 10_000..30_000usize];
    prop_oneof![
        12 => prop::collection::vec(payload, 0..8).prop_map(Step::Append),
        2 => Just(Step::Seal),
        1 => Just(Step::Term),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_appended_is_read_back_after_any_reopening(
        steps in prop::collection::vec(step(), 1..60),
        seeks in prop::collection::vec(any::<u64>(), 8),
    ) {
        let disk = FaultDisk::new(1);
        let mut expected: Vec<(u64, Pushed)> = Vec::new();
        let (mut log, _) = open(&disk, options(256 << 10, 1)).unwrap();
        let mut frame = FrameBuf::new();
        for (serial, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(sizes) => {
                    frame.clear();
                    for bytes in sizes {
                        let lsn = expected.len() as u64 + 1;
                        let pushed = record(serial as u64, lsn, bytes);
                        frame.push(pushed.0, pushed.1, &pushed.2);
                        expected.push((lsn, pushed));
                    }
                    let info = log.append(&mut frame, serial as u64).unwrap();
                    prop_assert_eq!(info.next_lsn(), expected.len() as u64 + 1);
                }
                Step::Seal => log.seal(serial as u64).unwrap(),
                Step::Term => log.set_term(log.term() + 1),
                Step::Reopen => {
                    let (reopened, recovery) = open(&disk, options(256 << 10, serial as u64 + 2)).unwrap();
                    prop_assert_eq!(recovery.cut, None);
                    prop_assert_eq!(recovery.end_lsn, expected.len() as u64);
                    log = reopened;
                }
            }
        }
        prop_assert_eq!(&read_all(&log), &expected);
        let mut reader = log.reader();
        for seek in seeks {
            let lsn = 1 + seek % (expected.len() as u64 + 1);
            reader.seek(lsn).unwrap();
            let records = read_on(&mut reader);
            let first = records.first().map_or(lsn, |(first, _)| *first);
            prop_assert!(first <= lsn, "the frame that holds it comes first");
            prop_assert_eq!(&records[..], &expected[first as usize - 1..]);
        }
    }
}

#[test]
fn other_files_in_the_directory_are_left_alone() {
    let disk = FaultDisk::new(1);
    disk.create("notes", 10).unwrap();
    disk.create("1.segment", 10).unwrap();
    let (mut log, _) = open(&disk, options(3 * SECTOR, 1)).unwrap();
    append_one(&mut log, 10);
    assert_eq!(disk.list().unwrap(), ["000000000001.segment", "1.segment", "notes"]);
}
