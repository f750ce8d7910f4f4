//! A run: frames that came together, in one durable write. A replica that is behind takes them so, and needs fewer
//! writes than whoever wrote them one by one.
//!
//! Each says how many of its run stand in front of it, so that recovery tells parts of a torn write from frames that prove
//! that what is damaged had been acknowledged.

use std::sync::Arc;

use super::append::{AppendError, Log};
use super::chain::Chain;
use super::frame::{FLAG_SEAL, FrameInfo, FrameView};
use super::frame_buf::FrameBuf;
use super::segment::Segment;
use crate::disk::AlignedBuf;

/// Most bytes of a run.
const RUN_BYTES_MAX: u64 = 1 << 20;

/// What is written next.
#[derive(Default)]
pub(super) struct Run {
    /// The last frame, with its header.
    frame: FrameBuf,
    /// All of them, each padded.
    sectors: AlignedBuf,
    frames: Vec<Placed>,
    /// The log's end behind them.
    chain: Option<Chain>,
}

/// A frame of a run.
struct Placed {
    info: FrameInfo,
    previous_crc: u32,
    bytes: u64,
}

impl Log {
    /// Appends frames that another log has, with their terms, times and flags, in as few durable writes as they fit. All are
    /// durable when this returns.
    ///
    /// # Errors
    /// As [`append`](Self::append); some of the frames may have been appended.
    pub fn append_run<'a>(
        &mut self,
        views: impl IntoIterator<Item = FrameView<'a>>,
    ) -> Result<(), AppendError> {
        let mut run = std::mem::take(&mut self.run);
        let added = views.into_iter().try_for_each(|view| self.add(&mut run, &view));
        let written = added.and_then(|()| self.write_run(&mut run));
        run.clear();
        self.run = run;
        written
    }

    fn add(&mut self, run: &mut Run, view: &FrameView<'_>) -> Result<(), AppendError> {
        run.frame.clear();
        run.frame.push_all(view);
        self.check(&run.frame)?;
        let (bytes, info) = (run.frame.padded_bytes(), view.info());
        let is_full = run.bytes() + bytes > RUN_BYTES_MAX || run.frames.len() > usize::from(u16::MAX);
        if is_full || !self.has_room(run.bytes() + bytes) {
            self.write_run(run)?;
        }
        match self.active.clone().filter(|_| self.has_room(bytes)) {
            Some(segment) => run.add(&segment, self.chain, info),
            // A segment's first frame is written with its header.
            None => {
                self.set_term(info.term);
                self.append_flagged(&mut run.frame, info.time_us, info.flags)?;
            }
        }
        Ok(())
    }

    /// True if the active segment has room for so many bytes more.
    fn has_room(&self, bytes: u64) -> bool {
        self.active.as_ref().is_some_and(|segment| segment.end() + bytes <= segment.file.bytes)
    }

    fn write_run(&mut self, run: &mut Run) -> Result<(), AppendError> {
        let (Some(segment), Some(chain)) = (self.active.clone(), run.chain) else { return Ok(()) };
        let offset = segment.end();
        if let Err(source) = segment.file.disk.write_durable(offset, &run.sectors) {
            return Err(self.poison(segment.file.name.clone(), offset, source));
        }
        self.publish_run(&segment, run);
        self.chain = chain;
        self.set_term(chain.term);
        self.index.publish_next_lsn(chain.next_lsn);
        self.ask_ahead();
        run.clear();
        Ok(())
    }

    fn publish_run(&mut self, segment: &Arc<Segment>, run: &Run) {
        for Placed { info, previous_crc, bytes } in &run.frames {
            segment.publish(info, *previous_crc, segment.end() + bytes);
            self.stats.frames += 1;
            self.stats.records += u64::from(info.record_count);
            self.stats.bytes += bytes;
        }
        self.stats.durable_writes += 1;
    }
}

impl Run {
    fn bytes(&self) -> u64 {
        self.sectors.len() as u64
    }

    fn clear(&mut self) {
        self.sectors.clear();
        self.frames.clear();
        self.chain = None;
    }

    /// Adds the frame behind those there are, or behind the log's end.
    fn add(&mut self, segment: &Segment, end: Chain, info: FrameInfo) {
        let chain = self.chain.get_or_insert(end);
        let info = FrameInfo {
            first_lsn: chain.next_lsn,
            index: chain.index + 1,
            flags: info.flags & !FLAG_SEAL,
            ..info
        };
        let place = chain.place(segment.header.epoch);
        let in_run = u16::try_from(self.frames.len()).unwrap_or(u16::MAX);
        let crc = self.frame.write_header_in_run(place, info, in_run);
        let bytes = self.frame.padded_bytes();
        chain.advance(&info, crc);
        self.sectors.extend_from_slice(self.frame.buf().bytes());
        self.sectors.extend_zeros((bytes as usize) - self.frame.buf().bytes().len());
        self.frames.push(Placed { info, previous_crc: place.previous_crc, bytes });
    }
}
