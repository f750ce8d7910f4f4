//! A read buffer that moves along a file, so that many small frames cost one read.

use std::io;

use super::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader, FrameView};
use super::segment::SegmentHeader;
use crate::disk::{DiskFile, SECTOR_BYTES};

/// What is read at once grows up to this while a file is read on, twofold each time, ...
const WINDOW_BYTES: u64 = 1 << 20;
/// ... from this on: whoever looks for one frame reads no more than a few.
const FIRST_BYTES: u64 = 16 << 10;

/// Why a frame could not be read.
pub(super) enum Fault {
    /// The disk refused.
    Io(io::Error),
    /// The bytes are not a frame.
    Frame(FrameError),
}

/// The part of one file that was read last.
#[derive(Default)]
pub(super) struct Window {
    buf: Vec<u8>,
    start: u64,
    len: usize,
    /// What was read at once last; 0 before.
    ahead: u64,
}

impl Window {
    /// Forgets what was read: the next bytes come from another file.
    pub(super) fn clear(&mut self) {
        (self.len, self.ahead) = (0, 0);
    }

    /// The `want` bytes at `offset`, or as many as there are in front of `limit`.
    pub(super) fn bytes(
        &mut self,
        file: &dyn DiskFile,
        offset: u64,
        want: usize,
        limit: u64,
    ) -> io::Result<&[u8]> {
        let want = (want as u64).min(limit.saturating_sub(offset)) as usize;
        if offset < self.start || offset + want as u64 > self.start + self.len as u64 {
            self.fill(file, offset, want, limit)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buf[from..(from + want).min(self.len).max(from)])
    }

    /// The checked frame at `offset`; all of it lies in front of `limit`.
    pub(super) fn frame(
        &mut self,
        file: &dyn DiskFile,
        offset: u64,
        limit: u64,
    ) -> Result<FrameView<'_>, Fault> {
        let room = limit.saturating_sub(offset) as usize;
        let head = self.bytes(file, offset, FRAME_HEADER_BYTES, limit).map_err(Fault::Io)?;
        let length = FrameHeader::peek(head, room).map_err(Fault::Frame)?.length();
        let bytes = self.bytes(file, offset, length, limit).map_err(Fault::Io)?;
        FrameView::parse(bytes).map_err(Fault::Frame)
    }

    /// What stands whole on any sector in `from..limit`.
    pub(super) fn look_for(
        &mut self,
        file: &dyn DiskFile,
        from: u64,
        limit: u64,
        wanted: Wanted,
    ) -> io::Result<Found> {
        let mut offset = from;
        let mut found = Found::Nothing;
        while offset < limit {
            let head = self.bytes(file, offset, FRAME_HEADER_BYTES, limit)?;
            let room = (limit - offset) as usize;
            if let Some(header) = FrameHeader::peek(head, room).ok().filter(|header| wanted.fits(header)) {
                match self.frame(file, offset, limit) {
                    Ok(frame) if wanted.is_part(frame.header()) => {
                        found = Found::Parts { end: offset + frame.header().padded_bytes() };
                    }
                    Ok(_) => return Ok(Found::Later),
                    Err(Fault::Io(error)) => return Err(error),
                    // Of a part that is not whole the header alone may be left, and what is written there next may fit it.
                    Err(Fault::Frame(_)) if wanted.is_part(&header) => {
                        found = Found::Parts { end: (offset + header.padded_bytes()).min(limit) };
                    }
                    Err(Fault::Frame(_)) => {}
                }
            }
            offset += SECTOR_BYTES as u64;
        }
        Ok(found)
    }

    /// The end of the last sector in `from..limit` that holds anything but zeros.
    pub(super) fn last_written(
        &mut self,
        file: &dyn DiskFile,
        from: u64,
        limit: u64,
    ) -> io::Result<Option<u64>> {
        let mut last = None;
        let mut offset = from;
        while offset < limit {
            let sector = self.bytes(file, offset, SECTOR_BYTES, limit)?;
            let blank = sector.iter().all(|byte| *byte == 0);
            offset += SECTOR_BYTES as u64;
            if !blank {
                last = Some(offset);
            }
        }
        Ok(last)
    }

    fn fill(&mut self, file: &dyn DiskFile, offset: u64, want: usize, limit: u64) -> io::Result<()> {
        self.ahead = (2 * self.ahead).clamp(FIRST_BYTES, WINDOW_BYTES);
        let count = limit.saturating_sub(offset).min(self.ahead).max(want as u64) as usize;
        if self.buf.len() < count {
            self.buf.resize(count, 0);
        }
        self.len = 0;
        self.start = offset;
        self.len = file.read_at(offset, &mut self.buf[..count])?;
        Ok(())
    }
}

