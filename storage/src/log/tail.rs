//! The end of the log after a crash: clean, torn, or proof of damage further in front.

use std::sync::Arc;

use super::chain::Chain;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader};
use super::options::LogOptions;
use super::recovery::{Cut, Damage, OpenError};
use super::segment::{FRAMES_START, HeaderError, Segment, SegmentHeader};
use super::segment_file::SegmentFile;
use super::supply::Prepared;
use super::walk::Walk;
use super::window::{Found, Wanted, Window};
use crate::disk::{AlignedBuf, Disk, SECTOR_BYTES};

const ZEROS_BYTES: u64 = 1 << 20;

/// A segment's file as its first sector tells.
pub(super) enum Opened {
    /// The header is good.
    InUse(SegmentFile, SegmentHeader),
    /// The header is not that of this segment.
    Unused(Head),
}

/// A file behind the last segment with frames: ready to be used, or torn at its first write.
pub(super) struct Head {
    file: SegmentFile,
    /// True if the first sector is all zeros, as in a file that was never used.
    blank: bool,
    /// True if the header is that of an earlier life.
    stale: bool,
    /// Where and why it is not a segment in use.
    offset: u64,
    damage: Damage,
}

impl Head {
    pub(super) fn open(disk: &dyn Disk, sequence: u64, window: &mut Window) -> Result<Opened, OpenError> {
        let file = SegmentFile::open(disk, sequence)?;
        window.clear();
        let sector = file.read(window, 0, SECTOR_BYTES)?;
        let error = match SegmentHeader::decode(sector, sequence) {
            Ok(header) => return Ok(Opened::InUse(file, header)),
            Err(error) => error,
        };
        let blank = sector.iter().all(|byte| *byte == 0);
        let stale = matches!(error, HeaderError::Sequence { .. });
        Ok(Opened::Unused(Self { file, blank, stale, offset: 0, damage: error.into() }))
    }

    /// The error if this file must have been in use.
    pub(super) fn damaged(&self) -> OpenError {
        self.file.corrupt(self.offset, self.damage)
    }
}

/// What a crash left in flight.
enum Tear {
    /// A frame at the end of a segment: overwritten with zeros.
    Frame { segment: Arc<Segment>, from: u64, to: u64, was_whole: bool },
    /// The first write of a segment: the file is removed, a new one will be made.
    Head { file: SegmentFile, to: u64, was_whole: bool },
}

/// The end of a log that may be opened.
pub(super) struct Tail {
    tear: Option<Tear>,
    ready: Option<Prepared>,
}

/// Decides between a clean end, a tear and damage. Changes nothing.
pub(super) fn judge(walk: &mut Walk, head: Option<Head>) -> Result<Tail, OpenError> {
    let head = match head {
        Some(head) if walk.last_is_frameless() => return Err(last_damaged(walk, &head)),
        Some(head) => Some(head),
        None => frameless(walk),
    };
    let torn = torn_frame(walk)?;
    let Some(head) = head else {
        return Ok(Tail { tear: torn, ready: None });
    };
    if walk.segments.is_empty() && head.file.sequence != 1 {
        return Err(head.damaged());
    }
    walk.window.clear();
    let verdict = judge_head(&head, &walk.chain, &mut walk.window)?;
    match (verdict, torn) {
        (HeadState::Ready, torn) => {
            let ready = Prepared { file: head.file, recycled: head.stale };
            Ok(Tail { tear: torn, ready: Some(ready) })
        }
        (HeadState::Torn { to }, None) => {
            let was_whole = !head.blank && head.file.is_all_there(&mut walk.window, FRAMES_START)?;
            Ok(Tail { tear: Some(Tear::Head { file: head.file, to, was_whole }), ready: None })
        }
        (HeadState::InUse, None) => Err(head.damaged()),
        // The next segment was begun, so the frame in front of it had been acknowledged.
        (HeadState::Torn { .. } | HeadState::InUse, Some(_)) => Err(last_damaged(walk, &head)),
    }
}

/// A segment with a good header and no good frame was being begun; the one before it is the last. If
/// another stood ready behind it, it had been begun.
fn frameless(walk: &mut Walk) -> Option<Head> {
    if !walk.last_is_frameless() {
        return None;
    }
    let (file, stop) = walk.take_back()?;
    Some(Head { file, blank: false, stale: false, offset: FRAMES_START, damage: stop.into() })
}

