//! One pinned io_uring executor per core; shards beyond the cores share executors.
//!
//! An executor has one long-lived task that turns its shards round and round, so a shard's turn
//! waits for at most one turn of each neighbour. Were each shard a task of its own, a foreign wake for
//! one would wait in glommio's mailbox until its neighbours fall idle or the preemption timer fires.
//! The task sleeps when all its shards are idle, until a station wakes it or the nearest deadline's
//! timer fires. Its queue's latency is `NotImportant`: a foreign wake then costs a system call only if
//! the executor sleeps.
//!
//! Large frames are written by a thread per shard, beside the executor, as in the thread host. A
//! small one is the same synchronous call as everywhere (one `pwrite` that returns when the bytes are
//! on disk), and the executor's other shards wait for it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use glommio::timer::Timer;
use glommio::{GlommioError, Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares};

use rustix::io_uring::{IoringFeatureFlags, io_uring_params, io_uring_setup};
use rustix::process::{Resource, getrlimit};

use super::host_error::HostError;
use super::station::Station;
use super::thread::AbortOnPanic;
use super::worker::Worker;

/// Registered memory per ring. Three rings lock it each; the log writes from buffers of its own.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// The least locked-memory limit under which glommio starts.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// Rings carry wakes and timers only.
const RING_DEPTH: usize = 32;
/// Against [glommio's default queue](glommio::executor), which has 1000.
const SHARD_SHARES: usize = 900;
/// Idle time after which a log is sealed.
const SEAL_AFTER_US: u64 = 100_000;
/// How long a shard whose store lags waits before it looks again.
const STORE_PATIENCE_US: u64 = 1_000;
/// Rounds of looking for work before the executor sleeps: a wake costs more.
const SPINS: u32 = 64;

/// Executors at work.
pub(crate) struct GlommioHost {
    threads: Vec<JoinHandle<()>>,
    stations: Arc<[Arc<Station>]>,
}

impl GlommioHost {
    /// Starts an executor per core that this thread may run on, at most one per shard. Shards start
    /// when every executor stands.
    pub(crate) fn start(mut workers: Vec<Worker>, stations: Arc<[Arc<Station>]>) -> Result<Self, HostError> {
        may_lock()?;
        probe().map_err(HostError::IoUring)?;
        for worker in &mut workers {
            worker.write_beside().map_err(|error| HostError::Executor(error.to_string()))?;
        }
        let cores = cores().map_err(|error| HostError::Executor(error.to_string()))?;
        let executors = cores.len().min(workers.len());
        let seated = cores.into_iter().take(executors).map(Seated::start).collect::<Result<Vec<_>, _>>()?;
        for one in &seated {
            one.standing.recv().unwrap_or_else(|_| Err(HostError::Executor("its thread panicked".into())))?;
        }
        let mut shares: Vec<Vec<Worker>> = seated.iter().map(|_| Vec::new()).collect();
        for (number, worker) in workers.into_iter().enumerate() {
            shares[number % executors].push(worker);
        }
        let hand_over = |(one, share): (Seated, Vec<Worker>)| {
            one.shards.send(share).map_err(|_| HostError::Executor("its thread ended".into()))?;
            Ok(one.thread)
        };
        let threads = seated.into_iter().zip(shares).map(hand_over).collect::<Result<_, _>>()?;
        Ok(Self { threads, stations })
    }

    /// Lets every shard finish what has reached it, seal its log, and end; ends the executors.
    pub(crate) fn close(&mut self) {
        for station in self.stations.iter() {
            station.closing.store(true, Ordering::Release);
            station.wake();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Looks at the limit that glommio insists on.
fn may_lock() -> Result<(), HostError> {
    // No limit is more than enough.
    let found_bytes = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    match found_bytes >= LOCKED_BYTES_MIN {
        true => Ok(()),
        false => Err(HostError::LockedMemory { found_bytes, needed_bytes: LOCKED_BYTES_MIN }),
    }
}

/// Asks for a ring: where io_uring is refused or too old, glommio panics or ends the process.
fn probe() -> io::Result<()> {
    let mut found = io_uring_params::default();
    // SAFETY: the parameters ask for nothing that refers to memory or to another ring.
    #[allow(unsafe_code, reason = "the ring is closed unused")]
    let ring = unsafe { io_uring_setup(1, &mut found) }?;
    drop(ring);
    match found.features.contains(IoringFeatureFlags::POLL_32BITS) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::Unsupported, "expected kernel 5.9 or later")),
    }
}

/// The cores that this thread may run on, as far as a CPU quota lets them work.
fn cores() -> io::Result<Vec<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let quota = thread::available_parallelism()?.get();
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(quota).collect())
}

/// An executor's thread that waits for its shards; it ends if none are sent.
struct Seated {
    thread: JoinHandle<()>,
    standing: Receiver<Result<(), HostError>>,
    shards: Sender<Vec<Worker>>,
}

