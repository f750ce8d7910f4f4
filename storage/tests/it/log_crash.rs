//! Power loss in the middle of anything: what was acknowledged is there, and nothing that was not
//! appended ever is.

use onrush_storage::disk::{Disk, FaultDisk, FaultPlan};
use onrush_storage::log::{AppendError, Frame, FrameInfo, Log, OpenError};

use crate::log_stage::{Pushed, SECTOR, frame_of, open, options, read_all, record};

/// splitmix64, for the workload; the disk has its own.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % bound
    }
}

/// What must be there, what may be there, and what was let go.
#[derive(Default)]
struct Oracle {
    acknowledged: Vec<Pushed>,
    /// Frames of the write in flight.
    in_flight: Vec<Vec<Pushed>>,
    released_below: u64,
    cuts: u64,
    survivors: u64,
    /// How often a part of a run was there, and the rest was not.
    parts: u64,
}

impl Oracle {
    /// Appends until the disk loses power.
    fn live(&mut self, log: &mut Log, life: u64, dice: &mut Dice) {
        for serial in 0.. {
            self.in_flight.clear();
            match dice.below(12) {
                0 => {
                    if log.seal(serial).is_err() {
                        return;
                    }
                    continue;
                }
                1 => {
                    let floor = dice.below(log.end_lsn() + 2);
                    self.released_below = self.released_below.max(floor);
                    log.release_below(floor);
                    continue;
                }
                _ => {}
            }
            let is_run = dice.below(3) == 0;
            for frame in 0..if is_run { 1 + dice.below(6) } else { 1 } {
                let records = (0..dice.below(5)).map(|number| {
                    let bytes = if dice.below(4) == 0 { dice.below(9000) } else { dice.below(200) };
                    record(life, serial << 8 | frame << 4 | number, bytes as usize)
                });
                self.in_flight.push(records.collect());
            }
            let appended = match is_run {
                true => self.append_run(log, serial),
                false => log.append(&mut frame_of(&self.in_flight[0]), serial).map(drop),
            };
            match appended {
                Ok(()) => self.acknowledged.extend(self.in_flight.drain(..).flatten()),
                Err(_) => return,
            }
        }
    }

    fn append_run(&self, log: &mut Log, serial: u64) -> Result<(), AppendError> {
        let info = FrameInfo { time_us: serial, ..FrameInfo::default() };
        let frames: Vec<_> = self.in_flight.iter().map(|frame| frame_of(frame).unplaced(info)).collect();
        log.append_run(frames.iter().map(Frame::view))
    }

    /// Compares a recovered log, and takes over what it decided about the frame in flight.
    fn check(&mut self, log: &Log) {
        let found = read_all(log);
        let first = log.first_lsn();
        assert!(first <= self.released_below.max(1), "released too much: {first}");
        let mut expected = self.acknowledged.clone();
        let end = log.end_lsn() as usize;
        let frames = self.in_flight.len();
        let mut in_flight = self.in_flight.drain(..);
        while end > expected.len() {
            expected.extend(in_flight.next().expect("records that nobody appended"));
        }
        let left = in_flight.filter(|frame| !frame.is_empty()).count();
        self.survivors += u64::from(left < frames);
        self.parts += u64::from(frames > 1 && left > 0 && left < frames);
        assert_eq!(end, expected.len(), "an acknowledged frame is missing, or half a frame is there");
        let expected: Vec<_> = (1..).zip(expected).skip(first as usize - 1).collect();
        assert!(found == expected, "bytes that were not appended");
        self.acknowledged
            .extend(expected.into_iter().skip(self.acknowledged.len() + 1 - first as usize).map(|r| r.1));
        self.in_flight.clear();
    }
}

fn reopen(disk: &FaultDisk, epoch: u64, oracle: &mut Oracle) -> Option<Log> {
    match open(disk, options(8 * SECTOR, epoch)) {
        Ok((log, recovery)) => {
            oracle.cuts += u64::from(recovery.cut.is_some());
            oracle.check(&log);
            Some(log)
        }
        Err(error @ (OpenError::Corrupt { .. } | OpenError::WrongShard { .. })) => {
            panic!("a crash was taken for damage: {error}")
        }
        Err(_) => None,
    }
}

