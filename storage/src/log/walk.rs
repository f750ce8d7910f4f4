//! Recovery's way through the segments: every frame checked, in order, each chained to the one before.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chain::Chain;
use super::frame::FrameError;
use super::options::LogOptions;
use super::recovery::{Damage, OpenError};
use super::segment::{FRAMES_START, HeaderError, Segment, SegmentHeader};
use super::segment_file::SegmentFile;
use super::window::Window;

/// The segments read so far.
pub(super) struct Walk {
    shard: u16,
    pub(super) window: Window,
    pub(super) chain: Chain,
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Why reading the last segment stopped; `None` if its frames fill the file.
    pub(super) stop: Option<FrameError>,
    /// The same of the segment in front of it: it is the last one if this was only being begun.
    stop_before: Option<FrameError>,
}

impl Walk {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self {
            shard: options.shard,
            window: Window::default(),
            chain: Chain::start(options.first_lsn),
            segments: VecDeque::new(),
            stop: None,
            stop_before: None,
        }
    }

    /// Reads the next segment to its end.
    pub(super) fn enter(&mut self, file: SegmentFile, header: SegmentHeader) -> Result<(), OpenError> {
        if header.shard != self.shard {
            let (expected, found) = (self.shard, header.shard);
            return Err(OpenError::WrongShard { file: file.name, expected, found });
        }
        if header.segment_bytes != file.bytes {
            let (expected, found) = (header.segment_bytes, file.bytes);
            return Err(file.corrupt(expected.min(found), Damage::Length { expected, found }));
        }
        match self.segments.back() {
            Some(before) => self.check_joint(before, &file, &header)?,
            None => {
                self.chain = Chain { crc: header.previous_crc, ..Chain::start(header.first_lsn) };
                self.chain.term = header.previous_term;
            }
        }
        let segment = Segment::new(file, header);
        self.window.clear();
        self.stop_before = self.stop.take();
        self.stop = self.read_frames(&segment)?;
        self.segments.push_back(Arc::new(segment));
        Ok(())
    }

    /// True if the last segment has a good header and no good frame.
    pub(super) fn last_is_frameless(&self) -> bool {
        self.segments.back().is_some_and(|segment| segment.end() == FRAMES_START)
    }

    /// Takes back the last segment, which was only being begun, and why reading it stopped.
    pub(super) fn take_back(&mut self) -> Option<(SegmentFile, FrameError)> {
        let file = Arc::into_inner(self.segments.pop_back()?)?.file;
        let stop = std::mem::replace(&mut self.stop, self.stop_before.take())?;
        Some((file, stop))
    }

    /// A segment is begun only after the one before it ended well. If they do not meet, the damage is
    /// where reading the earlier one stopped.
    fn check_joint(
        &self,
        before: &Segment,
        file: &SegmentFile,
        header: &SegmentHeader,
    ) -> Result<(), OpenError> {
        let (expected, found) = (self.chain.next_lsn, header.first_lsn);
        let error = if expected != found {
            HeaderError::FirstLsn { expected, found }
        } else if self.chain.crc != header.previous_crc {
            HeaderError::PreviousCrc { expected: self.chain.crc, found: header.previous_crc }
        } else {
            return Ok(());
        };
        Err(match self.stop {
            Some(stop) => before.file.corrupt(before.end(), stop),
            None => file.corrupt(0, error),
        })
    }

    fn read_frames(&mut self, segment: &Segment) -> Result<Option<FrameError>, OpenError> {
        let mut offset = FRAMES_START;
        while offset < segment.file.bytes {
            let place = self.chain.place(segment.header.epoch);
            let header = match segment.file.frame(&mut self.window, offset)? {
                Ok(view) => *view.header(),
                Err(error) => return Ok(Some(error)),
            };
            if let Err(error) = header.check_place(&place) {
                return Ok(Some(error));
            }
            offset += header.padded_bytes();
            segment.publish(&header.info(), place.previous_crc, offset);
            self.chain.advance_past(&header);
        }
        Ok(None)
    }
}
