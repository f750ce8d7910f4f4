//! The youngest committed frames in memory, for subscribers that keep up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event_listener::{Event, EventListener};
use onrush_storage::log::{Frame, LogReader};

/// Bytes of frames kept. Subscribers that lag further read the log's files.
pub(crate) const TAIL_BYTES_MAX: usize = 64 << 20;
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
    /// Lets go of the oldest frames over the bound.
    fn trim(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.frames.len() > 1 {
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
    bytes_max: usize,
    committed: AtomicU64,
    grown: Event,
    reader: Mutex<LogReader>,
}

impl Tail {
    /// A tail behind `committed`, over the log that `reader` reads. It keeps about `bytes_max`
    /// bytes of frames.
    pub fn new(committed: u64, reader: LogReader, bytes_max: usize) -> Self {
        Self {
            bytes_max,
            frames: Mutex::new(Frames { frames: VecDeque::new(), bytes: 0, spares: Vec::new() }),
            committed: AtomicU64::new(committed),
            grown: Event::new(),
            reader: Mutex::new(reader),
        }
    }

    /// The last committed record.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Memory of a frame that nobody reads any more; new memory if there is none.
    pub(crate) fn spare(&self) -> Vec<u8> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).spares.pop().unwrap_or_default()
    }

    /// Takes a frame that has just been committed.
    pub fn push(&self, frame: Arc<Frame>) {
        let last = frame.view().info().next_lsn().saturating_sub(1);
        {
            let mut tail = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            tail.bytes += frame.bytes().len();
            tail.frames.push_back(frame);
            tail.trim(self.bytes_max);
        }
        self.committed.store(last, Ordering::Release);
        self.grown.notify(usize::MAX);
    }

    /// The frame behind position `lsn`.
    pub(crate) fn after(&self, lsn: u64) -> Tailed {
        if self.committed() <= lsn {
            return Tailed::End;
        }
        let tail = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |frame: &Arc<Frame>| {
            let info = frame.view().info();
            info.next_lsn() <= lsn + 1 || (cfg!(planted = "21") && info.first_lsn <= lsn)
        };
        let position = tail.frames.partition_point(read);
        match tail.frames.get(position) {
            Some(frame)
                if position > 0 || frame.view().info().first_lsn <= lsn + 1 || cfg!(planted = "25") =>
            {
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
