//! Frames taken back: what stays is what was there, a crash on the way leaves a log between the two, and what is
//! appended afterwards is all that follows.

use onrush_storage::disk::FaultDisk;
use onrush_storage::log::{FLAG_MEMBERS, FrameBuf, FrameInfo, Log, LogOptions, TruncateError};
use proptest::prelude::*;

use crate::log_stage::{SECTOR, append_one, copy_of, frame_of, open, options, record};

type Read = (FrameInfo, Vec<Vec<u8>>);

/// All frames but seals.
fn frames(log: &Log) -> Vec<Read> {
    let mut reader = log.reader();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        if !frame.info().is_seal() {
            frames.push((frame.info(), frame.records().map(|record| record.payload.to_vec()).collect()));
        }
    }
    frames
}

#[derive(Clone, Debug)]
enum Step {
    Append { records: Vec<usize>, members: bool },
    Seal,
    Reopen,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![3 => 0..300_usize, 1 => 3_900..9_000_usize];
    let append = (proptest::collection::vec(size, 0..4), any::<bool>());
    let step = prop_oneof![
        8 => append.prop_map(|(records, members)| Step::Append { records, members }),
        1 => Just(Step::Seal),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 2..most)
}

/// A log, its disk, and how often it was opened.
struct Stage {
    disk: FaultDisk,
    log: Log,
    opens: u64,
}

const SMALL: u64 = 12 * SECTOR;

fn log_options(opens: u64) -> LogOptions {
    options(SMALL, 77 + opens)
}

impl Stage {
    fn new(seed: u64) -> Self {
        let disk = FaultDisk::new(seed);
        let (log, _) = open(&disk, log_options(0)).unwrap();
        Self { disk, log, opens: 0 }
    }

    fn run(&mut self, steps: &[Step], term: u64) {
        self.log.set_term(term);
        for step in steps {
            match step {
                Step::Append { records, members } => {
                    let from = self.log.end_lsn() + 1;
                    let pushed: Vec<_> =
                        (from..).zip(records).map(|(lsn, bytes)| record(term, lsn, *bytes)).collect();
                    let flags = if *members { FLAG_MEMBERS } else { 0 };
                    self.log.append_flagged(&mut frame_of(&pushed), from, flags).unwrap();
                }
                Step::Seal => self.log.seal(1).unwrap(),
                Step::Reopen => self.reopen(term),
            }
        }
    }

