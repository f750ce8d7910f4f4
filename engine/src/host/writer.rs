//! What a shard has on disk, at hand or with the thread that makes a write of it durable.
//!
//! It moves to the thread with what is to be written and comes back with the answer, so that one durable
//! write is in flight at most, and nobody can look at a log that is being written.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::station::Station;
use super::thread::AbortOnPanic;

/// What can make a job durable.
pub(super) trait Durable<J> {
    /// What may go wrong.
    type Error;

    /// Makes it durable before it returns.
    fn write(&mut self, job: &mut J) -> Result<(), Self::Error>;
}

/// A job that has come back.
pub(super) struct Written<J, E> {
    /// `None` if the thread is gone, and the disk with it.
    pub(super) job: Option<J>,
    pub(super) result: Result<(), WriteError<E>>,
    /// What the write took.
    pub(super) took_ns: u64,
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError<E> {
    #[error(transparent)]
    Failed(E),
    #[error("expected the thread that writes, found it gone")]
    Gone,
}

type Back<D, J> = (D, J, Result<(), <D as Durable<J>>::Error>, u64);

/// The thread, and the ways to it and back.
struct Hand<D: Durable<J>, J> {
    writes: SyncSender<(D, J)>,
    back: Receiver<Back<D, J>>,
    thread: Option<JoinHandle<()>>,
}

/// Writes a shard's jobs.
pub(super) struct Writer<D: Durable<J>, J> {
    /// `None` while the thread has it.
    disk: Option<D>,
    hand: Option<Hand<D, J>>,
}

impl<D, J> Writer<D, J>
where
    D: Durable<J> + Send + 'static,
    J: Send + 'static,
    D::Error: Send,
{
    /// A writer that writes on the caller's thread.
    pub(super) fn new(disk: D) -> Self {
        Self { disk: Some(disk), hand: None }
    }

    /// Starts the thread that writes while the caller goes on. It wakes the station's sleeper.
    pub(super) fn start_thread(&mut self, station: Arc<Station>) -> io::Result<()> {
        let (writes, jobs) = sync_channel(1);
        let (answers, back) = sync_channel(1);
        let name = format!("log-{:03}", station.id.0);
        let thread = thread::Builder::new().name(name).spawn(move || run(&jobs, &answers, &station))?;
        self.hand = Some(Hand { writes, back, thread: Some(thread) });
        Ok(())
    }

    /// The disk, if no write is in flight.
    pub(super) fn disk(&mut self) -> Option<&mut D> {
        self.disk.as_mut()
    }

    /// True while a write is in flight.
    pub(super) fn is_writing(&self) -> bool {
        self.disk.is_none()
    }

    /// True if a write can be in flight while the caller goes on.
    pub(super) fn has_thread(&self) -> bool {
        self.hand.is_some()
    }

    /// Makes the job durable before it returns.
    pub(super) fn write(&mut self, job: &mut J) -> Result<(), WriteError<D::Error>> {
        self.disk.as_mut().ok_or(WriteError::Gone)?.write(job).map_err(WriteError::Failed)
    }

    /// Hands the job to the thread; gives it back if there is no thread or it is at work.
    pub(super) fn begin(&mut self, job: J) -> Result<(), J> {
        let Some(hand) = &self.hand else { return Err(job) };
        let Some(disk) = self.disk.take() else { return Err(job) };
        hand.writes.send((disk, job)).map_err(|unsent| {
            let (disk, job) = unsent.0;
            self.disk = Some(disk);
            job
        })
    }

    /// The job in flight, if it has come back.
    pub(super) fn poll(&mut self) -> Option<Written<J, D::Error>> {
        let hand = self.hand.as_ref().filter(|_| self.disk.is_none())?;
        match hand.back.try_recv() {
            Ok(back) => Some(self.take_back(back)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(lost()),
        }
    }

    /// The job in flight, once it has come back; `None` if there is none.
    pub(super) fn wait(&mut self) -> Option<Written<J, D::Error>> {
        let hand = self.hand.as_ref().filter(|_| self.disk.is_none())?;
        match hand.back.recv() {
            Ok(back) => Some(self.take_back(back)),
            Err(_) => Some(lost()),
        }
    }

    fn take_back(&mut self, (disk, job, result, took_ns): Back<D, J>) -> Written<J, D::Error> {
        self.disk = Some(disk);
        Written { job: Some(job), result: result.map_err(WriteError::Failed), took_ns }
    }
}

impl<D: Durable<J>, J> Drop for Writer<D, J> {
    fn drop(&mut self) {
        let Some(Hand { writes, back, thread }) = self.hand.take() else { return };
        drop((writes, back));
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The thread is gone, and the disk with it.
fn lost<J, E>() -> Written<J, E> {
    Written { job: None, result: Err(WriteError::Gone), took_ns: 0 }
}

fn run<D: Durable<J>, J>(jobs: &Receiver<(D, J)>, answers: &SyncSender<Back<D, J>>, station: &Station) {
    let _abort = AbortOnPanic;
    while let Ok((mut disk, mut job)) = jobs.recv() {
        #[allow(clippy::disallowed_methods, reason = "the host is where the clock is read")]
        let since = Instant::now();
        let result = disk.write(&mut job);
        let took_ns = since.elapsed().as_nanos() as u64;
        if answers.send((disk, job, result, took_ns)).is_err() {
            return;
        }
        station.call();
    }
}
