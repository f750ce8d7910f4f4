//! Where the next segment comes from: a released one if there is any, else a new file of zeros.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::options::{LogOptions, Prepare};
use super::segment::{segment_name, sequence_of, spare_name};
use super::segment_file::SegmentFile;
use crate::disk::{Disk, DiskFile, SECTOR_BYTES};

/// A segment that stands ready under its final name; only its header is missing.
pub(super) struct Prepared {
    pub(super) file: SegmentFile,
    /// True if frames of an earlier life are in it.
    pub(super) recycled: bool,
}

/// A file operation that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) file: String,
    pub(super) source: io::Error,
}

/// Prepares segments and puts released ones aside.
pub(super) struct Preparer {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    spares_max: usize,
    spares: BTreeSet<String>,
}

impl Preparer {
    pub(super) fn new(disk: Arc<dyn Disk>, options: &LogOptions, spares: BTreeSet<String>) -> Self {
        Self { disk, segment_bytes: options.segment_bytes, spares_max: options.spares_max, spares }
    }

    /// Every file gets its full length under a spare's name before it is called a segment, so a
    /// segment that is too short was damaged.
    fn prepare(&mut self, sequence: u64) -> Result<Prepared, Failure> {
        let name = segment_name(sequence);
        while let Some(spare) = self.spares.pop_first() {
            let failed = |source| Failure { file: spare.clone(), source };
            let file = self.disk.open(&spare).map_err(failed)?;
            if file.len().map_err(failed)? == self.segment_bytes {
                let recycled = was_written(file.as_ref()).map_err(failed)?;
                self.disk.rename(&spare, &name).map_err(failed)?;
                return Ok(self.ready(sequence, name, file, recycled));
            }
            self.disk.remove(&spare).map_err(failed)?;
        }
        let spare = spare_name(sequence);
        let failed = |source| Failure { file: name.clone(), source };
        let file = self.disk.create(&spare, self.segment_bytes).map_err(failed)?;
        self.disk.rename(&spare, &name).map_err(failed)?;
        Ok(self.ready(sequence, name, file, false))
    }

    fn ready(&self, sequence: u64, name: String, disk: Box<dyn DiskFile>, recycled: bool) -> Prepared {
        let file = SegmentFile { sequence, name, disk, bytes: self.segment_bytes };
        Prepared { file, recycled }
    }

    fn retire(&mut self, file: String) -> Result<(), Failure> {
        let Some(sequence) = sequence_of(&file) else { return Ok(()) };
        let spare = spare_name(sequence);
        let keep = self.spares.len() < self.spares_max;
        let done = if keep { self.disk.rename(&file, &spare) } else { self.disk.remove(&file) };
        done.map_err(|source| Failure { file, source })?;
        if keep {
            self.spares.insert(spare);
        }
        Ok(())
    }
}

/// True if a file was a segment once.
fn was_written(file: &dyn DiskFile) -> io::Result<bool> {
    let mut sector = [0; SECTOR_BYTES];
    let count = file.read_at(0, &mut sector)?;
    Ok(sector[..count].iter().any(|byte| *byte != 0))
}

/// The next segment, made inline or by a worker thread.
pub(super) struct Supply {
    maker: Maker,
    next: Option<Prepared>,
    /// The worker was asked for a segment and has not answered.
    asked: bool,
}

enum Maker {
    Inline(Preparer),
    Worker(Worker),
}

impl Supply {
    pub(super) fn start(preparer: Preparer, prepare: Prepare, next: Option<Prepared>) -> io::Result<Self> {
        let maker = match prepare {
            Prepare::Inline => Maker::Inline(preparer),
            Prepare::Background => Maker::Worker(Worker::start(preparer)?),
        };
        Ok(Self { maker, next, asked: false })
    }

    /// Asks for a segment ahead of need. Inline there is nobody to do it ahead.
    pub(super) fn ask(&mut self, sequence: u64) {
        if let (Maker::Worker(worker), None, false) = (&self.maker, &self.next, self.asked) {
            self.asked = worker.send(Job::Prepare(sequence));
        }
    }

    /// Makes sure that segment number `sequence` stands ready, waiting for it if need be.
    pub(super) fn ensure(&mut self, sequence: u64) -> Result<(), Failure> {
        self.ask(sequence);
        if self.next.is_none() {
            let prepared = match &mut self.maker {
                Maker::Inline(preparer) => preparer.prepare(sequence),
                Maker::Worker(worker) => {
                    self.asked = false;
                    worker.wait(sequence)
                }
            };
            self.next = Some(prepared?);
        }
        Ok(())
    }

    /// Takes the segment that [`ensure`](Self::ensure) made ready.
    pub(super) fn take(&mut self, sequence: u64) -> Result<Prepared, Failure> {
        self.ensure(sequence)?;
        self.next.take().ok_or_else(|| worker_gone(sequence))
    }

    /// Gives up the segment that stands ready, or is being made so; the name of its file, which is to be removed.
    pub(super) fn withdraw(&mut self, sequence: u64) -> Result<Option<String>, Failure> {
        if let Maker::Worker(worker) = &self.maker
            && std::mem::take(&mut self.asked)
            && self.next.is_none()
        {
            match worker.wait(sequence) {
                Ok(prepared) => self.next = Some(prepared),
                // On a full disk none was made. After any other failure one may be there, under its name.
                Err(Failure { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.next.take().map(|prepared| prepared.file.name))
    }

    /// Puts a released segment aside. A worker's failure shows at the next [`check`](Self::check).
    pub(super) fn retire(&mut self, file: String) -> Result<(), Failure> {
        match &mut self.maker {
            Maker::Inline(preparer) => preparer.retire(file),
            Maker::Worker(worker) => {
                worker.send(Job::Retire(file));
                Ok(())
            }
        }
    }

    /// Fails if a segment could not be put aside: later ones must not leave a gap behind it.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match &self.maker {
            Maker::Inline(_) => Ok(()),
            Maker::Worker(worker) => worker.failures.try_recv().map_or(Ok(()), Err),
        }
    }
}

enum Job {
    Prepare(u64),
    Retire(String),
}

/// A thread that owns the preparer. It ends when the log is dropped.
struct Worker {
    jobs: Option<Sender<Job>>,
    prepared: Receiver<Result<Prepared, Failure>>,
    failures: Receiver<Failure>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(mut preparer: Preparer) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let (prepared_out, prepared) = mpsc::channel();
        let (failures_out, failures) = mpsc::channel();
        let run = move || {
            let mut retiring = true;
            for job in inbox {
                match job {
                    Job::Prepare(sequence) => drop(prepared_out.send(preparer.prepare(sequence))),
                    Job::Retire(file) if retiring => {
                        if let Err(failure) = preparer.retire(file) {
                            // Releasing a younger segment now would leave a gap.
                            retiring = false;
                            drop(failures_out.send(failure));
                        }
                    }
                    Job::Retire(_) => {}
                }
            }
        };
        let thread = thread::Builder::new().name("onrush-segments".to_owned()).spawn(run)?;
        Ok(Self { jobs: Some(jobs), prepared, failures, thread: Some(thread) })
    }

    fn send(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    fn wait(&self, sequence: u64) -> Result<Prepared, Failure> {
        self.prepared.recv().unwrap_or_else(|_| Err(worker_gone(sequence)))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there; here is nothing left to save.
            drop(thread.join());
        }
    }
}

fn worker_gone(sequence: u64) -> Failure {
    Failure { file: segment_name(sequence), source: io::Error::other("the preparing thread is gone") }
}
