//! A segment's file, and how recovery reads one before anything in it is believed.

use std::io;

use super::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader, FrameView, pieces_of_zeros};
use super::options::SEGMENT_BYTES_MIN;
use super::recovery::{Damage, OpenError};
use super::segment::segment_name;
use super::window::{Fault, Found, Wanted, Window};
use crate::disk::{Disk, DiskFile, SECTOR_BYTES};

/// Looked through at once.
const CHECKED_BYTES: u64 = 1 << 20;

/// An open file under a segment's name.
pub(super) struct SegmentFile {
    pub(super) sequence: u64,
    pub(super) name: String,
    pub(super) disk: Box<dyn DiskFile>,
    /// Its length.
    pub(super) bytes: u64,
}

impl SegmentFile {
    pub(super) fn open(disk: &dyn Disk, sequence: u64) -> Result<Self, OpenError> {
        let name = segment_name(sequence);
        let failed = |source| OpenError::Read { file: name.clone(), offset: 0, source };
        let file = disk.open(&name).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        let opened = Self { sequence, name, disk: file, bytes };
        // Segments are made of whole sectors. One that ends in the middle of a sector would be repaired to its
        // end, and be longer than its header says.
        let expected = bytes.next_multiple_of(SECTOR_BYTES as u64).max(SEGMENT_BYTES_MIN);
        if bytes != expected {
            return Err(opened.corrupt(bytes, Damage::Length { expected, found: bytes }));
        }
        Ok(opened)
    }

    /// Up to `want` bytes at `offset`.
    pub(super) fn read<'w>(
        &self,
        window: &'w mut Window,
        offset: u64,
        want: usize,
    ) -> Result<&'w [u8], OpenError> {
        window
            .bytes(self.disk.as_ref(), offset, want, self.bytes)
            .map_err(|source| self.unreadable(offset, source))
    }

    /// The checked frame at `offset`, or why there is none.
    pub(super) fn frame<'w>(
        &self,
        window: &'w mut Window,
        offset: u64,
    ) -> Result<Result<FrameView<'w>, FrameError>, OpenError> {
        match window.frame(self.disk.as_ref(), offset, self.bytes) {
            Ok(view) => Ok(Ok(view)),
            Err(Fault::Frame(error)) => Ok(Err(error)),
            Err(Fault::Io(source)) => Err(self.unreadable(offset, source)),
        }
    }

    /// What stands whole on any sector from `from` on.
    pub(super) fn look_for(
        &self,
        window: &mut Window,
        from: u64,
        wanted: Wanted,
    ) -> Result<Found, OpenError> {
        window
            .look_for(self.disk.as_ref(), from, self.bytes, wanted)
            .map_err(|source| self.unreadable(from, source))
    }

    /// The end of the last sector from `from` on that is not all zeros.
    pub(super) fn last_written(&self, window: &mut Window, from: u64) -> Result<Option<u64>, OpenError> {
        window
            .last_written(self.disk.as_ref(), from, self.bytes)
            .map_err(|source| self.unreadable(from, source))
    }

    /// The end of the damaged frame at `offset`; of the file if the length in it makes no sense.
    pub(super) fn claimed_end(&self, window: &mut Window, offset: u64) -> Result<u64, OpenError> {
        let room = (self.bytes - offset) as usize;
        let head = self.read(window, offset, FRAME_HEADER_BYTES)?;
        let header = FrameHeader::peek(head, room);
        Ok(header.map_or(self.bytes, |header| (offset + header.padded_bytes()).min(self.bytes)))
    }

    /// False if something is missing of the frame that was written at `from`: a write that was torn leaves a piece of it as it
    /// was, all zeros. Where a frame has such pieces of its own nothing can be told, and whoever may have acknowledged it has.
    pub(super) fn is_all_there(&self, window: &mut Window, from: u64) -> Result<bool, OpenError> {
        let head = self.read(window, from, FRAME_HEADER_BYTES)?;
        let Ok(header) = FrameHeader::peek(head, (self.bytes - from) as usize) else {
            // A header that was written, and is none: no tear does that.
            return Ok(head.iter().any(|byte| *byte != 0));
        };
        // A header that differs from what was written is damaged, and its length may be.
        if header.has_zeros() || !header.is_as_written() {
            return Ok(true);
        }
        let end = (from + header.length() as u64).min(self.bytes);
        let mut offset = from;
        while offset < end {
            let bytes = self.read(window, offset, (end - offset).min(CHECKED_BYTES) as usize)?;
            // A rest that is shorter proves nothing.
            if pieces_of_zeros(bytes) {
                return Ok(false);
            }
            offset += bytes.len().max(1) as u64;
        }
        Ok(true)
    }

    pub(super) fn corrupt(&self, offset: u64, damage: impl Into<Damage>) -> OpenError {
        OpenError::Corrupt { file: self.name.clone(), offset, damage: damage.into() }
    }

    fn unreadable(&self, offset: u64, source: io::Error) -> OpenError {
        OpenError::Read { file: self.name.clone(), offset, source }
    }
}