    fn reopen(&mut self, term: u64) {
        self.opens += 1;
        let (log, recovery) = open(&self.disk, log_options(self.opens)).unwrap();
        assert_eq!((recovery.index, recovery.end_lsn), (log.end_index(), log.end_lsn()));
        self.log = log;
        self.log.set_term(term);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_stays_is_what_was_there(before in steps(24), at in 0.0..1.0_f64, after in steps(12)) {
        let mut stage = Stage::new(1);
        stage.run(&before, 1);
        append_one(&mut stage.log, 10);
        let mut expected = frames(&stage.log);
        let keep = 1 + (at * expected.len() as f64) as usize;
        stage.log.truncate_after(keep as u64).unwrap();
        expected.truncate(keep);
        prop_assert_eq!(&frames(&stage.log), &expected);
        prop_assert_eq!(stage.log.end_index(), expected.len() as u64);
        prop_assert_eq!(stage.log.end_term(), 1);
        let end = expected.last().map(|(info, _)| info.next_lsn() - 1);
        prop_assert_eq!(Some(stage.log.end_lsn()), end);
        // And the log goes on, as it does when it is opened anew.
        for reopened in [false, true] {
            if reopened {
                stage.reopen(2);
            }
            let from = frames(&stage.log);
            stage.run(&after, 2);
            let all = frames(&stage.log);
            prop_assert_eq!(&all[..from.len()], &from[..]);
            let indices: Vec<u64> = all.iter().map(|(info, _)| info.index).collect();
            prop_assert_eq!(indices, (1..=all.len() as u64).collect::<Vec<_>>());
        }
        stage.reopen(2);
        let all = frames(&stage.log);
        for index in 1..=all.len() as u64 + 1 {
            let mut reader = stage.log.reader();
            reader.seek_index(index).unwrap();
            let mut found = None;
            while let Some(frame) = reader.next_frame().unwrap() {
                if !frame.info().is_seal() {
                    found = Some(frame.info());
                    break;
                }
            }
            prop_assert_eq!(found, all.get(index as usize - 1).map(|(info, _)| *info));
        }
    }

    #[test]
    fn a_crash_on_the_way_leaves_a_log_between_the_two(
        before in steps(24), at in 0.0..1.0_f64, steps in 1_u64..40, seed in any::<u64>()
    ) {
        let mut stage = Stage::new(seed);
        stage.run(&before, 1);
        append_one(&mut stage.log, 10);
        let all = frames(&stage.log);
        let keep = 1 + (at * all.len() as f64) as usize;
        stage.disk.crash_after_steps(steps);
        let done = stage.log.truncate_after(keep as u64);
        if done.is_err() {
            prop_assert!(stage.log.is_poisoned());
            prop_assert!(matches!(stage.log.truncate_after(1), Err(TruncateError::Poisoned)));
        }
        stage.disk.crash();
        stage.disk.calm();
        stage.reopen(1);
        let left = frames(&stage.log);
        prop_assert!(left.len() >= keep.min(all.len()) && left.len() <= all.len(), "{} of {keep}..{}", left.len(), all.len());
        prop_assert_eq!(&left[..], &all[..left.len()]);
        // It is taken up again where it was left.
        stage.log.truncate_after(keep as u64).unwrap();
        prop_assert_eq!(&frames(&stage.log)[..], &all[..keep.min(all.len())]);
        append_one(&mut stage.log, 5_000);
    }
}

#[test]
fn what_was_released_cannot_be_the_end() {
    let mut stage = Stage::new(3);
    (0..40).for_each(|_| _ = append_one(&mut stage.log, 3_000));
    assert!(stage.log.release_below(30));
    let first = frames(&stage.log)[0].0.index;
    assert!(first > 1);
    let error = stage.log.truncate_after(first - 1).unwrap_err();
    assert!(
        matches!(error, TruncateError::OutOfRange { first: told, found } if (told, found) == (first, first - 1))
    );
    assert_eq!(stage.log.end_index(), 40, "nothing was changed");
    stage.log.truncate_after(first).unwrap();
    assert_eq!(frames(&stage.log).len(), 1);
}

#[test]
fn a_reader_that_has_read_ahead_forgets_what_was_taken_back() {
    let mut stage = Stage::new(4);
    (0..6).for_each(|_| _ = append_one(&mut stage.log, 100));
    let mut reader = stage.log.reader();
    reader.seek(4).unwrap();
    stage.log.truncate_after(3).unwrap();
    stage.log.set_term(9);
    for bytes in [7_000, 10] {
        append_one(&mut stage.log, bytes);
    }
    let mut terms = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        terms.push((frame.info().first_lsn, frame.info().term));
    }
    assert_eq!(terms, [(4, 9), (5, 9)]);
}

/// A frame under way to the next segment, prepared by a thread, does not come back as a stray file.
#[test]
fn a_prepared_segment_is_withdrawn() {
    let disk = FaultDisk::new(5);
    let background =
        |epoch| LogOptions { prepare: onrush_storage::log::Prepare::Background, ..options(SMALL, epoch) };
    let (mut log, _) = open(&disk, background(1)).unwrap();
    for _ in 0..9 {
        append_one(&mut log, 6_000);
    }
    log.truncate_after(2).unwrap();
    drop(log);
    let (mut log, recovery) = open(&copy_of(&disk), background(2)).unwrap();
    assert_eq!((recovery.index, recovery.cut), (2, None));
    log.append(&mut FrameBuf::new(), 1).unwrap();
    assert_eq!(log.end_index(), 3);
}
