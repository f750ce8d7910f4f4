//! A whole log on a disk: written, crashed, damaged, forged and opened again, as the input says.
//!
//! What a crash leaves can always be opened and has all that was acknowledged. What was damaged is refused
//! and left alone, or what is read was appended at its place. Even what was forged (lies under checksums
//! that are right) is refused or read to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use onrush_storage::disk::{Disk, FaultDisk};
use onrush_storage::log::{AppendError, FrameBuf, Log, LogOptions, OpenError, Prepare, Recovery};

use crate::program::{Program, crc_of, number, overwrite};

const SECTOR: usize = 4096;
const SEGMENT_BYTES: usize = 5 * SECTOR;
/// Steps of a program, so that none takes long.
const STEPS_MAX: usize = 48;
/// Lsns that are as good as used up: only a forger gets there.
const LSN_FAR: u64 = 1 << 60;

type Record = (u16, u64, Vec<u8>);

struct Stage {
    disk: FaultDisk,
    log: Option<Log>,
    life: u64,
    /// What was appended at an Lsn, in any life: what a crash took may come again as something else.
    appended: BTreeMap<u64, Vec<Record>>,
    /// The last Lsn whose append returned.
    acknowledged: u64,
    damaged: bool,
    forged: bool,
}

/// Does what the input says.
pub(crate) fn segments(input: &[u8]) {
    let mut program = Program(input);
    let mut stage = Stage {
        disk: FaultDisk::new(1),
        log: None,
        life: 0,
        appended: BTreeMap::new(),
        acknowledged: 0,
        damaged: false,
        forged: false,
    };
    for _ in 0..STEPS_MAX {
        let Some(step) = program.step() else { break };
        if !stage.does(step, &mut program) {
            return;
        }
    }
    stage.reopen();
}

impl Stage {
    /// One step; false once the log cannot be opened any more.
    fn does(&mut self, step: u8, program: &mut Program<'_>) -> bool {
        match step % 13 {
            0..=2 => return self.append(program),
            3 => return self.seal(),
            4 => self.crash(),
            5 => {
                // Not while it is opened: a second crash may come at any later step.
                if self.log.is_some() {
                    self.disk.crash_after_writes(1 + u64::from(program.byte() % 2));
                }
                return self.append(program);
            }
            6 => return self.release(program),
            7 => self.log = None,
            8 => self.flip(program),
            9 => self.copy(program),
            10 => self.shorten(program),
            11 => self.remove(program),
            _ => self.forge(program),
        }
        true
    }

    fn append(&mut self, program: &mut Program<'_>) -> bool {
        if self.log.is_none() && !self.reopen() {
            return false;
        }
        let Some(log) = self.log.as_mut().filter(|log| log.end_lsn() < LSN_FAR) else { return false };
        let (count, bytes) = (1 + usize::from(program.byte() % 3), program.below(6_000));
        let (first, mut frame) = (log.end_lsn() + 1, FrameBuf::new());
        let mut records = Vec::new();
        for lsn in first..first + count as u64 {
            let stamp = (self.life << 32 | lsn).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let record = (lsn as u16, stamp, vec![stamp as u8; bytes]);
            frame.push(record.0, record.1, &record.2);
            records.push((lsn, record));
        }
        let appended = log.append(&mut frame, self.life);
        match appended {
            Err(AppendError::TooLarge { .. }) => return true,
            Ok(info) => self.acknowledged = info.next_lsn() - 1,
            Err(AppendError::Write { .. }) => self.log = None,
            Err(other) => panic!("expected room and a working log, found {other}"),
        }
        for (lsn, record) in records {
            self.appended.entry(lsn).or_default().push(record);
        }
        true
    }

    fn seal(&mut self) -> bool {
        if self.log.is_none() && !self.reopen() {
            return false;
        }
        let sealed = self.log.as_mut().filter(|log| log.end_lsn() < LSN_FAR).map(|log| log.seal(self.life));
        if sealed.is_some_and(|sealed| sealed.is_err()) {
            self.log = None;
        }
        true
    }

    fn crash(&mut self) {
        self.log = None;
        self.disk.crash();
    }

    fn release(&mut self, program: &mut Program<'_>) -> bool {
        if self.log.is_none() && !self.reopen() {
            return false;
        }
        if let Some(log) = &mut self.log {
            log.release_below(log.end_lsn().saturating_sub(u64::from(program.byte() % 8)));
            if log.is_poisoned() {
                self.log = None;
            }
        }
        true
    }

    /// A file of the log, which is closed: nobody damages what somebody else is writing.
    fn victim(&mut self, program: &mut Program<'_>) -> Option<(String, Vec<u8>)> {
        self.log = None;
        let names = self.files().into_keys().collect::<Vec<_>>();
        let name = names.get(program.below(names.len()))?.clone();
        let bytes = self.disk.contents(&name).ok()?;
        Some((name, bytes))
    }

    fn flip(&mut self, program: &mut Program<'_>) {
        if let Some((name, bytes)) = self.victim(program) {
            let flipped = self.disk.flip_bit(&name, program.below(bytes.len()) as u64, program.byte());
            assert!(flipped.is_ok());
            self.damaged = true;
        }
    }

