//! Damage to what was acknowledged is found and named; only the last write may be taken for a tear.

use onrush_storage::disk::{AlignedBuf, Disk, FaultDisk};
use onrush_storage::log::{Damage, Frame, FrameBuf, FrameInfo, HeaderError, Log, OpenError, Recovery};

use crate::log_stage::{Pushed, SECTOR, append_one, copy_of, frame_of, open, options, read_all, record};

/// Where a frame is, and how long without its padding.
struct Placed {
    file: String,
    offset: u64,
    bytes: u64,
}

impl Placed {
    fn end(&self) -> u64 {
        (self.offset + self.bytes).next_multiple_of(SECTOR)
    }
}

const SEGMENT_BYTES: u64 = 5 * SECTOR;

/// A log over three segments, with frames of one and of two sectors; every frame's place is known.
fn small_log(sealed: bool) -> (FaultDisk, Vec<Placed>, Vec<(u64, Pushed)>) {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(SEGMENT_BYTES, 1)).unwrap();
    let (mut placed, mut sequence, mut offset) = (Vec::new(), 1, SECTOR);
    let mut place = |bytes: u64| {
        if offset + bytes > SEGMENT_BYTES {
            (sequence, offset) = (sequence + 1, SECTOR);
        }
        placed.push(Placed { file: format!("{sequence:012}.segment"), offset, bytes });
        offset = (offset + bytes).next_multiple_of(SECTOR);
    };
    for payload_bytes in [700, 5000, 10, 5000, 3000, 1, 100, 6000] {
        place(64 + 16 + payload_bytes);
        append_one(&mut log, payload_bytes as usize);
    }
    if sealed {
        place(64);
        log.seal(99).unwrap();
    }
    let records = read_all(&log);
    (disk, placed, records)
}

fn reopen(disk: &FaultDisk) -> Result<(Log, Recovery), OpenError> {
    open(disk, options(SEGMENT_BYTES, 2))
}

/// What opening must say about damage at `offset` of `file`.
#[derive(Debug, PartialEq)]
enum Verdict {
    Corrupt(String, u64),
    Cut(String, u64),
    Whole,
}

fn expected(placed: &[Placed], file: &str, offset: u64) -> Verdict {
    let (last, acknowledged) = placed.split_last().unwrap();
    let header_ends = 64;
    if offset < header_ends {
        return Verdict::Corrupt(file.to_owned(), 0);
    }
    let hit = |frame: &&Placed| frame.file == file && (frame.offset..frame.end()).contains(&offset);
    match acknowledged.iter().find(hit) {
        Some(frame) if offset < frame.offset + frame.bytes => Verdict::Corrupt(file.to_owned(), frame.offset),
        Some(_) => Verdict::Whole,
        None if hit(&last) && offset >= last.offset + last.bytes => Verdict::Whole,
        None if hit(&last) => Verdict::Cut(file.to_owned(), last.offset),
        None if file == last.file && offset >= last.end() => Verdict::Cut(file.to_owned(), last.end()),
        None => Verdict::Whole,
    }
}

fn found(disk: &FaultDisk, records: &[(u64, Pushed)], sealed: bool) -> Verdict {
    match reopen(disk) {
        Ok((log, recovery)) => {
            let back = read_all(&log);
            assert_eq!(back[..], records[..back.len()], "served bytes that were not written");
            match recovery.cut {
                Some(cut) => {
                    assert!(!recovery.sealed);
                    assert!(back.len() + 1 >= records.len() && (!sealed || back.len() == records.len()));
                    Verdict::Cut(cut.file, cut.offset)
                }
                None => {
                    assert_eq!((back.len(), recovery.sealed), (records.len(), sealed));
                    Verdict::Whole
                }
            }
        }
        Err(OpenError::Corrupt { file, offset, .. }) => Verdict::Corrupt(file, offset),
        Err(error) => panic!("expected damage to be named, found {error}"),
    }
}

#[test]
fn a_flip_of_any_byte_of_a_sealed_log_is_found_and_named() {
    let (disk, placed, records) = small_log(true);
    for file in disk.list().unwrap() {
        for offset in 0..SEGMENT_BYTES {
            let damaged = copy_of(&disk);
            damaged.flip_bit(&file, offset, (offset % 8) as u8).unwrap();
            assert_eq!(found(&damaged, &records, true), expected(&placed, &file, offset), "{file} {offset}");
        }
    }
}

