//! One thread per shard.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use super::STORE_PATIENCE;
use super::station::Station;
use super::worker::Worker;

/// Idle time after which the log is sealed.
const SEAL_AFTER: Duration = Duration::from_millis(100);
/// How often a leader that closes looks whether another one has taken its office.
const FAREWELL_PATIENCE: Duration = Duration::from_millis(1);
/// Turns of looking for work before the thread sleeps: a hop to a sleeping thread costs more.
const SPINS: u32 = 64;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Threads at work.
pub(crate) struct ThreadHost {
    threads: Vec<JoinHandle<()>>,
    stations: Arc<[Arc<Station>]>,
}

impl ThreadHost {
    pub(crate) fn start(workers: Vec<Worker>, stations: Arc<[Arc<Station>]>) -> std::io::Result<Self> {
        let start = |mut worker: Worker| {
            worker.write_beside()?;
            let name = format!("shard-{:03}", worker.station().id.0);
            thread::Builder::new().name(name).spawn(move || run(worker))
        };
        let threads = workers.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { threads, stations })
    }

    /// Lets every shard finish what has reached it, seal its log, and end.
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

/// A shard whose thread panics has broken its own rules: what it would say next cannot be trusted,
/// and callers would wait for ever. The process ends; the next start recovers from the log.
pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

fn run(mut worker: Worker) {
    let _abort = AbortOnPanic;
    let station = Arc::clone(worker.station());
    station.set_sleeper(Waker::from(Arc::new(Unpark(thread::current()))));
    let mut sealed = false;
    loop {
        let turned = worker.turn();
        let closing = station.closing.load(Ordering::Acquire);
        if closing && (!turned || worker.is_member()) && worker.may_end() {
            break;
        }
        if turned {
            sealed = false;
            continue;
        }
        if worker.waits_for_write() {
            if station.fall_asleep_for_write() {
                thread::park();
            }
            station.wake_up();
            continue;
        }
        if worker.waits_for_store() {
            thread::park_timeout(STORE_PATIENCE);
            continue;
        }
        if (0..SPINS).any(|_| {
            std::hint::spin_loop();
            !station.is_idle()
        }) {
            continue;
        }
        if closing {
            thread::park_timeout(FAREWELL_PATIENCE);
            continue;
        }
        let due = worker.idle_us().map(Duration::from_micros);
        let patience = if sealed { due } else { Some(due.unwrap_or(SEAL_AFTER).min(SEAL_AFTER)) };
        if station.fall_asleep() {
            match patience {
                Some(patience) => thread::park_timeout(patience),
                None => thread::park(),
            }
            station.wake_up();
            if !sealed && station.is_idle() && due.is_none_or(|due| due > SEAL_AFTER) {
                worker.seal();
                sealed = true;
            }
        }
    }
    worker.end();
}
