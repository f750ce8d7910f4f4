//! Threads that rank: of low priority, so that orders go first, and apart from those that serve calls, which would
//! wait for what is counted and for who ranks.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, available_parallelism};

use tokio::sync::oneshot;

use crate::priority::yield_to_orders;
use crate::status::Denial;

/// Questions that wait, at most: about a second of them.
const WAITING_MAX: usize = 1_024;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, once there is a question; they end with it.
#[derive(Default)]
pub(super) struct Scorers(OnceLock<SyncSender<Job>>);

impl Scorers {
    /// One for every two cores.
    fn start() -> SyncSender<Job> {
        let (sender, receiver) = sync_channel::<Job>(WAITING_MAX);
        let jobs = Arc::new(Mutex::new(receiver));
        let cores = available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.div_ceil(2) {
            let jobs = jobs.clone();
            let started = Builder::new().name("onrush-scoring".into()).spawn(move || work(&jobs));
            if let Err(error) = started {
                tracing::error!(%error, "expected a thread to rank on");
            }
        }
        sender
    }

    /// Has one of them do something.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Denial> {
        let overloaded = |found: &str| {
            Denial::new(
                "OVERLOADED",
                format!("expected at most {WAITING_MAX} that wait to be ranked, found {found}"),
            )
        };
        let (told, wait) = oneshot::channel();
        let job = Box::new(move || {
            // Who asked may have gone while it waited, or while it was done.
            if !told.is_closed() {
                let _ = told.send(job());
            }
        });
        match self.0.get_or_init(Self::start).try_send(job) {
            Ok(()) => wait.await.map_err(|_| overloaded("one that broke off")),
            Err(TrySendError::Full(_)) => Err(overloaded("more")),
            Err(TrySendError::Disconnected(_)) => Err(overloaded("nobody to rank")),
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    yield_to_orders();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // The thread outlives a job that panics; who asked for it is told.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("an answer broke off by a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn what_is_too_much_is_refused_and_what_panics_is_told() {
        let scorers = Arc::new(Scorers::default());
        assert_eq!(scorers.run(|| 7).await.unwrap(), 7);
        let broken = scorers.run(|| panic!("as this test wants it")).await;
        assert!(broken.unwrap_err().message.contains("broke off"));
        assert_eq!(scorers.run(|| 8).await.unwrap(), 8);
        // Each thread waits with a job, and as many as may wait do.
        let (free, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let threads = available_parallelism().map_or(1, usize::from).div_ceil(2);
        let mut running = tokio::task::JoinSet::new();
        let mut refused = 0;
        for _ in 0..threads + WAITING_MAX + 5 {
            let (scorers, held) = (scorers.clone(), held.clone());
            running.spawn(async move { scorers.run(move || held.lock().unwrap().recv().is_ok()).await });
            tokio::task::yield_now().await;
        }
        while let Some(ended) = running.try_join_next() {
            refused += usize::from(ended.unwrap().is_err());
        }
        assert!((5..=5 + threads).contains(&refused), "{refused}");
        (0..threads + WAITING_MAX).for_each(|_| free.send(()).unwrap());
        while let Some(ended) = running.join_next().await {
            assert!(ended.unwrap().unwrap());
        }
    }
}
