//! The youngest committed frames in memory, for subscribers that keep up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event_listener::{Event, EventListener};
use onrush_proto::planted::planted;
use onrush_storage::log::{Frame, LogReader};

/// However far a store may lag, no more is kept in memory for it.
const UNFLUSHED_BYTES_MAX: u64 = 256 << 20;

/// How much a tail keeps.
#[derive(Clone, Copy, Debug)]
pub struct TailBounds {
    /// Bytes of frames kept in any case. Subscribers that lag further read the log's files.
    pub bytes: usize,
    /// Bytes up to which frames stay that the flusher has not seen yet. Where it has to read them from the disk, it
    /// falls behind further, and takes the disk from who writes the log.
    pub unflushed_bytes: usize,
}

impl TailBounds {
    /// What a node keeps whose store may lag by so many bytes of log.
    pub fn of(lag_bytes_max: u64) -> Self {
        let unflushed_bytes = lag_bytes_max.min(UNFLUSHED_BYTES_MAX) as usize;
        Self { bytes: 64 << 20, unflushed_bytes }
    }

    /// So many bytes, whoever has not seen them.
    pub fn at_most(bytes: usize) -> Self {
        Self { bytes, unflushed_bytes: bytes }
    }
}

/// Frames whose memory waits for another. Fresh memory of this size costs more than the copy.
const SPARES_MAX: usize = 8;

/// What the tail knows of a position.
pub(crate) enum Tailed {
    /// The frame that holds the next record.
    Frame(Arc<Frame>),
    /// Nothing is committed behind the position.
    End,
    /// The tail has let go of it: the log's files have it.
    Older,
}

struct Frames {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    spares: Vec<Vec<u8>>,
}

impl Frames {
    /// Lets go of the oldest frames over the bounds.
    fn trim(&mut self, bounds: TailBounds, flushed: u64) {
        while self.bytes > bounds.bytes && self.frames.len() > 1 {
            let unflushed = |frame: &Arc<Frame>| frame.view().info().next_lsn() > flushed + 1;
            if self.bytes <= bounds.unflushed_bytes && self.frames.front().is_some_and(unflushed) {
                return;
            }
            let Some(gone) = self.frames.pop_front() else { return };
            self.bytes -= gone.bytes().len();
            // Who still reads it frees it.
            let spare = Arc::into_inner(gone).filter(|_| self.spares.len() < SPARES_MAX);
            self.spares.extend(spare.map(Frame::into_spare));
        }
    }
}

/// The youngest committed frames of a shard.
pub struct Tail {
    frames: Mutex<Frames>,
    bounds: TailBounds,
    committed: AtomicU64,
    /// The last record that the flusher has seen.
    flushed: AtomicU64,
    grown: Event,
    reader: Mutex<LogReader>,
}

impl Tail {
    /// A tail behind `committed`, over the log that `reader` reads.
    pub fn new(committed: u64, reader: LogReader, bounds: TailBounds) -> Self {
        Self {
            bounds,
            frames: Mutex::new(Frames { frames: VecDeque::new(), bytes: 0, spares: Vec::new() }),
            committed: AtomicU64::new(committed),
            flushed: AtomicU64::new(0),
            grown: Event::new(),
            reader: Mutex::new(reader),
        }
    }

    /// The last committed record.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Tells that the flusher has seen everything up to this record.
    pub(crate) fn set_flushed(&self, lsn: u64) {
        self.flushed.store(lsn, Ordering::Relaxed);
    }

    /// Memory of a frame that nobody reads any more; new memory if there is none.
    pub(crate) fn spare(&self) -> Vec<u8> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).spares.pop().unwrap_or_default()
    }

    /// Takes a frame that has just been committed. Who waits for one is told by [`notify`](Self::notify).
    pub fn push(&self, frame: Arc<Frame>) {
        let last = frame.view().info().next_lsn().saturating_sub(1);
        {
            let mut tail = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            tail.bytes += frame.bytes().len();
            tail.frames.push_back(frame);
            tail.trim(self.bounds, self.flushed.load(Ordering::Relaxed));
        }
        self.committed.store(last, Ordering::Release);
    }

    /// The frame behind position `lsn`.
    pub(crate) fn after(&self, lsn: u64) -> Tailed {
        if self.committed() <= lsn {
            return Tailed::End;
        }
        let tail = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |frame: &Arc<Frame>| {
            let info = frame.view().info();
            info.next_lsn() <= lsn + 1 || (planted(21) && info.first_lsn <= lsn)
        };
        let position = tail.frames.partition_point(read);
        match tail.frames.get(position) {
            Some(frame) if position > 0 || frame.view().info().first_lsn <= lsn + 1 || planted(25) => {
                Tailed::Frame(Arc::clone(frame))
            }
            _ => Tailed::Older,
        }
    }

    /// Tells everybody to look again.
    pub(crate) fn notify(&self) {
        self.grown.notify(usize::MAX);
    }

    pub(crate) fn listen(&self) -> EventListener {
        self.grown.listen()
    }

    /// A reader of the log's files.
    pub(crate) fn reader(&self) -> LogReader {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).another()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use onrush_storage::disk::FaultDisk;
    use onrush_storage::log::{FrameBuf, Log, LogOptions, Prepare};

    use super::*;

    /// Appends a frame of one record of about `bytes`.
    fn append(log: &mut Log, bytes: usize) -> Arc<Frame> {
        let mut frame = FrameBuf::new();
        frame.push(1, 2, &vec![7; bytes]);
        log.append(&mut frame, 1).unwrap();
        Arc::new(frame.to_frame())
    }

    fn has(tail: &Tail, lsn: u64) -> bool {
        matches!(tail.after(lsn - 1), Tailed::Frame(frame) if frame.view().info().first_lsn == lsn)
    }

    /// Where it let go of them the flusher read the log's files back: a quarter of its time in a sale that was
    /// held up by the flusher.
    #[test]
    fn frames_that_the_flusher_has_not_seen_stay_within_their_own_bound() {
        let options =
            LogOptions { segment_bytes: 1 << 20, prepare: Prepare::Inline, ..LogOptions::new(0, 1) };
        let (mut log, _) = Log::open(Arc::new(FaultDisk::new(7)), options).unwrap();
        let tail = Tail::new(0, log.reader(), TailBounds { bytes: 3_000, unflushed_bytes: 6_000 });
        let push = |log: &mut Log| tail.push(append(log, 900));
        (0..5).for_each(|_| push(&mut log));
        assert!((1..=5).all(|lsn| has(&tail, lsn)), "nobody has seen them");
        (0..3).for_each(|_| push(&mut log));
        assert!(
            !has(&tail, 1) && !has(&tail, 2) && (3..=8).all(|lsn| has(&tail, lsn)),
            "bounded all the same"
        );
        tail.set_flushed(5);
        push(&mut log);
        assert!(!has(&tail, 5) && (6..=9).all(|lsn| has(&tail, lsn)), "what was seen goes first");
        tail.set_flushed(9);
        push(&mut log);
        assert!(!has(&tail, 7) && (8..=10).all(|lsn| has(&tail, lsn)), "as many as in any case");
    }
}
