//! A shard's log, at hand or with the thread that makes a frame of it durable.
//!
//! The log moves to the thread with its frame and comes back with the answer, so that one durable
//! write is in flight at most, and nobody can look at a log that is being written.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use onrush_storage::log::{AppendError, FrameBuf, Log};

use super::station::Station;
use super::thread::AbortOnPanic;

/// A frame that is to become durable.
struct Write {
    log: Log,
    frame: FrameBuf,
    time_us: u64,
}

/// A frame whose write has come back.
pub(super) struct Written {
    pub(super) frame: FrameBuf,
    pub(super) result: Result<(), AppendError>,
    /// What the write took.
    pub(super) took_ns: u64,
}

/// The thread, and the ways to it and back.
struct Hand {
    writes: SyncSender<Write>,
    back: Receiver<(Log, Written)>,
    thread: Option<JoinHandle<()>>,
}

/// Writes a shard's frames.
pub(super) struct Writer {
    /// `None` while the thread has it.
    log: Option<Log>,
    hand: Option<Hand>,
}

impl Writer {
    /// A writer that writes on the caller's thread.
    pub(super) fn new(log: Log) -> Self {
        Self { log: Some(log), hand: None }
    }

    /// Starts the thread that writes while the caller goes on. It wakes the station's sleeper.
    pub(super) fn start_thread(&mut self, station: Arc<Station>) -> io::Result<()> {
        let (writes, frames) = sync_channel(1);
        let (answers, back) = sync_channel(1);
        let name = format!("log-{:03}", station.id.0);
        let thread = thread::Builder::new().name(name).spawn(move || run(&frames, &answers, &station))?;
        self.hand = Some(Hand { writes, back, thread: Some(thread) });
        Ok(())
    }

    /// The log, if no write is in flight.
    pub(super) fn log(&mut self) -> Option<&mut Log> {
        self.log.as_mut()
    }

    /// True while a write is in flight.
    pub(super) fn is_writing(&self) -> bool {
        self.log.is_none()
    }

    /// True if a write can be in flight while the caller goes on.
    pub(super) fn has_thread(&self) -> bool {
        self.hand.is_some()
    }

    /// Makes the frame durable before it returns.
    pub(super) fn write(&mut self, frame: &mut FrameBuf, time_us: u64) -> Result<(), AppendError> {
        let log = self.log.as_mut().ok_or(AppendError::Poisoned)?;
        log.append(frame, time_us).map(drop)
    }

    /// Hands the frame to the thread; gives it back if there is no thread or it is at work.
    pub(super) fn begin(&mut self, frame: FrameBuf, time_us: u64) -> Result<(), FrameBuf> {
        let (Some(hand), Some(log)) = (&self.hand, self.log.take()) else { return Err(frame) };
        hand.writes.send(Write { log, frame, time_us }).map_err(|unsent| {
            let Write { log, frame, .. } = unsent.0;
            self.log = Some(log);
            frame
        })
    }

    /// The frame in flight, if it has come back.
    pub(super) fn poll(&mut self) -> Option<Written> {
        let hand = self.hand.as_ref().filter(|_| self.log.is_none())?;
        match hand.back.try_recv() {
            Ok((log, written)) => {
                self.log = Some(log);
                Some(written)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(lost()),
        }
    }

    /// The frame in flight, once it has come back; `None` if there is none.
    pub(super) fn wait(&mut self) -> Option<Written> {
        let hand = self.hand.as_ref().filter(|_| self.log.is_none())?;
        let Ok((log, written)) = hand.back.recv() else { return Some(lost()) };
        self.log = Some(log);
        Some(written)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(Hand { writes, back, thread }) = self.hand.take() else { return };
        drop((writes, back));
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The thread is gone, and the log with it.
fn lost() -> Written {
    Written { frame: FrameBuf::new(), result: Err(AppendError::Poisoned), took_ns: 0 }
}

fn run(frames: &Receiver<Write>, answers: &SyncSender<(Log, Written)>, station: &Station) {
    let _abort = AbortOnPanic;
    while let Ok(Write { mut log, mut frame, time_us }) = frames.recv() {
        #[allow(clippy::disallowed_methods, reason = "the host is where the clock is read")]
        let since = Instant::now();
        let result = log.append(&mut frame, time_us).map(drop);
        let written = Written { frame, result, took_ns: since.elapsed().as_nanos() as u64 };
        if answers.send((log, written)).is_err() {
            return;
        }
        station.wake_written();
    }
}
