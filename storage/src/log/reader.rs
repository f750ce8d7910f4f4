//! The readers' side of a log.

use std::io;
use std::sync::Arc;

use super::frame::{FrameError, FrameInfo, FrameView, Place};
use super::index::SegmentIndex;
use super::segment::{Mark, Segment};
use super::window::{Fault, Window};

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The Lsn was released.
    #[error("expected an lsn of {first} or more, found {found}: older ones were released")]
    OutOfRange {
        /// The oldest Lsn that can be read.
        first: u64,
        /// The Lsn asked for.
        found: u64,
    },
    /// The Lsn is more than one past the end.
    #[error("expected an lsn of {next} or less, found {found}")]
    BeyondEnd {
        /// One past the last durable record.
        next: u64,
        /// The Lsn asked for.
        found: u64,
    },
    /// The frame is not as it was written.
    #[error("corrupt log: {file} at offset {offset}: {source}")]
    Corrupt {
        /// The segment file.
        file: String,
        /// Where the frame starts.
        offset: u64,
        /// What was expected there and what was found.
        source: FrameError,
    },
    /// The disk could not be read.
    #[error("cannot read {file} at offset {offset}: {source}")]
    Read {
        /// The segment file.
        file: String,
        /// Where the frame starts.
        offset: u64,
        /// What the disk said.
        source: io::Error,
    },
}

/// Reads a log's frames in order, while it grows. Independent of the writer and of other readers.
///
/// It pins the segment it stands in, and with it all later ones: drop it, or read on, to let them be
/// recycled.
pub struct LogReader {
    index: Arc<SegmentIndex>,
    window: Window,
    /// Where to begin once there is a segment; `None` for the oldest frame.
    wanted: Option<u64>,
    position: Option<Position>,
}

/// In front of the next frame.
struct Position {
    segment: Arc<Segment>,
    next: Mark,
    /// [`Segment::cuts`] when it was read.
    cuts: u64,
}

impl Position {
    fn start(segment: Arc<Segment>) -> Self {
        let next = segment.start();
        Self::at(segment, next)
    }

    fn at(segment: Arc<Segment>, next: Mark) -> Self {
        Self { cuts: segment.cuts(), segment, next }
    }

    fn place(&self) -> Place {
        Place {
            epoch: self.segment.header.epoch,
            first_lsn: self.next.lsn,
            previous_crc: self.next.previous_crc,
        }
    }
}

impl LogReader {
    pub(super) fn new(index: Arc<SegmentIndex>) -> Self {
        Self { index, window: Window::default(), wanted: None, position: None }
    }