/// What [`Window::look_for`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// No frame that was wanted.
    Nothing,
    /// Parts of the write that was torn, the last of which ends there.
    Parts {
        /// Offset behind it.
        end: u64,
    },
    /// A frame of a later write.
    Later,
}

/// What [`Window::look_for`] looks for: frames at or behind an Lsn.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    epoch: Option<u64>,
    lsn_min: u64,
    /// The index of a frame that was torn: what was written together with it is no later write.
    torn: Option<u64>,
}

impl Wanted {
    /// Frames of a segment's present life.
    pub(super) fn of_segment(header: &SegmentHeader, lsn_min: u64) -> Self {
        Self { epoch: Some(header.epoch), lsn_min, torn: None }
    }

    /// The same behind a frame that may have been torn.
    pub(super) fn behind(self, torn: u64) -> Self {
        Self { torn: Some(torn), ..self }
    }

    /// Frames of any life. An earlier life's frames are told by their Lsns alone: a file is recycled
    /// only when all of them are far below the end.
    pub(super) fn of_any_life(lsn_min: u64) -> Self {
        Self { epoch: None, lsn_min, torn: None }
    }

    fn is_part(&self, header: &FrameHeader) -> bool {
        self.torn.is_some_and(|torn| header.shares_write_with(torn))
    }

    fn fits(&self, header: &FrameHeader) -> bool {
        self.epoch.is_none_or(|epoch| header.epoch.get() == epoch) && header.first_lsn.get() >= self.lsn_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, FaultDisk};
    use crate::log::frame::{FrameInfo, Place};
    use crate::log::frame_buf::FrameBuf;

    #[test]
    fn finds_whole_frames_of_the_life_asked_for_only() {
        let mut frame = FrameBuf::new();
        frame.push(1, 2, &[3; 5000]);
        let info = FrameInfo { first_lsn: 10, record_count: 1, ..FrameInfo::default() };
        frame.write_header(Place { epoch: 7, first_lsn: 10, previous_crc: 0 }, info);
        let disk = FaultDisk::new(1);
        let file = disk.create("a", 32 << 10).unwrap();
        file.write_durable(8192, frame.buf()).unwrap();
        let has = |from, limit, epoch, lsn_min| {
            let mut window = Window::default();
            let wanted = Wanted { epoch, lsn_min, torn: None };
            window.look_for(file.as_ref(), from, limit, wanted).unwrap() == Found::Later
        };
        let all = 32 << 10;
        assert!(has(0, all, Some(7), 10) && has(8192, all, None, 1));
        assert!(!has(0, all, Some(8), 10), "another life's");
        assert!(!has(0, all, Some(7), 11), "in front of the Lsn");
        assert!(!has(12_288, all, None, 0), "behind its start");
        assert!(!has(0, 12_288, None, 0), "cut off");
        disk.flip_bit("a", 12_288, 0).unwrap();
        assert!(!has(0, all, Some(7), 10), "damaged");
        let mut window = Window::default();
        assert_eq!(window.last_written(file.as_ref(), 0, all).unwrap(), Some(16_384));
        window.clear();
        assert_eq!(window.last_written(file.as_ref(), 16_384, all).unwrap(), None);
    }
}