    /// A sector that is read elsewhere, too: a write that strayed.
    fn copy(&mut self, program: &mut Program<'_>) {
        let Some((_, from)) = self.victim(program) else { return };
        let Some((name, to)) = self.victim(program) else { return };
        let at = program.below(from.len() / SECTOR) * SECTOR;
        let sector = from.get(at..at + SECTOR).unwrap_or_default();
        overwrite(&self.disk, &name, program.below(to.len() / SECTOR) * SECTOR, sector);
        self.damaged = true;
    }

    fn shorten(&mut self, program: &mut Program<'_>) {
        if let Some((name, bytes)) = self.victim(program) {
            assert!(self.disk.truncate(&name, program.below(bytes.len() + 1) as u64).is_ok());
            self.damaged = true;
        }
    }

    fn remove(&mut self, program: &mut Program<'_>) {
        if let Some((name, _)) = self.victim(program) {
            assert!(self.disk.remove(&name).is_ok());
            self.damaged = true;
        }
    }

    /// Overwrites some bytes of a header, and then makes every checksum right and every frame follow the one
    /// before it.
    fn forge(&mut self, program: &mut Program<'_>) {
        let Some((name, bytes)) = self.victim(program) else { return };
        let at = program.below(bytes.len() / SECTOR) * SECTOR + usize::from(program.byte() % 96);
        let count = usize::from(program.byte() % 9);
        overwrite(&self.disk, &name, at, &program.bytes(count));
        let mut before = None;
        for (name, mut bytes) in self.files().into_iter().filter(|(name, _)| name.ends_with(".segment")) {
            if bytes.len() >= 2 * SECTOR {
                before = Some(chained(&mut bytes, before));
                overwrite(&self.disk, &name, 0, &bytes);
            }
        }
        (self.damaged, self.forged) = (true, true);
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.disk.list().unwrap_or_default();
        let read = |name: String| self.disk.contents(&name).ok().map(|bytes| (name, bytes));
        names.into_iter().filter_map(read).collect()
    }

    fn open(&mut self) -> Result<(Log, Recovery), OpenError> {
        self.life += 1;
        let options = LogOptions {
            segment_bytes: SEGMENT_BYTES as u64,
            prepare: Prepare::Inline,
            spares_max: 2,
            ..LogOptions::new(3, self.life)
        };
        Log::open(Arc::new(self.disk.clone()), options)
    }

    /// Opens the log again; false if that is refused.
    fn reopen(&mut self) -> bool {
        self.log = None;
        // What was armed for a write that never came.
        self.disk.crash();
        let before = self.files();
        let (log, recovery) = match self.open() {
            Ok(opened) => opened,
            Err(error) => {
                assert!(self.damaged, "expected a log after nothing but crashes, found {error}");
                let left_alone = !matches!(error, OpenError::Read { .. } | OpenError::Write { .. });
                assert!(!left_alone || before == self.files(), "{error}: nothing is changed");
                return false;
            }
        };
        self.check(&log, &recovery);
        drop(log);
        let (log, again) = self.open().unwrap_or_else(|error| panic!("opened once, and then: {error}"));
        let told = |recovery: &Recovery| (recovery.first_lsn, recovery.end_lsn, recovery.term);
        assert_eq!((told(&again), again.cut), (told(&recovery), None), "what was repaired is whole");
        self.acknowledged = recovery.end_lsn;
        self.log = Some(log);
        true
    }

    fn check(&self, log: &Log, recovery: &Recovery) {
        assert_eq!((log.first_lsn(), log.end_lsn()), (recovery.first_lsn, recovery.end_lsn));
        let (mut reader, mut next) = (log.reader(), None);
        loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => panic!("recovered, and then: {error}"),
            };
            for record in frame.records() {
                assert_eq!(record.lsn, next.unwrap_or(recovery.first_lsn), "no gap");
                next = record.lsn.checked_add(1);
                let known = self.appended.get(&record.lsn).is_some_and(|known| {
                    known.iter().any(|(kind, key_hash, payload)| {
                        (*kind, *key_hash, payload.as_slice())
                            == (record.kind, record.key_hash, record.payload)
                    })
                });
                assert!(known || self.forged, "expected what was appended at {}", record.lsn);
            }
        }
        let end = next.map_or(recovery.end_lsn, |next| next - 1);
        assert_eq!(end, recovery.end_lsn, "the reader comes to the end");
        assert!(self.damaged || end >= self.acknowledged, "expected {} found {end}", self.acknowledged);
    }
}

/// Makes the checksums of a segment right, behind that of the frame `before` it; returns the last one.
fn chained(bytes: &mut [u8], before: Option<[u8; 4]>) -> [u8; 4] {
    if let Some(before) = before {
        bytes[56..60].copy_from_slice(&before);
    }
    let crc = crc_of(&bytes[4..64]);
    bytes[..4].copy_from_slice(&crc);
    let mut last = [bytes[56], bytes[57], bytes[58], bytes[59]];
    let mut at = SECTOR;
    while at + 64 <= bytes.len() && bytes[at + 8..at + 12] == *b"ONRF" {
        let length = number(bytes, at + 4);
        let Some(frame) = bytes.get_mut(at..at + length).filter(|frame| frame.len() >= 64) else { break };
        frame[12..16].copy_from_slice(&last);
        last = crc_of(&frame[4..]);
        frame[..4].copy_from_slice(&last);
        at += length.next_multiple_of(SECTOR);
    }
    last
}