#[test]
fn damage_to_any_piece_of_an_unsealed_log_is_a_tear_in_the_last_frame_only() {
    let (disk, placed, records) = small_log(false);
    for file in disk.list().unwrap() {
        for piece in 0..SEGMENT_BYTES / 512 {
            let damaged = copy_of(&disk);
            let garbage = [0xa5; 512];
            let opened = damaged.open(&file).unwrap();
            opened.write_at(piece * 512, &garbage).unwrap();
            opened.sync().unwrap();
            assert_eq!(
                found(&damaged, &records, false),
                expected(&placed, &file, piece * 512),
                "{file} piece {piece}"
            );
        }
    }
}

#[test]
fn truncated_files_are_named() {
    let (disk, _, _) = small_log(true);
    for file in disk.list().unwrap() {
        for len in (0..SEGMENT_BYTES).step_by(512) {
            let damaged = copy_of(&disk);
            damaged.truncate(&file, len).unwrap();
            let error = reopen(&damaged).err().unwrap();
            assert!(
                matches!(&error, OpenError::Corrupt { file: f, offset, damage: Damage::Length { found, .. } }
                    if *f == file && *offset == len && *found == len),
                "{error}"
            );
        }
    }
}

#[test]
fn a_missing_segment_is_named() {
    let (disk, _, _) = small_log(true);
    disk.remove("000000000002.segment").unwrap();
    let error = reopen(&disk).err().unwrap();
    assert_eq!(
        error.to_string(),
        "corrupt log: 000000000002.segment at offset 0: expected segment number 2, found none before number 3"
    );
}

#[test]
fn a_swapped_segment_is_named() {
    let (disk, _, _) = small_log(true);
    disk.remove("000000000002.segment").unwrap();
    disk.rename("000000000001.segment", "000000000002.segment").unwrap();
    assert!(matches!(
        reopen(&disk).err().unwrap(),
        OpenError::Corrupt { damage: Damage::Header(HeaderError::Sequence { expected: 2, found: 1 }), .. }
    ));
}

#[test]
fn lost_and_misdirected_writes_in_the_middle_are_found() {
    for stray in [None, Some(1), Some(2), Some(-1)] {
        let disk = FaultDisk::new(1);
        let (mut log, _) = open(&disk, options(8 * SECTOR, 1)).unwrap();
        append_one(&mut log, 10);
        append_one(&mut log, 10);
        match stray {
            None => disk.lose_next_write(),
            Some(sectors) => disk.misdirect_next_write(sectors),
        }
        append_one(&mut log, 10);
        append_one(&mut log, 10);
        append_one(&mut log, 10);
        let first_bad = if stray == Some(-1) { 2 } else { 3 };
        match reopen(&disk) {
            Err(OpenError::Corrupt { offset, .. }) => assert_eq!(offset, first_bad * SECTOR, "{stray:?}"),
            Err(error) => panic!("expected corruption, found {error}"),
            Ok((_, recovery)) => panic!("expected corruption, found {recovery:?}"),
        }
    }
}

#[test]
fn a_lost_first_write_of_a_segment_is_found_by_what_follows() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(4 * SECTOR, 1)).unwrap();
    for _ in 0..3 {
        append_one(&mut log, 10);
    }
    disk.lose_next_write();
    append_one(&mut log, 10);
    append_one(&mut log, 10);
    match reopen(&disk) {
        Err(OpenError::Corrupt { file, offset: 0, .. }) => assert_eq!(file, "000000000002.segment"),
        other => panic!("expected corruption, found {:?}", other.map(|opened| opened.1)),
    }
}

#[test]
fn a_lost_seal_at_the_end_of_a_full_segment_is_found_by_the_chain() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(4 * SECTOR, 1)).unwrap();
    append_one(&mut log, 10);
    append_one(&mut log, 10);
    log.seal(1).unwrap();
    append_one(&mut log, 10);
    disk.flip_bit("000000000001.segment", 3 * SECTOR + 40, 0).unwrap();
    let error = reopen(&disk).err().unwrap();
    assert!(
        matches!(&error, OpenError::Corrupt { file, offset: 12_288, .. } if file == "000000000001.segment"),
        "{error}"
    );
}