fn lives(seed: u64, lives: u64, plan: FaultPlan) -> Oracle {
    let disk = FaultDisk::new(seed);
    disk.faults(plan);
    let mut dice = Dice(!seed);
    let mut oracle = Oracle::default();
    for life in 1..=lives {
        // Early crashes hit recovery's own repairs.
        let span = if dice.below(3) == 0 { 6 } else { 60 };
        disk.crash_after_steps(1 + dice.below(span));
        let epoch = seed << 16 | life;
        let Some(mut log) = reopen(&disk, epoch, &mut oracle) else { continue };
        oracle.live(&mut log, life, &mut dice);
    }
    disk.faults(FaultPlan::default());
    // The last life may have ended on an error, with its power loss still to come.
    let opened = (0..2).any(|time| reopen(&disk, u64::MAX - 2 * seed - time, &mut oracle).is_some());
    assert!(opened, "a quiet disk must open");
    oracle
}

#[test]
fn acknowledged_frames_survive_any_crash_at_any_step() {
    let (mut cuts, mut survivors, mut parts) = (0, 0, 0);
    for seed in 0..150 {
        let oracle = lives(seed, 25, FaultPlan { flip_at_crash_ppm: 500_000, ..FaultPlan::default() });
        cuts += oracle.cuts;
        survivors += oracle.survivors;
        parts += oracle.parts;
    }
    assert!(cuts > 300 && survivors > 100, "found only {cuts} cuts, {survivors} whole frames in flight");
    assert!(parts > 50, "found only {parts} runs in part");
}

#[test]
fn acknowledged_frames_survive_failing_writes_and_syncs() {
    let plan = FaultPlan { write_error_ppm: 50_000, sync_error_ppm: 20_000, ..FaultPlan::default() };
    for seed in 1000..1080 {
        lives(seed, 25, plan);
    }
}

#[test]
fn a_crash_at_every_durable_write_in_turn() {
    for writes in 1..=40 {
        let disk = FaultDisk::new(writes);
        disk.crash_after_writes(writes);
        let mut oracle = Oracle::default();
        let mut dice = Dice(7);
        let mut log = reopen(&disk, 1, &mut oracle).unwrap();
        oracle.live(&mut log, 1, &mut dice);
        assert!(log.is_poisoned());
        let log = reopen(&disk, 2, &mut oracle).unwrap();
        assert!(!log.is_poisoned());
    }
}

#[test]
fn same_seed_same_bytes() {
    let run = || {
        let disk = FaultDisk::new(5);
        disk.crash_after_writes(17);
        let mut oracle = Oracle::default();
        let mut log = reopen(&disk, 1, &mut oracle).unwrap();
        oracle.live(&mut log, 1, &mut Dice(7));
        drop(reopen(&disk, 2, &mut oracle));
        let contents = |name: String| (disk.contents(&name).unwrap(), name);
        disk.list().unwrap().into_iter().map(contents).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// A segment gets its name by a rename. One whose directory was not synced stopped the log, and the next
/// process found the segment ready and wrote to it; a power loss then took the name back, and with it
/// frames that had been acknowledged, and nothing told of them.
#[test]
fn a_segment_under_a_name_that_was_not_synced_keeps_it_once_it_is_used() {
    for seed in 0..8 {
        let disk = FaultDisk::new(seed);
        let (mut log, _) = open(&disk, options(2 * SECTOR, 1)).unwrap();
        log.append(&mut frame_of(&[record(0, 1, 100)]), 1).unwrap();
        // The file is made under a spare's name first; its renaming is what fails.
        disk.create("000000000009.spare", 2 * SECTOR).unwrap();
        drop(log);
        let (mut log, _) = open(&disk, options(2 * SECTOR, 2)).unwrap();
        disk.fail_entry(1);
        assert!(log.append(&mut frame_of(&[record(0, 2, 100)]), 2).is_err());
        drop(log);

        let (mut log, _) = open(&disk, options(2 * SECTOR, 3)).unwrap();
        log.append(&mut frame_of(&[record(1, 3, 100)]), 3).unwrap();
        let written = read_all(&log);
        drop(log);
        disk.crash();

        let (log, _) = open(&disk, options(2 * SECTOR, 4)).unwrap();
        assert_eq!(read_all(&log), written, "seed {seed}");
    }
}