/// The frame in flight in the last segment, unless a later one proves that it had been acknowledged.
fn torn_frame(walk: &mut Walk) -> Result<Option<Tear>, OpenError> {
    let (Some(segment), Some(stop)) = (walk.segments.back(), walk.stop) else { return Ok(None) };
    let (file, from, header) = (&segment.file, segment.end(), &segment.header);
    let window = &mut walk.window;
    window.clear();
    let wanted = Wanted::of_segment(header, walk.chain.next_lsn).behind(walk.chain.index + 1);
    // Parts of the same write that are whole say nothing, and must not be found behind what is written next.
    let parts_end = match file.look_for(window, from, wanted)? {
        Found::Later => return Err(file.corrupt(from, stop)),
        Found::Parts { end } => Some(end),
        Found::Nothing => None,
    };
    let mut ours = true;
    let to = if header.recycled {
        let head = file.read(window, from, FRAME_HEADER_BYTES)?;
        ours = FrameHeader::fits(head, &walk.chain.place(header.epoch)) >= 2;
        let claimed = if ours { Some(file.claimed_end(window, from)?) } else { None };
        claimed.max(parts_end)
    } else {
        file.last_written(window, from)?
    };
    let Some(to) = to else { return Ok(None) };
    // What an earlier life of the file has left there says nothing.
    let was_whole = ours && file.is_all_there(window, from)?;
    Ok(Some(Tear::Frame { segment: Arc::clone(segment), from, to, was_whole }))
}

fn last_damaged(walk: &Walk, head: &Head) -> OpenError {
    match (walk.segments.back(), walk.stop) {
        (Some(segment), Some(stop)) => segment.file.corrupt(segment.end(), stop),
        _ => head.damaged(),
    }
}

enum HeadState {
    /// Never written in this life.
    Ready,
    /// Its first write was in flight; it reaches at least to here.
    Torn { to: u64 },
    /// It has frames behind its first write.
    InUse,
}

fn judge_head(head: &Head, chain: &Chain, window: &mut Window) -> Result<HeadState, OpenError> {
    let file = &head.file;
    // The epoch stands in the header, which may not be there.
    let any_epoch = chain.place(0);
    let first = file.read(window, FRAMES_START, FRAME_HEADER_BYTES)?;
    let ours = FrameHeader::continues(first, &any_epoch);
    let whole = ours && file.frame(window, FRAMES_START)?.is_ok();
    let first_end = if ours { file.claimed_end(window, FRAMES_START)? } else { FRAMES_START };
    let behind = if whole { first_end } else { FRAMES_START };
    if file.look_for(window, behind, Wanted::of_any_life(chain.next_lsn))? != Found::Nothing {
        return Ok(HeadState::InUse);
    }
    // No tear puts a frame in a header's place: a later write strayed there.
    if file.frame(window, 0)?.is_ok_and(|frame| frame.info().first_lsn >= chain.next_lsn) {
        return Ok(HeadState::InUse);
    }
    let torn_to = if ours {
        Some(first_end)
    } else if head.blank {
        file.last_written(window, 0)?
    } else if head.stale {
        None
    } else {
        Some(FRAMES_START)
    };
    Ok(torn_to.map_or(HeadState::Ready, |to| HeadState::Torn { to }))
}

impl Tail {
    /// What is to be cut.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.tear.as_ref().map(|tear| match tear {
            Tear::Frame { segment, from, to, was_whole } => {
                let (file, bytes) = (segment.file.name.clone(), to - from);
                Cut { file, offset: *from, bytes, was_whole: *was_whole }
            }
            Tear::Head { file, to, was_whole } => {
                Cut { file: file.name.clone(), offset: 0, bytes: *to, was_whole: *was_whole }
            }
        })
    }

    /// Cuts what was torn and syncs the last segment: what was read may be in the page cache alone.
    pub(super) fn repair(
        &mut self,
        disk: &dyn Disk,
        last: Option<&Segment>,
    ) -> Result<Option<Cut>, OpenError> {
        let cut = self.cut();
        match self.tear.take() {
            None => {}
            Some(Tear::Frame { segment, from, to, .. }) => zero(&segment.file, from, to)?,
            Some(Tear::Head { file, .. }) => remove(disk, &file.name)?,
        }
        if let Some(segment) = last {
            let file = &segment.file;
            file.disk.sync().map_err(|source| OpenError::Write { file: file.name.clone(), source })?;
        }
        Ok(cut)
    }

    /// The segment that stands ready, if it has the size asked for now.
    pub(super) fn into_ready(
        self,
        disk: &dyn Disk,
        options: &LogOptions,
    ) -> Result<Option<Prepared>, OpenError> {
        let Some(ready) = self.ready else { return Ok(None) };
        if ready.file.bytes == options.segment_bytes {
            return Ok(Some(ready));
        }
        remove(disk, &ready.file.name)?;
        Ok(None)
    }
}

fn remove(disk: &dyn Disk, name: &str) -> Result<(), OpenError> {
    disk.remove(name).map_err(|source| OpenError::Write { file: name.to_owned(), source })
}

pub(super) fn zero(file: &SegmentFile, from: u64, to: u64) -> Result<(), OpenError> {
    let mut zeros = AlignedBuf::default();
    let mut offset = from;
    while offset < to {
        let count = (to - offset).min(ZEROS_BYTES);
        zeros.clear();
        zeros.extend_zeros(count as usize);
        file.disk
            .write_durable(offset, &zeros)
            .map_err(|source| OpenError::Write { file: file.name.clone(), source })?;
        offset += count;
    }
    Ok(())
}
