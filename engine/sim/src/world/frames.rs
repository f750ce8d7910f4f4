//! Where acknowledged frames stand on a disk, looked up without the product's recovery.

use onrush_storage::disk::{Disk, FaultDisk};
use onrush_storage::log::FrameView;

use super::World;

/// Bytes in front of a segment's first frame.
const FRAMES_START: usize = 4096;
const SECTOR: usize = 4096;

/// Where a frame stands in its file.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) first_lsn: u64,
    pub(crate) seal: bool,
}

impl Place {
    /// Where the frame behind it stands.
    pub(super) fn end(&self) -> usize {
        self.offset + self.len.next_multiple_of(SECTOR)
    }
}

impl World {
    /// The end of the log: file and offset.
    pub(super) fn end_of(&self, index: usize) -> Option<(String, usize)> {
        let (name, frames) = self.frames_of(index)?;
        frames.last().map(|place| (name, place.end()))
    }

    /// True if the last frame stands behind `before`, or first in another file.
    pub(super) fn is_continued(&self, index: usize, before: Option<&(String, usize)>) -> bool {
        let Some((name, frames)) = self.frames_of(index) else { return false };
        let offset = frames.last().map_or(0, |place| place.offset);
        match before {
            Some((same, end)) if *same == name => offset == *end,
            _ => offset == FRAMES_START,
        }
    }

    /// The last segment with its frames; `None` if they do not reach the book's end.
    pub(super) fn frames_of(&self, index: usize) -> Option<(String, Vec<Place>)> {
        last_frames(&self.seats[index].disk, self.mirror.books[index].end_lsn)
    }
}

/// The last segment with its frames; `None` if they do not reach record `end_lsn`.
pub(crate) fn last_frames(disk: &FaultDisk, end_lsn: u64) -> Option<(String, Vec<Place>)> {
    let names = disk.list().ok()?;
    for name in names.into_iter().rev().filter(|name| name.ends_with(".segment")) {
        let bytes = disk.contents(&name).ok()?;
        let mut frames: Vec<Place> = Vec::new();
        let (mut offset, mut next) = (FRAMES_START, None);
        while let Some(rest) = bytes.get(offset..) {
            let Ok(view) = FrameView::parse(rest) else { break };
            let info = view.info();
            if next.is_some_and(|next| next != info.first_lsn) {
                break;
            }
            next = Some(info.next_lsn());
            let len = view.bytes().len();
            frames.push(Place { offset, len, first_lsn: info.first_lsn, seal: info.is_seal() });
            offset += len.next_multiple_of(SECTOR);
        }
        // The last segment is the one whose frames reach the end, or a frame in flight behind it.
        if next.is_some_and(|next| next > end_lsn) {
            return Some((name, frames));
        }
    }
    None
}

/// True if a segment behind this one has a header of its own, whatever became of its frames.
pub(crate) fn is_begun_behind(disk: &FaultDisk, name: &str) -> bool {
    let later = disk.list().unwrap_or_default().into_iter();
    let later = later.filter(|other| other.ends_with(".segment") && other.as_str() > name);
    let is_begun = |other: String| {
        let sequence = other.strip_suffix(".segment").and_then(|digits| digits.parse::<u64>().ok());
        let bytes = disk.contents(&other).unwrap_or_default();
        // Of an earlier life it has another number.
        let found = bytes.get(16..24).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        found == sequence
    };
    later.into_iter().any(is_begun)
}