    /// Another reader of the same log, at its oldest frame.
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.index))
    }

    /// The oldest Lsn that can be read; one past the end if there is none.
    pub fn first_lsn(&self) -> u64 {
        self.index.first_lsn()
    }

    /// Bytes of the log behind `lsn`, the rest of its segment counted too.
    pub fn bytes_behind(&self, lsn: u64) -> u64 {
        self.index.bytes_behind(lsn)
    }

    /// The term of the frame in front of the oldest one that can be read; 0 if there is none.
    pub fn term_in_front(&self) -> u64 {
        self.index.first().map_or(0, |segment| segment.header.previous_term)
    }

    /// Stands in front of the frame that holds `lsn`; one past the end waits for what comes. Without a
    /// seek a reader starts at the oldest frame.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if `lsn` was released, [`ReadError::BeyondEnd`] if it is further off.
    pub fn seek(&mut self, lsn: u64) -> Result<(), ReadError> {
        let next = self.index.next_lsn();
        if lsn > next {
            return Err(ReadError::BeyondEnd { next, found: lsn });
        }
        self.position = None;
        self.wanted = Some(lsn);
        self.skip_to(lsn)
    }

    /// Stands in front of the frame with this index, or behind all frames if it is one past the last.
    ///
    /// # Errors
    /// As [`next_frame`](Self::next_frame).
    pub fn seek_index(&mut self, index: u64) -> Result<(), ReadError> {
        let Some(segment) = self.index.holding_index(index) else { return Ok(()) };
        let next = segment.mark_for_index(index);
        self.wanted = None;
        self.position = Some(Position::at(segment, next));
        self.window.clear();
        self.skip(|info| info.index < index || info.is_seal())
    }

    /// The next whole frame, checked; `None` at the end, for now. Seals come too: frames without records.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] and [`ReadError::Read`] name file and offset; the reader stays in front of
    /// the frame.
    pub fn next_frame(&mut self) -> Result<Option<FrameView<'_>>, ReadError> {
        self.forget_cut()?;
        if !self.advance()? {
            return Ok(None);
        }
        let Some(position) = &mut self.position else { return Ok(None) };
        let view = read(&mut self.window, position)?;
        position.next = after(&position.next, &view);
        Ok(Some(view))
    }

    /// After frames were taken back, finds anew what it stood in front of.
    fn forget_cut(&mut self) -> Result<(), ReadError> {
        let cut = |position: &&Position| position.cuts != position.segment.cuts();
        match self.position.as_ref().filter(cut).map(|position| position.next.lsn) {
            Some(lsn) => self.seek(lsn.min(self.index.next_lsn())),
            None => Ok(()),
        }
    }

    /// Skips the frames in front of `lsn`.
    fn skip_to(&mut self, lsn: u64) -> Result<(), ReadError> {
        self.skip(|info| info.next_lsn() <= lsn)
    }

    fn skip(&mut self, passed: impl Fn(&FrameInfo) -> bool) -> Result<(), ReadError> {
        while self.advance()? {
            let Some(position) = &mut self.position else { break };
            let view = read(&mut self.window, position)?;
            if !passed(&view.info()) {
                break;
            }
            position.next = after(&position.next, &view);
        }
        Ok(())
    }

    /// Moves to the next segment if this one is read; true if there is a frame to read.
    fn advance(&mut self) -> Result<bool, ReadError> {
        if self.position.is_none() {
            self.position = self.begin()?;
            self.window.clear();
        }
        let Some(position) = &mut self.position else { return Ok(false) };
        loop {
            // Whether it is closed is asked first: a closed segment's end is final.
            let closed = position.segment.is_closed();
            if position.next.offset < position.segment.end() {
                return Ok(true);
            }
            if !closed {
                return Ok(false);
            }
            let Some(segment) = self.index.after(position.segment.header.sequence) else {
                return Ok(false);
            };
            *position = Position::start(segment);
            self.window.clear();
        }
    }

    /// Stands somewhere in front of the wanted frame; `None` while the log has no frame at all.
    fn begin(&self) -> Result<Option<Position>, ReadError> {
        let Some(found) = self.wanted else {
            return Ok(self.index.first().map(Position::start));
        };
        if let Some(segment) = self.index.holding(found) {
            let next = segment.mark_for(found);
            return Ok(Some(Position::at(segment, next)));
        }
        let first = self.index.first_lsn();
        if found < first { Err(ReadError::OutOfRange { first, found }) } else { Ok(None) }
    }
}

fn read<'w>(window: &'w mut Window, position: &Position) -> Result<FrameView<'w>, ReadError> {
    let (file, offset) = (&position.segment.file, position.next.offset);
    let corrupt = |source| ReadError::Corrupt { file: file.name.clone(), offset, source };
    let view = match window.frame(file.disk.as_ref(), offset, position.segment.end()) {
        Ok(view) => view,
        Err(Fault::Frame(source)) => return Err(corrupt(source)),
        Err(Fault::Io(source)) => return Err(ReadError::Read { file: file.name.clone(), offset, source }),
    };
    view.header().check_place(&position.place()).map_err(corrupt)?;
    Ok(view)
}

fn after(mark: &Mark, view: &FrameView<'_>) -> Mark {
    let header = view.header();
    Mark {
        lsn: view.info().next_lsn(),
        index: view.info().index,
        offset: mark.offset + header.padded_bytes(),
        previous_crc: header.crc.get(),
    }
}
