//! The writer's side of a log: one frame, one durable write. Several at once are in `run`.

use std::io;
use std::sync::Arc;

use super::chain::Chain;
use super::frame::{FLAG_SEAL, FrameInfo};
use super::frame_buf::FrameBuf;
use super::index::SegmentIndex;
use super::options::LogOptions;
use super::reader::LogReader;
use super::recovery::{Cut, OpenError, Recovered, Recovery, recover};
use super::run::Run;
use super::segment::{FRAMES_START, Segment, SegmentHeader};
use super::supply::{Failure, Prepared, Preparer, Supply};
use crate::disk::{AlignedBuf, Disk};

/// The next segment is asked for once this part of the present one is full: late enough not to disturb
/// a log's first commands, early enough to be ready in time.
const ASK_AT_PART: u64 = 4;

/// Why a frame was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The frame does not fit a segment. Nothing was written; the log goes on.
    #[error("expected a frame of at most {limit} bytes, found {bytes}")]
    TooLarge {
        /// Bytes of the frame, padded.
        bytes: u64,
        /// Bytes that a segment holds.
        limit: u64,
    },
    /// There is no room for the next segment. Nothing was written; the log goes on when there is.
    #[error("expected room for segment {file}, found a full disk: {source}")]
    NoSpace {
        /// The segment that could not be made.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The disk failed. Whether the frame is durable is unknown; the log is poisoned.
    #[error("cannot write {file} at offset {offset}: {source}")]
    Write {
        /// The file.
        file: String,
        /// Where the write started.
        offset: u64,
        /// What the disk said.
        source: io::Error,
    },
    /// An earlier call failed: what is on disk is known again after the next open only.
    #[error("expected a working log, found one poisoned by an earlier disk error")]
    Poisoned,
}

/// Counters since a log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Durable writes: one per frame, or per run of frames.
    pub durable_writes: u64,
    /// Frames appended, seals included.
    pub frames: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes written, padding and segment headers included.
    pub bytes: u64,
    /// Segments in use now.
    pub segments: u64,
    /// Segments begun in a file that had an earlier life.
    pub recycled: u64,
}

/// A shard's log, opened for appending. There is one per directory; readers are made from it.
pub struct Log {
    options: LogOptions,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) index: Arc<SegmentIndex>,
    pub(super) active: Option<Arc<Segment>>,
    pub(super) chain: Chain,
    term: u64,
    pub(super) supply: Supply,
    /// A segment's header and first frame, which are one write.
    head: AlignedBuf,
    seal: FrameBuf,
    pub(super) run: Run,
    pub(super) poisoned: bool,
    pub(super) stats: LogStats,
}

