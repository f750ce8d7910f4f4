//! The buffer in which the next frame grows while the last one is being written.

use super::frame::{self, FRAME_HEADER_BYTES, Frame, FrameInfo, FrameView, Place};
use super::record;
use crate::disk::{AlignedBuf, SECTOR_BYTES};

/// Collects records for one append. Reused, it allocates nothing once it has seen its largest frame.
///
/// After a successful append it holds the frame as it is on disk until it is cleared or pushed to.
#[derive(Default, Clone)]
pub struct FrameBuf {
    buf: AlignedBuf,
    records: u32,
    finished: bool,
}

impl FrameBuf {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.records = 0;
        self.finished = false;
    }

    /// Adds a record; `kind` and `key_hash` are the caller's.
    pub fn push(&mut self, kind: u16, key_hash: u64, payload: &[u8]) {
        self.reserve_header();
        self.finished = false;
        self.buf.extend_from_slice(record::header(kind, key_hash, payload.len()).as_ref());
        self.buf.extend_from_slice(payload);
        self.records += 1;
    }

    /// Adds all records of a frame that came from elsewhere: how a replica takes its leader's frame.
    pub fn push_all(&mut self, frame: &FrameView<'_>) {
        self.reserve_header();
        self.finished = false;
        self.buf.extend_from_slice(frame.body());
        self.records += frame.info().record_count;
    }

    /// The records as a frame that stands in no log yet: what a leader sends while it writes its own copy.
    pub fn unplaced(&self, info: FrameInfo) -> Frame {
        let body = self.buf.bytes().get(FRAME_HEADER_BYTES..).unwrap_or_default();
        Frame::unplaced(FrameInfo { record_count: self.records, ..info }, body)
    }

    /// Number of records.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// True if it holds no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of header and records, without padding.
    pub fn len_bytes(&self) -> usize {
        self.buf.len().max(FRAME_HEADER_BYTES)
    }

    /// The frame as it is on disk, padded to whole sectors.
    ///
    /// # Panics
    /// If the records were not appended yet: there is no frame.
    pub fn sectors(&self) -> &[u8] {
        self.assert_finished();
        self.buf.sectors()
    }

    /// The frame that was appended.
    ///
    /// # Panics
    /// If the records were not appended yet: there is no frame.
    pub fn view(&self) -> FrameView<'_> {
        self.assert_finished();
        FrameView::trusted(self.buf.bytes())
    }

    /// A copy of the frame that was appended, for those who outlive this buffer's reuse.
    ///
    /// # Panics
    /// If the records were not appended yet: there is no frame.
    pub fn to_frame(&self) -> Frame {
        self.view().to_frame()
    }

    /// As [`to_frame`](Self::to_frame), in memory that an earlier frame [left](Frame::into_spare).
    ///
    /// # Panics
    /// If the records were not appended yet: there is no frame.
    pub fn to_frame_in(&self, spare: Vec<u8>) -> Frame {
        self.view().to_frame_in(spare)
    }

    /// Bytes that the frame takes on disk.
    pub(super) fn padded_bytes(&self) -> u64 {
        self.len_bytes().next_multiple_of(SECTOR_BYTES) as u64
    }

    /// Writes the header in front of the records; returns the frame's crc.
    pub(super) fn write_header(&mut self, place: Place, info: FrameInfo) -> u32 {
        self.write_header_in_run(place, info, 0)
    }

    /// The same of a frame with so many others in front of it in one durable write.
    pub(super) fn write_header_in_run(&mut self, place: Place, info: FrameInfo, in_run: u16) -> u32 {
        self.reserve_header();
        frame::finish(self.buf.bytes_mut(), place, info, in_run)
    }

    pub(super) fn buf(&self) -> &AlignedBuf {
        &self.buf
    }

    pub(super) fn mark_finished(&mut self) {
        self.finished = true;
    }

    fn reserve_header(&mut self) {
        if self.buf.is_empty() {
            self.buf.extend_zeros(FRAME_HEADER_BYTES);
        }
    }

    fn assert_finished(&self) {
        assert!(self.finished, "expected an appended frame, found {} records not appended yet", self.records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::frame::{FLAG_SEAL, FrameError};
    use crate::log::record::RecordView;

    const PLACE: Place = Place { epoch: 0x2122_2324_2526_2728, first_lsn: 0x0102, previous_crc: 0x3132_3334 };

    fn finished() -> FrameBuf {
        let info = FrameInfo {
            first_lsn: 0x0102,
            record_count: 2,
            term: 3,
            time_us: 0x0405,
            flags: FLAG_SEAL,
            index: 0x0708,
        };
        let mut frame = FrameBuf::new();
        frame.push(0x0607, 0x1112_1314_1516_1718, b"abc");
        frame.push(8, 9, b"");
        frame.write_header(PLACE, info);
        frame.mark_finished();
        frame
    }

    #[test]
    fn the_layout_is_pinned() {
        let frame = finished();
        let bytes = frame.view().bytes();
        #[rustfmt::skip]
        let golden: [u8; 99] = [
            0, 0, 0, 0, // the crc, compared below
            99, 0, 0, 0, b'O', b'N', b'R', b'F', 0x34, 0x33, 0x32, 0x31,
            0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,
            2, 1, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0, 0, 0, 0, 0,
            5, 4, 0, 0, 0, 0, 0, 0,
            2, 0, 0, 0, 0x3d, 0x3a, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0, 7, 6, 0, 0, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, b'a', b'b', b'c',
            0, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes[4..], golden[4..]);
        assert_eq!(bytes[..4], 0x5012_4ee3_u32.to_le_bytes(), "crc32c, Castagnoli");
        assert_eq!(frame.sectors().len(), 4096);
        assert!(frame.sectors()[99..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_was_pushed_is_what_is_read() {
        let frame = finished().to_frame();
        let records: Vec<RecordView<'_>> = frame.view().records().collect();
        assert_eq!(
            records,
            [
                RecordView { lsn: 0x0102, kind: 0x0607, key_hash: 0x1112_1314_1516_1718, payload: b"abc" },
                RecordView { lsn: 0x0103, kind: 8, key_hash: 9, payload: b"" },
            ]
        );
        let mut copy = FrameBuf::new();
        copy.push_all(&frame.view());
        copy.write_header(PLACE, frame.view().info());
        copy.mark_finished();
        assert_eq!(copy.to_frame(), frame);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let frame = finished().to_frame();
        for bit in 0..frame.bytes().len() * 8 {
            let mut damaged = frame.bytes().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..frame.bytes().len() {
            assert!(Frame::parse(&frame.bytes()[..len]).is_err(), "length {len}");
        }
        assert_eq!(Frame::parse(frame.bytes()), Ok(frame));
    }

    #[test]
    fn a_whole_frame_in_the_wrong_place_is_refused() {
        let frame = finished();
        let header = *frame.view().header();
        assert_eq!(header.check_place(&PLACE), Ok(()));
        let wrong = [
            Place { epoch: 1, ..PLACE },
            Place { first_lsn: 0x0103, ..PLACE },
            Place { previous_crc: 0, ..PLACE },
        ];
        let errors = wrong.map(|place| header.check_place(&place).unwrap_err());
        assert!(matches!(
            errors,
            [FrameError::Epoch { .. }, FrameError::FirstLsn { .. }, FrameError::PreviousCrc { .. }]
        ));
    }

    #[test]
    fn records_that_do_not_fill_the_frame_are_refused_even_with_a_good_crc() {
        for record_count in [0, 1, 3, u32::MAX] {
            let mut frame = finished();
            let info = FrameInfo { record_count, ..frame.view().info() };
            frame.write_header(PLACE, info);
            let error = Frame::parse(frame.buf().bytes()).unwrap_err();
            assert!(matches!(error, FrameError::Records { expected, .. } if expected == record_count));
        }
    }

    /// Counting their Lsns overflowed, which is a panic in some builds and a wrong Lsn in others.
    #[test]
    fn records_behind_the_last_lsn_are_refused_even_with_a_good_crc() {
        let mut frame = finished();
        let info = FrameInfo { first_lsn: u64::MAX - 1, ..frame.view().info() };
        frame.write_header(PLACE, info);
        let error = Frame::parse(frame.buf().bytes()).unwrap_err();
        assert_eq!(error, FrameError::LastLsn { first: u64::MAX - 1, records: 2 });
        frame.write_header(PLACE, FrameInfo { first_lsn: u64::MAX - 2, ..info });
        let lsns = Frame::parse(frame.buf().bytes()).map(|frame| frame.view().records().last().unwrap().lsn);
        assert_eq!(lsns, Ok(u64::MAX - 1));
    }

    #[test]
    #[should_panic(expected = "found 1 records not appended yet")]
    fn a_frame_that_was_not_appended_cannot_be_handed_out() {
        let mut frame = FrameBuf::new();
        frame.push(1, 2, b"x");
        frame.to_frame();
    }
}
