//! A frame of the log by itself: what is parsed is what was appended, to the byte.

use std::sync::Arc;

use onrush_storage::disk::FaultDisk;
use onrush_storage::log::{Frame, FrameBuf, FrameView, Log, LogOptions, Prepare, RecordView};

use crate::heap::within;
use crate::program::crc_of;

const HEADER_BYTES: usize = 64;
const RECORD_HEADER_BYTES: usize = 16;
const SEGMENT_BYTES: u64 = 1 << 20;

/// The input as a frame; and with magic, length and checksum as they should be.
pub(crate) fn records(input: &[u8]) {
    frame(input);
    if input.len() >= HEADER_BYTES {
        let mut forged = input.to_vec();
        forged[4..8].copy_from_slice(&(input.len() as u32).to_le_bytes());
        forged[8..12].copy_from_slice(b"ONRF");
        let crc = crc_of(&forged[4..]);
        forged[..4].copy_from_slice(&crc);
        frame(&forged);
    }
}

fn frame(bytes: &[u8]) {
    let Ok(view) = within(0, || FrameView::parse(bytes)) else {
        return assert!(Frame::parse(bytes).is_err());
    };
    assert_eq!(Frame::parse(bytes).map(|frame| frame.bytes().to_vec()), Ok(view.bytes().to_vec()));
    assert_eq!(view.bytes(), &bytes[..view.bytes().len()]);
    let info = view.info();
    let found: Vec<RecordView<'_>> = view.records().collect();
    assert_eq!(found.len(), info.record_count as usize);
    let lsns = found.iter().map(|record| record.lsn);
    assert!(lsns.eq(info.first_lsn..info.next_lsn()), "Lsns without a gap");
    let taken: usize = found.iter().map(|record| RECORD_HEADER_BYTES + record.payload.len()).sum();
    assert_eq!(taken, view.bytes().len() - HEADER_BYTES, "the records fill the frame");
    append(info.first_lsn, &found);
}

/// Records that were read can be appended under their Lsns, and are read from there as the same.
fn append(first_lsn: u64, found: &[RecordView<'_>]) {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        prepare: Prepare::Inline,
        first_lsn,
        ..LogOptions::new(0, 1)
    };
    let mut frame = FrameBuf::new();
    found.iter().for_each(|record| frame.push(record.kind, record.key_hash, record.payload));
    let opened = Log::open(Arc::new(FaultDisk::new(1)), options);
    let Ok((mut log, _)) = opened else { panic!("expected a new log from {first_lsn} on") };
    let appended = log.append(&mut frame, 0);
    assert!(appended.is_ok(), "{appended:?}");
    let mut reader = log.reader();
    let Ok(Some(read)) = reader.next_frame() else { panic!("expected the frame that was appended") };
    assert!(read.records().eq(found.iter().copied()));
}
