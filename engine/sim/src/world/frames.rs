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

/// Epoch and first Lsn of what begins as a frame does.
fn header_of(bytes: &[u8], offset: usize) -> Option<(u64, u64)> {
    let header = bytes.get(offset..offset + 32).filter(|header| header[8..12] == *b"ONRF")?;
    let number = |at: usize| header[at..at + 8].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
    Some((number(16), number(24)))
}

/// True if anything of a later write than that of the frame at `last` is there: a whole frame, a segment's header, or the
/// beginning of its first frame; behind a segment's only frame also a file that stands ready, which is made once the segment has
/// been begun.
pub(crate) fn is_begun_behind(disk: &FaultDisk, name: &str, last: &Place) -> bool {
    let bytes = disk.contents(name).unwrap_or_default();
    let Some(Ok(frame)) = bytes.get(last.offset..).map(FrameView::parse) else { return true };
    let next_lsn = frame.info().next_lsn();
    let epoch = header_of(&bytes, last.offset).map(|(epoch, _)| epoch);
    let mut behind = (last.end()..bytes.len()).step_by(SECTOR);
    let is_later = |offset| {
        let header = header_of(&bytes, offset);
        let ours = header.is_some_and(|(found, lsn)| Some(found) == epoch && lsn >= next_lsn);
        ours && FrameView::parse(&bytes[offset..]).is_ok()
    };
    if behind.any(is_later) {
        return true;
    }
    let later = disk.list().unwrap_or_default().into_iter();
    let mut later = later.filter(|other| other.ends_with(".segment") && other.as_str() > name);
    later.any(|other| {
        let sequence = other.strip_suffix(".segment").and_then(|digits| digits.parse::<u64>().ok());
        let bytes = disk.contents(&other).unwrap_or_default();
        // Of an earlier life it has another number.
        let number = bytes.get(16..24).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let is_blank = |part: &[u8]| part.iter().all(|byte| *byte == 0);
        let (head, rest) = bytes.split_at(FRAMES_START.min(bytes.len()));
        let is_torn = is_blank(head) && !is_blank(rest);
        let frames = (FRAMES_START..bytes.len()).step_by(SECTOR);
        last.offset == FRAMES_START
            || number == sequence
            || is_torn
            || frames.filter_map(|offset| header_of(&bytes, offset)).any(|(_, lsn)| lsn >= next_lsn)
    })
}