impl Seated {
    fn start(core: usize) -> Result<Self, HostError> {
        let (stands, standing) = channel();
        let (shards, share) = channel();
        let run = move || match executor(core) {
            Ok(executor) => {
                // Whoever opens the engine may have given up: then no shards come.
                let _ = stands.send(Ok(()));
                if let Ok(workers) = share.recv() {
                    executor.run(host(workers));
                }
            }
            Err(error) => drop(stands.send(Err(error))),
        };
        let thread = thread::Builder::new().name(format!("core-{core:03}")).spawn(run);
        let thread = thread.map_err(|error| HostError::Executor(error.to_string()))?;
        Ok(Self { thread, standing, shards })
    }
}

fn executor(core: usize) -> Result<LocalExecutor, HostError> {
    LocalExecutorBuilder::new(Placement::Fixed(core))
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .make()
        .map_err(|error: GlommioError<()>| HostError::Executor(error.to_string()))
}

async fn host(workers: Vec<Worker>) {
    let executor = glommio::executor();
    let queue = executor.create_task_queue(Shares::Static(SHARD_SHARES), Latency::NotImportant, "shards");
    let seats = workers.into_iter().map(Seat::new).collect();
    match executor.spawn_local_into(turn_all(seats), queue) {
        Ok(task) => task.await,
        Err(error) => tracing::error!(%error, "shards did not start"),
    }
}

/// A shard on an executor.
struct Seat {
    worker: Worker,
    station: Arc<Station>,
    /// Since when there was nothing to do.
    idle_since_us: Option<u64>,
    sealed: bool,
}

impl Seat {
    fn new(worker: Worker) -> Self {
        Self { station: Arc::clone(worker.station()), worker, idle_since_us: None, sealed: false }
    }

    /// One turn; false if there was nothing to do.
    fn turn(&mut self) -> bool {
        let turned = self.worker.turn();
        if turned {
            (self.idle_since_us, self.sealed) = (None, false);
        } else if !self.sealed {
            let now_us = self.worker.now_us();
            let since_us = *self.idle_since_us.get_or_insert(now_us);
            let near = self.worker.idle_us().is_some_and(|due_us| due_us <= SEAL_AFTER_US);
            if now_us - since_us >= SEAL_AFTER_US && !near {
                self.worker.seal();
                self.sealed = true;
            }
        }
        turned
    }

    /// True if a turn would take something in.
    fn has_input(&self) -> bool {
        !self.station.is_idle() && !self.worker.waits_for_write() && !self.worker.waits_for_store()
    }

    /// Announces sleep; false if something came meanwhile.
    fn fall_asleep(&self) -> bool {
        if self.worker.waits_for_write() {
            return self.station.fall_asleep_for_write();
        }
        // What came already has to wait: then the timer wakes.
        self.worker.waits_for_store() || self.station.fall_asleep()
    }

    fn is_done(&mut self) -> bool {
        let closing = self.station.closing.load(Ordering::Acquire);
        closing && !self.worker.is_writing() && self.worker.may_end()
    }

    /// How long the shard may be left alone; `None` = until something comes.
    fn patience_us(&self) -> Option<u64> {
        if self.worker.waits_for_write() {
            return None;
        }
        let due_us = self.worker.idle_us();
        if self.worker.waits_for_store() {
            return Some(due_us.unwrap_or(STORE_PATIENCE_US).min(STORE_PATIENCE_US));
        }
        if self.sealed { due_us } else { Some(due_us.unwrap_or(SEAL_AFTER_US).min(SEAL_AFTER_US)) }
    }
}

async fn turn_all(mut seats: Vec<Seat>) {
    let _abort = AbortOnPanic;
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    for seat in &seats {
        seat.station.set_sleeper(waker.clone());
    }
    loop {
        let turned = seats.iter_mut().fold(false, |turned, seat| seat.turn() | turned);
        if turned || spin(&seats) {
            glommio::yield_if_needed().await;
        } else if seats.iter_mut().all(Seat::is_done) {
            break;
        } else {
            sleep(&seats).await;
        }
    }
    for seat in &mut seats {
        seat.worker.end();
        // A waker that outlives its executor would keep the task.
        seat.station.forget_sleeper();
    }
}

/// Looks for work for a moment; true if some came.
fn spin(seats: &[Seat]) -> bool {
    (0..SPINS).any(|_| {
        std::hint::spin_loop();
        seats.iter().any(Seat::has_input)
    })
}

/// Sleeps until a station wakes the task or something is due.
async fn sleep(seats: &[Seat]) {
    if seats.iter().all(Seat::fall_asleep) {
        let patience_us = seats.iter().filter_map(Seat::patience_us).min();
        let mut timer = patience_us.map(|us| Timer::new(Duration::from_micros(us)));
        let mut slept = false;
        poll_fn(|context| {
            let due = timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(context).is_ready());
            if due || std::mem::replace(&mut slept, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    for seat in seats {
        seat.station.wake_up();
    }
}