impl Log {
    /// Opens the log in a directory, or begins one: reads and checks all of it, and cuts a torn tail.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] if anything but the last write is damaged; nothing was changed then.
    pub fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Self, Recovery), OpenError> {
        Self::open_mending(disk, options, &mut |_| Ok(()))
    }

    /// As [`open`](Self::open); what is to be cut is shown to `mending` first.
    ///
    /// # Errors
    /// As [`open`](Self::open), and whatever `mending` says: then nothing was cut.
    pub fn open_mending(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        mending: &mut dyn FnMut(&Cut) -> Result<(), OpenError>,
    ) -> Result<(Self, Recovery), OpenError> {
        if !options.segment_bytes_valid() {
            return Err(OpenError::SegmentBytes { found: options.segment_bytes });
        }
        let Recovered { report, chain, segments, prepared, spares } =
            recover(disk.as_ref(), &options, mending)?;
        let preparer = Preparer::new(Arc::clone(&disk), &options, spares);
        let mut supply = Supply::start(preparer, options.prepare, prepared).map_err(OpenError::Thread)?;
        let active = segments.back().cloned();
        if active.is_none() {
            supply.ensure(1).map_err(|Failure { file, source }| OpenError::Write { file, source })?;
        }
        for segment in segments.iter().take(segments.len().saturating_sub(1)) {
            segment.close();
        }
        let log = Self {
            options,
            disk,
            index: Arc::new(SegmentIndex::new(segments, chain.next_lsn)),
            active,
            chain,
            term: chain.term,
            supply,
            head: AlignedBuf::default(),
            seal: FrameBuf::new(),
            run: Run::default(),
            poisoned: false,
            stats: LogStats::default(),
        };
        Ok((log, report))
    }

    /// Appends the records as one frame with the Lsns after [`end_lsn`](Self::end_lsn). They are
    /// durable when this returns, and `frame` then holds the frame as it is on disk. A frame without
    /// records is a frame: it carries term and time.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] and [`AppendError::NoSpace`] leave the log as it was. Any other error
    /// poisons it: every later call fails.
    pub fn append(&mut self, frame: &mut FrameBuf, time_us: u64) -> Result<FrameInfo, AppendError> {
        self.append_kind(frame, time_us, 0)
    }

    /// As [`append`](Self::append), with the flags of the frame's kind.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_flagged(
        &mut self,
        frame: &mut FrameBuf,
        time_us: u64,
        flags: u16,
    ) -> Result<FrameInfo, AppendError> {
        self.append_kind(frame, time_us, flags & !FLAG_SEAL)
    }

    /// Appends an empty seal frame, when the log falls idle or closes, so that damage to what is in
    /// front of it is never taken for a tear. Does nothing if the last frame is a seal or there is none.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn seal(&mut self, time_us: u64) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if self.chain.sealed || self.active.is_none() {
            return Ok(());
        }
        let mut seal = std::mem::take(&mut self.seal);
        seal.clear();
        let sealed = self.append_kind(&mut seal, time_us, FLAG_SEAL);
        self.seal = seal;
        sealed.map(drop)
    }

    /// The last durable record's Lsn; one below the first Lsn to come if there is none.
    pub fn end_lsn(&self) -> u64 {
        self.chain.next_lsn.saturating_sub(1)
    }

    /// The last frame's index, seals not counted; 0 if there is none.
    pub fn end_index(&self) -> u64 {
        self.chain.index
    }

    /// The last frame's term; 0 if there is none.
    pub fn end_term(&self) -> u64 {
        self.chain.term
    }

    /// The oldest Lsn that can be read; one past the end if there is none.
    pub fn first_lsn(&self) -> u64 {
        self.index.first_lsn()
    }

    /// Bytes of log behind `lsn`, the rest of its segment counted too.
    pub fn bytes_behind(&self, lsn: u64) -> u64 {
        self.index.bytes_behind(lsn)
    }

    /// The term of the frames to come.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Changes the term of the frames to come.
    pub fn set_term(&mut self, term: u64) {
        self.term = term;
    }

    /// True after a disk error: nothing can be appended before the log is opened anew.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Counters since the log was opened.
    pub fn stats(&self) -> LogStats {
        LogStats { segments: self.index.len() as u64, ..self.stats }
    }

    /// A reader of its own, for any thread. It sees what is durable when it is asked.
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.index))
    }

    pub(super) fn append_kind(
        &mut self,
        frame: &mut FrameBuf,
        time_us: u64,
        flags: u16,
    ) -> Result<FrameInfo, AppendError> {
        self.check(frame)?;
        let info = FrameInfo {
            first_lsn: self.chain.next_lsn,
            record_count: frame.records(),
            term: self.term,
            time_us,
            flags,
            index: self.chain.index + u64::from(flags & FLAG_SEAL == 0),
        };
        let end = self.active.as_ref().map(|segment| (segment.end() + frame.padded_bytes(), segment));
        let crc = match end {
            Some((end, segment)) if end <= segment.file.bytes => {
                let segment = Arc::clone(segment);
                self.write_frame(&segment, frame, info)?
            }
            _ => self.write_head(frame, info)?,
        };
        self.chain.advance(&info, crc);
        self.index.publish_next_lsn(self.chain.next_lsn);
        frame.mark_finished();
        self.count(frame);
        self.ask_ahead();
        Ok(info)
    }

    pub(super) fn check(&mut self, frame: &FrameBuf) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        let (bytes, limit) = (frame.padded_bytes(), self.options.segment_bytes - FRAMES_START);
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        self.supply.check().map_err(|failure| self.poison(failure.file, 0, failure.source))
    }

    fn write_frame(
        &mut self,
        segment: &Segment,
        frame: &mut FrameBuf,
        info: FrameInfo,
    ) -> Result<u32, AppendError> {
        let place = self.chain.place(segment.header.epoch);
        let crc = frame.write_header(place, info);
        let offset = segment.end();
        if let Err(source) = segment.file.disk.write_durable(offset, frame.buf()) {
            return Err(self.poison(segment.file.name.clone(), offset, source));
        }
        segment.publish(&info, place.previous_crc, offset + frame.padded_bytes());
        Ok(crc)
    }

    /// Begins the next segment with this frame.
    fn write_head(&mut self, frame: &mut FrameBuf, info: FrameInfo) -> Result<u32, AppendError> {
        let sequence = self.active.as_ref().map_or(1, |segment| segment.header.sequence + 1);
        let Prepared { file, recycled } = match self.supply.take(sequence) {
            Ok(prepared) => prepared,
            Err(Failure { file, source }) if source.kind() == io::ErrorKind::StorageFull => {
                return Err(AppendError::NoSpace { file, source });
            }
            Err(Failure { file, source }) => return Err(self.poison(file, 0, source)),
        };
        let header = SegmentHeader {
            shard: self.options.shard,
            recycled,
            sequence,
            epoch: self.options.segment_epoch(sequence),
            first_lsn: self.chain.next_lsn,
            previous_term: self.chain.term,
            segment_bytes: file.bytes,
            previous_crc: self.chain.crc,
        };
        let place = self.chain.place(header.epoch);
        let crc = frame.write_header(place, info);
        self.head.clear();
        self.head.extend_from_slice(&header.encode());
        self.head.extend_zeros(FRAMES_START as usize - self.head.len());
        self.head.extend_from_slice(frame.buf().bytes());
        if let Err(source) = file.disk.write_durable(0, &self.head) {
            return Err(self.poison(file.name, 0, source));
        }
        let segment = Segment::new(file, header);
        segment.publish(&info, place.previous_crc, FRAMES_START + frame.padded_bytes());
        self.activate(Arc::new(segment));
        Ok(crc)
    }

    /// The new segment is in the index before the old one says that no frame follows.
    fn activate(&mut self, segment: Arc<Segment>) {
        self.index.push(Arc::clone(&segment));
        self.stats.recycled += u64::from(segment.header.recycled);
        self.stats.bytes += FRAMES_START;
        if let Some(full) = self.active.replace(segment) {
            full.close();
        }
    }

    fn count(&mut self, frame: &FrameBuf) {
        self.stats.durable_writes += 1;
        self.stats.frames += 1;
        self.stats.records += u64::from(frame.records());
        self.stats.bytes += frame.padded_bytes();
    }

    pub(super) fn ask_ahead(&mut self) {
        if let Some(segment) = &self.active
            && segment.end() >= segment.file.bytes / ASK_AT_PART
        {
            self.supply.ask(segment.header.sequence + 1);
        }
    }

    pub(super) fn poison(&mut self, file: String, offset: u64, source: io::Error) -> AppendError {
        self.poisoned = true;
        AppendError::Write { file, offset, source }
    }
}
