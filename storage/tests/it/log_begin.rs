//! Logs that are begun anew behind a snapshot, and what is kept of one for a replica that is behind.

use std::sync::Arc;

use onrush_storage::disk::{Disk, FaultDisk};
use onrush_storage::log::{FrameBuf, Front, Log};

use crate::log_stage::{SECTOR, append_one, open, options, read_all};

const FRONT: Front = Front { next_lsn: 1_001, index: 70, term: 6, time_us: 5_000 };
/// Two frames to a segment.
const SMALL: u64 = 3 * SECTOR;

fn begin(disk: &FaultDisk, epoch: u64) -> Result<Log, onrush_storage::log::BeginError> {
    Log::begin(Arc::new(disk.clone()), options(SMALL, epoch), FRONT)
}

fn append_some(log: &mut Log, frames: usize) {
    for _ in 0..frames {
        append_one(log, 10);
    }
}

fn goes_on(mut log: Log, disk: &FaultDisk) {
    assert_eq!((log.end_lsn(), log.end_index(), log.end_term(), log.first_lsn()), (1_000, 70, 6, 1_001));
    assert_eq!(log.reader().term_in_front(), 6);
    append_one(&mut log, 10);
    append_one(&mut log, 10);
    assert_eq!((log.end_lsn(), log.end_index()), (1_002, 72));
    drop(log);
    let (log, found) = open(disk, options(SMALL, 9)).unwrap();
    assert_eq!((found.first_lsn, found.end_lsn, found.index, found.term), (1_001, 1_002, 72, 6));
    assert_eq!(read_all(&log).into_iter().map(|(lsn, ..)| lsn).collect::<Vec<_>>(), [1_001, 1_002]);
}

#[test]
fn a_log_goes_on_behind_what_is_in_front_of_it() {
    let disk = FaultDisk::new(1);
    goes_on(begin(&disk, 1).unwrap(), &disk);
}

#[test]
fn it_remembers_its_front_without_any_frame() {
    let disk = FaultDisk::new(1);
    drop(begin(&disk, 1).unwrap());
    let (log, found) = open(&disk, options(SMALL, 2)).unwrap();
    assert_eq!((found.end_lsn, found.index, found.term, found.last_time_us), (1_000, 70, 6, 5_000));
    assert!(found.sealed && found.cut.is_none(), "{found:?}");
    goes_on(log, &disk);
}

#[test]
fn the_log_that_was_there_is_gone_with_its_spares() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(SMALL, 1)).unwrap();
    append_some(&mut log, 9);
    log.release_below(5);
    drop(log);
    disk.create("vote", 10).unwrap();
    drop(begin(&disk, 2).unwrap());
    assert_eq!(disk.list().unwrap(), ["000000000001.segment", "vote"]);
    goes_on(open(&disk, options(SMALL, 3)).unwrap().0, &disk);
}

/// Power is lost at each step of it; begun again, it is the log that it was to be.
#[test]
fn a_crash_on_the_way_is_mended_by_beginning_again() {
    let mut crashed = 0;
    for step in 1..40 {
        let disk = FaultDisk::new(step);
        let (mut log, _) = open(&disk, options(SMALL, 1)).unwrap();
        append_some(&mut log, 7);
        log.release_below(3);
        drop(log);
        disk.crash_after_steps(step);
        let begun = begin(&disk, 2);
        crashed += u64::from(begun.is_err());
        drop(begun);
        disk.calm();
        disk.crash();
        goes_on(begin(&disk, 3).unwrap(), &disk);
    }
    assert!(crashed >= 7, "expected a crash at each step, found {crashed}");
}

#[test]
fn what_a_replica_lacks_stays() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(SMALL, 1)).unwrap();
    append_some(&mut log, 9);
    // Frame n has record n: segments begin with 1, 3, 5, 7, 9.
    for (kept, first) in [(0, 1), (2, 1), (3, 3), (5, 5), (6, 5), (7, 7), (u64::MAX, 9)] {
        log.release_below_keeping(100, kept);
        assert_eq!(log.first_lsn(), first, "behind {kept}");
    }
}

/// A follower began anew from a snapshot that ended with record 2, entry 2, and asked for entry 3. Its leader had let go of
/// 3 and 4, which have no records, as everything in front of record 3: it could not be helped by entries, and the same
/// snapshot was offered to it for good.
#[test]
fn frames_without_records_stay_behind_the_record_in_front_of_them() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(SMALL, 1)).unwrap();
    append_some(&mut log, 2);
    for _ in 0..2 {
        log.append(&mut FrameBuf::new(), 3).unwrap();
    }
    append_some(&mut log, 4);
    let first_index = |log: &Log| log.reader().next_frame().unwrap().unwrap().info().index;
    // Segments begin with frames 1, 3, 5 and 7, of which 3 and 5 are in front of record 3.
    for (below, any, first) in [(2, false, 1), (3, false, 1), (4, true, 5), (5, false, 5), (6, true, 7)] {
        assert_eq!(log.release_below_keeping(below, u64::MAX), any, "below record {below}");
        assert_eq!(first_index(&log), first, "below record {below}");
    }
}
