//! What the log's tests share: a small log on a faulty disk, and what it must hold.

use std::sync::Arc;

use onrush_storage::disk::{AlignedBuf, Disk, FaultDisk};
use onrush_storage::log::{FrameBuf, FrameInfo, Log, LogOptions, LogReader, OpenError, Prepare, Recovery};

pub(crate) const SECTOR: u64 = 4096;

/// A record as it was pushed.
pub(crate) type Pushed = (u16, u64, Vec<u8>);

pub(crate) fn options(segment_bytes: u64, epoch: u64) -> LogOptions {
    LogOptions { segment_bytes, prepare: Prepare::Inline, ..LogOptions::new(3, epoch) }
}

pub(crate) fn open(disk: &FaultDisk, options: LogOptions) -> Result<(Log, Recovery), OpenError> {
    Log::open(Arc::new(disk.clone()), options)
}

/// A record whose bytes say which one it is.
pub(crate) fn record(life: u64, serial: u64, payload_bytes: usize) -> Pushed {
    let stamp = (life << 32 | serial).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let payload = (0..payload_bytes).map(|at| (stamp >> (at % 8 * 8)) as u8 ^ at as u8).collect();
    (serial as u16, stamp, payload)
}

pub(crate) fn frame_of(records: &[Pushed]) -> FrameBuf {
    let mut frame = FrameBuf::new();
    for (kind, key_hash, payload) in records {
        frame.push(*kind, *key_hash, payload);
    }
    frame
}

/// Appends one frame of one record.
pub(crate) fn append_one(log: &mut Log, payload_bytes: usize) -> FrameInfo {
    let serial = log.end_lsn() + 1;
    log.append(&mut frame_of(&[record(0, serial, payload_bytes)]), serial).unwrap()
}

/// Everything a reader still has to say: Lsn and record.
pub(crate) fn read_on(reader: &mut LogReader) -> Vec<(u64, Pushed)> {
    let mut records = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        records.extend(frame.records().map(|r| (r.lsn, (r.kind, r.key_hash, r.payload.to_vec()))));
    }
    records
}

pub(crate) fn read_all(log: &Log) -> Vec<(u64, Pushed)> {
    read_on(&mut log.reader())
}

/// A disk of its own with the same files.
pub(crate) fn copy_of(disk: &FaultDisk) -> FaultDisk {
    let copy = FaultDisk::new(0);
    for name in disk.list().unwrap() {
        let bytes = disk.contents(&name).unwrap();
        let mut sectors = AlignedBuf::default();
        sectors.extend_from_slice(&bytes);
        copy.create(&name, bytes.len() as u64).unwrap().write_durable(0, &sectors).unwrap();
    }
    copy
}
