//! The end of the log: what the next frame must continue.

use super::frame::{FrameHeader, FrameInfo, Place};

/// Advanced by every frame, written or recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) next_lsn: u64,
    /// The crc of the last frame; 0 in front of the first.
    pub(super) crc: u32,
    pub(super) term: u64,
    pub(super) time_us: u64,
    /// Frames so far, seals not counted.
    pub(super) index: u64,
    /// True if the last frame is a seal.
    pub(super) sealed: bool,
}

impl Chain {
    /// In front of the first frame of a log.
    pub(super) fn start(first_lsn: u64) -> Self {
        Self { next_lsn: first_lsn, crc: 0, term: 0, time_us: 0, index: 0, sealed: false }
    }

    /// Where the next frame of a segment stands.
    pub(super) fn place(&self, epoch: u64) -> Place {
        Place { epoch, first_lsn: self.next_lsn, previous_crc: self.crc }
    }

    pub(super) fn advance(&mut self, info: &FrameInfo, crc: u32) {
        self.next_lsn = info.next_lsn();
        self.crc = crc;
        self.term = info.term;
        self.time_us = info.time_us;
        self.index = info.index;
        self.sealed = info.is_seal();
    }

    pub(super) fn advance_past(&mut self, header: &FrameHeader) {
        self.advance(&header.info(), header.crc.get());
    }
}