#[test]
fn a_log_whose_only_segment_is_damaged_does_not_begin_anew() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(3 * SECTOR, 1)).unwrap();
    for _ in 0..9 {
        append_one(&mut log, 10);
    }
    log.release_below(9);
    for (offset, at) in [(8, 0), (SECTOR + 30, SECTOR)] {
        let damaged = copy_of(&disk);
        damaged.flip_bit("000000000005.segment", offset, 0).unwrap();
        let error = reopen(&damaged).err().unwrap();
        assert!(
            matches!(&error, OpenError::Corrupt { file, offset, .. }
                if file == "000000000005.segment" && *offset == at),
            "{error}"
        );
    }
}

#[test]
fn frames_of_an_earlier_life_are_never_taken_for_later_ones() {
    let disk = FaultDisk::new(1);
    let small = |epoch| options(6 * SECTOR, epoch);
    let (mut log, _) = open(&disk, small(1)).unwrap();
    let mut life = 1;
    for round in 0..60 {
        let serial = log.end_lsn() + 1;
        log.append(&mut frame_of(&[record(life, serial, 10)]), serial).unwrap();
        if round % 5 == 4 {
            log.release_below(log.end_lsn());
        }
        // At every fill level of a recycled segment, stale frames of every alignment lie behind the end.
        life += 1;
        let copy = copy_of(&disk);
        let (reopened, recovery) = open(&copy, small(life)).unwrap();
        assert_eq!((recovery.end_lsn, recovery.cut), (serial, None));
        assert_eq!(read_all(&reopened), read_all(&log));
        let flipped = copy_of(&disk);
        let tail = flipped.list().unwrap().into_iter().rfind(|name| name.ends_with(".segment")).unwrap();
        let offset = tail_offset(&reopened, &tail);
        flipped.flip_bit(&tail, offset + 16, 0).unwrap();
        if offset > SECTOR {
            let recovery = open(&flipped, small(life)).unwrap().1;
            let cut = recovery.cut.expect("damage to the last frame must be reported");
            assert_eq!((cut.file, cut.offset, recovery.end_lsn), (tail, offset, serial - 1));
        }
    }
    assert!(log.stats().recycled > 5, "found {:?}", log.stats());
}

/// Where the last frame of a log of one-sector frames stands in its last segment.
fn tail_offset(log: &Log, _tail: &str) -> u64 {
    // Five one-sector frames fill a segment of six sectors.
    SECTOR * (1 + (log.end_lsn() - 1) % 5)
}

/// A segment's header and first frame are one write, so a bad header over a lone frame looked like the
/// tear of that write, and both frames were cut: the one in the segment and the one that strayed onto its
/// header, each of them acknowledged.
#[test]
fn a_write_that_strays_onto_a_segment_header_is_not_taken_for_a_tear() {
    for payload_bytes in [100, 5_000] {
        let disk = FaultDisk::new(1);
        let (mut log, _) = open(&disk, options(SEGMENT_BYTES, 1)).unwrap();
        append_one(&mut log, 14_000);
        // The second segment: a frame of its own, then one that goes to its header's sector.
        append_one(&mut log, 100);
        disk.misdirect_next_write(-2);
        append_one(&mut log, payload_bytes);
        drop(log);
        disk.crash();
        let error = open(&disk, options(SEGMENT_BYTES, 2)).err().unwrap();
        let named = error.to_string();
        assert!(named.starts_with("corrupt log: 000000000002.segment at offset 0: "), "{named}");
    }
}

/// The first frame of the second segment is torn, its header is whole: the first segment is the last one again, and
/// what strayed behind its frames is no tear, for nothing was under way there. It was passed over, the log was opened,
/// and the next opening took it for a tear.
#[test]
fn a_write_that_strays_behind_a_segment_whose_next_was_begun_is_not_passed_over() {
    let disk = FaultDisk::new(1);
    let (mut log, _) = open(&disk, options(SEGMENT_BYTES, 1)).unwrap();
    append_one(&mut log, 5000);
    append_one(&mut log, 9000);
    let (first, second) = ("000000000001.segment", "000000000002.segment");
    // Of the first write only the header's sector and one more have arrived.
    disk.open(second).unwrap().write_durable(2 * SECTOR, &sectors(2)).unwrap();
    drop(log);
    let (log, recovery) = reopen(&copy_of(&disk)).unwrap();
    assert_eq!(
        (log.end_lsn(), recovery.cut.map(|cut| (cut.file, cut.offset))),
        (1, Some((second.into(), 0)))
    );
    let strayed = 4 * SECTOR + 7;
    disk.flip_bit(first, strayed, 3).unwrap();
    let before = disk.contents(second).unwrap();
    match reopen(&disk) {
        Err(OpenError::Corrupt { file, offset, damage: Damage::Frame(_) }) => {
            assert_eq!((file.as_str(), offset), (first, 3 * SECTOR));
        }
        other => {
            panic!("expected the first segment to be named, found {:?}", other.map(|(_, recovery)| recovery))
        }
    }
    assert_eq!(disk.contents(second).unwrap(), before, "nothing is changed");
}

