//! Taking back frames that were never committed: what a replica does when another leader's log differs.
//!
//! Every state that a crash may leave on the way is a log that opens: later segments go first, newest first; in
//! the segment that stays the frames lose their headers last to first, each by a durable write of its own, and
//! only then what stood behind the headers is cleared.

use std::io;
use std::sync::Arc;

use super::append::Log;
use super::chain::Chain;
use super::frame::FrameView;
use super::reader::ReadError;
use super::segment::{FRAMES_START, Segment};
use super::supply::Failure;
use super::tail::zero;
use super::window::{Fault, Window};
use crate::disk::SECTOR_BYTES;

/// Why frames could not be taken back.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// The frame that would be the last one was released, or never was.
    #[error("expected to keep frame {first} or a later one, found that {found} is to be the last")]
    OutOfRange {
        /// The index of the oldest frame.
        first: u64,
        /// The index asked for.
        found: u64,
    },
    /// The log could not be read; nothing was changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed; the log is poisoned.
    #[error("cannot take frames back from {file}: {source}")]
    Write {
        /// The file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// An earlier call failed: what is on disk is known again after the next open only.
    #[error("expected a working log, found one poisoned by an earlier disk error")]
    Poisoned,
}

/// Where a segment is cut, and what is behind.
struct Joint {
    /// The log's end in front of the cut.
    chain: Chain,
    end: u64,
    /// Offsets of the frames to be taken back, in order.
    behind: Vec<u64>,
}

impl Log {
    /// Takes back every frame with an index above `index`, durably. Frames that were read by anybody but the
    /// replica itself were committed, and are never taken back: the caller sees to that.
    ///
    /// # Errors
    /// [`TruncateError::OutOfRange`] and [`TruncateError::Read`] leave the log as it was. After any other error it is
    /// poisoned, and on disk is a log that ends somewhere between `index` and where it ended.
    pub fn truncate_after(&mut self, index: u64) -> Result<(), TruncateError> {
        if self.poisoned {
            return Err(TruncateError::Poisoned);
        }
        if index >= self.chain.index {
            return Ok(());
        }
        let first = self.index.first().and_then(|segment| segment.first_index()).unwrap_or(0);
        if index < first {
            return Err(TruncateError::OutOfRange { first, found: index });
        }
        let segment = self.index.last_from(index).ok_or(TruncateError::OutOfRange { first, found: index })?;
        let joint = find(&segment, index)?;
        let done = self.drop_behind(&segment).and_then(|()| clear(&segment, &joint));
        if let Err(Failure { file, source }) = done {
            self.poisoned = true;
            return Err(TruncateError::Write { file, source });
        }
        segment.cut(joint.end);
        self.chain = joint.chain;
        self.index.publish_next_lsn(self.chain.next_lsn);
        self.active = Some(segment);
        Ok(())
    }

    /// Removes the segments behind one, newest first, and the one that stands ready behind them.
    fn drop_behind(&mut self, kept: &Segment) -> Result<(), Failure> {
        let newest = self.active.as_ref().map_or(kept.header.sequence, |active| active.header.sequence);
        let remove =
            |log: &Self, file: String| log.disk.remove(&file).map_err(|source| Failure { file, source });
        if let Some(file) = self.supply.withdraw(newest + 1)? {
            remove(self, file)?;
        }
        while let Some(segment) = self.index.pop_behind(kept.header.sequence) {
            remove(self, segment.file.name.clone())?;
            segment.cut(FRAMES_START);
        }
        Ok(())
    }
}

/// Reads a segment up to the cut, and on to see what is behind it.
fn find(segment: &Arc<Segment>, index: u64) -> Result<Joint, ReadError> {
    let (file, header) = (&segment.file, &segment.header);
    let mut chain = Chain { crc: header.previous_crc, ..Chain::start(header.first_lsn) };
    chain.term = header.previous_term;
    let mut joint = Joint { chain, end: FRAMES_START, behind: Vec::new() };
    let (mut window, mut offset) = (Window::default(), FRAMES_START);
    while offset < segment.end() {
        let view = frame(&mut window, segment, offset)?;
        let bytes = view.header().padded_bytes();
        if view.info().index <= index {
            chain.advance_past(view.header());
            (joint.chain, joint.end) = (chain, offset + bytes);
        } else {
            joint.behind.push(offset);
        }
        offset += bytes;
    }
    debug_assert!(joint.end > FRAMES_START, "a frame stays in {}", file.name);
    Ok(joint)
}

fn frame<'w>(window: &'w mut Window, segment: &Segment, offset: u64) -> Result<FrameView<'w>, ReadError> {
    let file = &segment.file;
    window.frame(file.disk.as_ref(), offset, segment.end()).map_err(|fault| match fault {
        Fault::Io(source) => ReadError::Read { file: file.name.clone(), offset, source },
        Fault::Frame(source) => ReadError::Corrupt { file: file.name.clone(), offset, source },
    })
}

fn clear(segment: &Segment, joint: &Joint) -> Result<(), Failure> {
    let failed = |source: io::Error| Failure { file: segment.file.name.clone(), source };
    let zero = |from, to| zero(&segment.file, from, to).map_err(|error| failed(io::Error::other(error)));
    for offset in joint.behind.iter().rev() {
        zero(*offset, offset + SECTOR_BYTES as u64)?;
    }
    zero(joint.end, segment.end())
}
