//! An entry of the replicated log: one frame, which is one batch.

use std::sync::Arc;

use onrush_storage::log::{FLAG_MEMBERS, Frame, FrameBuf, FrameInfo};

use super::group_record::{GroupRecordError, members_in};
use super::members::Members;

/// A place in the replicated log: the entry with this index, written by the leader of this term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// The leader's term. Compared first: a log that ends in a later term is the more complete one.
    pub term: u64,
    /// The entry's index, from 1; 0 in front of all.
    pub index: u64,
}

/// A frame of the replicated log. Copies share its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    info: FrameInfo,
    frame: Arc<Frame>,
}

impl Entry {
    /// What a leader proposes.
    pub fn new(frame: &FrameBuf, info: FrameInfo) -> Self {
        Self::from(frame.unplaced(info))
    }

    /// An entry without records: how a leader begins its term.
    pub fn empty(info: FrameInfo) -> Self {
        Self::from(Frame::empty(info))
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        Position { term: self.info.term, index: self.info.index }
    }

    /// What its frame says about itself.
    pub fn info(&self) -> FrameInfo {
        self.info
    }

    /// Its frame. Epoch and chain in it are those of the log that it came from, if any.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Its frame, to be kept.
    pub fn shared(&self) -> Arc<Frame> {
        Arc::clone(&self.frame)
    }

    /// Bytes of its frame.
    pub fn bytes(&self) -> usize {
        self.frame.bytes().len()
    }

    /// The group from this entry on, if it is about that.
    ///
    /// # Errors
    /// If its record is about something else.
    pub fn members(&self) -> Result<Option<Members>, GroupRecordError> {
        if self.info.flags & FLAG_MEMBERS == 0 {
            return Ok(None);
        }
        members_in(&self.frame.view()).map(Some)
    }
}

impl From<Frame> for Entry {
    fn from(frame: Frame) -> Self {
        Self { info: frame.view().info(), frame: Arc::new(frame) }
    }
}