/// So many sectors of zeros.
fn sectors(count: usize) -> AlignedBuf {
    let mut zeros = AlignedBuf::default();
    zeros.extend_zeros(count * SECTOR as usize);
    zeros
}

/// Frames of one write: damage to one of them takes those behind it along where the log ends, and is told; with anything
/// behind the write it is refused.
#[test]
fn a_damaged_frame_of_a_run_is_cut_with_the_rest_of_it_or_refused() {
    for sealed in [false, true] {
        let disk = FaultDisk::new(1);
        let (mut log, _) = open(&disk, options(64 * SECTOR, 1)).unwrap();
        append_one(&mut log, 100);
        let info = FrameInfo { time_us: 9, term: 2, ..FrameInfo::default() };
        let frames: Vec<_> =
            (2..5).map(|serial| frame_of(&[record(0, serial, 600)]).unplaced(info)).collect();
        let writes = log.stats().durable_writes;
        log.append_run(frames.iter().map(Frame::view)).unwrap();
        assert_eq!((log.stats().durable_writes - writes, log.end_index(), log.end_term()), (1, 4, 2));
        if sealed {
            log.seal(10).unwrap();
        }
        drop(log);
        disk.flip_bit("000000000001.segment", 3 * SECTOR + 100, 3).unwrap();
        let opened = open(&disk, options(64 * SECTOR, 2));
        if sealed {
            let error = opened.map(drop).unwrap_err();
            assert!(matches!(error, OpenError::Corrupt { offset, .. } if offset == 3 * SECTOR), "{error}");
            continue;
        }
        let (log, found) = opened.unwrap();
        let cut = found.cut.unwrap();
        assert_eq!((cut.offset, cut.bytes, cut.was_whole), (3 * SECTOR, 2 * SECTOR, true));
        assert_eq!((log.end_index(), read_all(&log).len()), (2, 2));
    }
}

/// Zeros that were written looked like a piece that a torn write had left out: a replica whose last entry had such a piece, and
/// then a bit that flipped, took part in elections as if it had lost nothing (seed 100001019 of the simulator, three nodes).
#[test]
fn damage_is_no_tear_in_a_header_or_where_a_frame_has_zeros_of_its_own() {
    const FIRST: usize = 2 * SECTOR as usize;
    let payload = |zeros: usize| [vec![5; 700], vec![0; zeros], vec![6; 900]].concat();
    for (zeros, at_start) in [(0, false), (300, false), (1_500, false), (9_000, false), (9_000, true)] {
        let disk = FaultDisk::new(1);
        let (mut log, _) = open(&disk, options(64 * SECTOR, 1)).unwrap();
        if !at_start {
            append_one(&mut log, 100);
        }
        let mut frame = FrameBuf::new();
        frame.push(1, 2, &payload(zeros));
        log.append(&mut frame, 1).unwrap();
        assert_eq!((log.end_index(), frame.view().info().flags), (2 - u64::from(at_start), 0));
        drop(log);
        let from = if at_start { FIRST - SECTOR as usize } else { FIRST };
        let name = "000000000001.segment";
        // Each bit of the header, and some elsewhere. A damaged length made a frame look torn.
        let header = (0..64 * 8).map(|bit| (bit / 8, bit % 8));
        let others = [64, 100, 800, frame.view().bytes().len() - 1];
        for (byte, bit) in header.chain(others.map(|byte| (byte, 3))) {
            let copy = copy_of(&disk);
            copy.flip_bit(name, (from + byte) as u64, bit as u8).unwrap();
            let (_, found) = open(&copy, options(64 * SECTOR, 2)).unwrap();
            assert!(found.cut.unwrap().was_whole, "{zeros} zeros, bit {bit} of byte {byte}");
        }
    }
}
