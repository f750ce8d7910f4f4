//! Opening a log: what is whole is kept, a torn tail is cut, a damaged middle is refused.
//!
//! Only one durable write is ever in flight, and each is a frame (the first of a segment together with
//! the segment's header) or a run of frames, which say so. So a crash can damage the last one only, and whatever is
//! found behind a damaged frame and is not of its run proves that it was acknowledged: it was not torn but lost, and
//! opening would lose more.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::chain::Chain;
use super::frame::FrameError;
use super::options::{LogOptions, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use super::segment::{HeaderError, Segment, is_spare, segment_name, sequence_of};
use super::supply::Prepared;
use super::tail::{self, Head, Opened};
use super::walk::Walk;
use super::window::Window;
use crate::disk::Disk;

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The oldest Lsn that can be read; one past `end_lsn` if there is none.
    pub first_lsn: u64,
    /// The last record's Lsn; one below the first Lsn to come if there is none.
    pub end_lsn: u64,
    /// Shard time of the last frame in microseconds; 0 if there is none.
    pub last_time_us: u64,
    /// The term of the last frame; 0 if there is none.
    pub term: u64,
    /// The index of the last frame, seals not counted; 0 if there is none.
    pub index: u64,
    /// What a crash tore and recovery cut off: never acknowledged, unless the last unsealed frame
    /// was damaged later.
    pub cut: Option<Cut>,
    /// True if the log ends with a seal: nothing is missing.
    pub sealed: bool,
}

/// A torn tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment file.
    pub file: String,
    /// Where the torn write starts.
    pub offset: u64,
    /// How far it can be told to reach.
    pub bytes: u64,
    /// True if nothing of it is missing: rather than torn it was damaged later, and it may have been acknowledged.
    pub was_whole: bool,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Acknowledged bytes are damaged or missing; nothing was changed.
    #[error("corrupt log: {file} at offset {offset}: {damage}")]
    Corrupt {
        /// The segment file.
        file: String,
        /// The first byte that is not as it was written.
        offset: u64,
        /// What was expected there and what was found.
        damage: Damage,
    },
    /// The log belongs to another shard.
    #[error("expected the log of shard {expected} in {file}, found that of shard {found}")]
    WrongShard {
        /// The segment file.
        file: String,
        /// The shard asked for.
        expected: u16,
        /// The shard in the segment's header.
        found: u16,
    },
    /// The segment size makes no sense.
    #[error(
        "expected segment_bytes to be a multiple of 4096 between {SEGMENT_BYTES_MIN} and \
         {SEGMENT_BYTES_MAX}, found {found}"
    )]
    SegmentBytes {
        /// The size asked for.
        found: u64,
    },
    /// The disk could not be read.
    #[error("cannot read {file} at offset {offset}: {source}")]
    Read {
        /// The file, or the directory as `.`.
        file: String,
        /// Where reading started.
        offset: u64,
        /// What the disk said.
        source: io::Error,
    },
    /// The tail could not be cut or synced, or the first segment could not be created.
    #[error("cannot write {file}: {source}")]
    Write {
        /// The file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The thread that prepares segments could not be started.
    #[error("cannot start the thread that prepares segments: {0}")]
    Thread(io::Error),
}

/// What is wrong with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A frame is damaged or missing.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The segment's header is damaged or missing.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The file is shorter or longer than it was made.
    #[error("expected a segment of {expected} bytes, found {found}")]
    Length {
        /// Bytes when it was made.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// A segment between others is gone.
    #[error("expected segment number {expected}, found none before number {found}")]
    Missing {
        /// The number of the missing segment.
        expected: u64,
        /// The next one there is.
        found: u64,
    },
    /// A log was here once: what it let go of lies there to be used again, and nothing else.
    #[error("expected a segment beside a file that was one, found none")]
    NoSegment,
}

/// Everything that opening hands to the writer.
pub(super) struct Recovered {
    pub(super) report: Recovery,
    pub(super) chain: Chain,
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) prepared: Option<Prepared>,
    pub(super) spares: BTreeSet<String>,
}

/// Reads the whole log, changes nothing if it is corrupt, and repairs its tail if it is torn.
pub(super) fn recover(
    disk: &dyn Disk,
    options: &LogOptions,
    mending: &mut dyn FnMut(&Cut) -> Result<(), OpenError>,
) -> Result<Recovered, OpenError> {
    let (sequences, spares) = list(disk)?;
    let mut walk = Walk::new(options);
    let mut unused: Option<Head> = None;
    for sequence in sequences {
        if let Some(unused) = &unused {
            // A segment is made ready only while the one before it is in use.
            return Err(unused.damaged());
        }
        match Head::open(disk, sequence, &mut walk.window)? {
            Opened::InUse(file, header) => walk.enter(file, header)?,
            Opened::Unused(head) => unused = Some(head),
        }
    }
    let mut tail = tail::judge(&mut walk, unused)?;
    tail.cut().as_ref().map_or(Ok(()), mending)?;
    if walk.segments.is_empty() {
        must_be_new(disk, &spares, &mut walk.window)?;
        walk.chain = Chain::start(options.first_lsn);
    }
    // A process whose rename was not synced may have left a segment under a name that a power loss
    // takes back, with everything that would be written there.
    if !crate::planted::planted(23) {
        let failed = |source| OpenError::Write { file: ".".to_owned(), source };
        disk.sync_entries().map_err(failed)?;
    }
    let cut = tail.repair(disk, walk.segments.back().map(Arc::as_ref))?;
    let Walk { chain, segments, .. } = walk;
    let report = Recovery {
        first_lsn: segments.front().map_or(chain.next_lsn, |segment| segment.header.first_lsn),
        end_lsn: chain.next_lsn.saturating_sub(1),
        last_time_us: chain.time_us,
        term: chain.term,
        index: chain.index,
        sealed: chain.sealed && cut.is_none(),
        cut,
    };
    let prepared = tail.into_ready(disk, options)?;
    Ok(Recovered { report, chain, segments, prepared, spares })
}

/// A log that was used always has a segment with frames, so that what it let go of alone is a log that was lost. Taken
/// into use as the first segment of a new one such a file could be read as what it was before.
fn must_be_new(disk: &dyn Disk, spares: &BTreeSet<String>, window: &mut Window) -> Result<(), OpenError> {
    for file in spares {
        let failed = |source| OpenError::Read { file: file.clone(), offset: 0, source };
        let spare = disk.open(file).map_err(failed)?;
        let bytes = spare.len().map_err(failed)?;
        window.clear();
        // All of it is looked at: what damaged the log may have left nothing in the first sector.
        if window.last_written(spare.as_ref(), 0, bytes).map_err(failed)?.is_some() {
            return Err(OpenError::Corrupt { file: file.clone(), offset: 0, damage: Damage::NoSegment });
        }
    }
    Ok(())
}

fn list(disk: &dyn Disk) -> Result<(Vec<u64>, BTreeSet<String>), OpenError> {
    let names = disk.list().map_err(|source| OpenError::Read { file: ".".to_owned(), offset: 0, source })?;
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| sequence_of(name)).collect();
    sequences.sort_unstable();
    for pair in sequences.windows(2) {
        let expected = pair[0] + 1;
        if pair[1] != expected {
            let damage = Damage::Missing { expected, found: pair[1] };
            return Err(OpenError::Corrupt { file: segment_name(expected), offset: 0, damage });
        }
    }
    Ok((sequences, names.into_iter().filter(|name| is_spare(name)).collect()))
}
