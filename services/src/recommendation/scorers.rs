//! Threads that rank: of low priority, so that orders go first, and apart from those that serve calls, which would
//! wait for what is counted and for who ranks.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, available_parallelism};

use tokio::sync::oneshot;

use super::question::Question;
use super::rank::Ranked;
use crate::priority::yield_to_orders;
use crate::status::Denial;

/// Questions that wait, at most: about a second of them.
const WAITING_MAX: usize = 1_024;
/// Jobs that are looked at before their turn.
const AHEAD: usize = 8;

/// Something to do.
pub(super) enum Job {
    Question(Question),
    Other(Box<dyn FnOnce() + Send>),
}

/// Jobs in their sequence. Threads that rank take them from each other; who asks waits for none of these.
pub(super) struct Waiting {
    jobs: Receiver<Job>,
    /// What was looked at before its turn.
    seen: VecDeque<Job>,
}

/// The threads, once there is a question; they end with it.
#[derive(Default)]
pub(super) struct Scorers(OnceLock<SyncSender<Job>>);

impl Waiting {
    pub(super) fn of(jobs: Receiver<Job>) -> Self {
        Self { jobs, seen: VecDeque::with_capacity(AHEAD) }
    }

    /// The next job, once there is one; `None` if there will be no more.
    pub(super) fn next(&mut self) -> Option<Job> {
        self.seen.pop_front().or_else(|| self.jobs.recv().ok())
    }

    /// Questions among the next jobs, which keep their turns.
    pub(super) fn ahead(&mut self) -> impl Iterator<Item = &Question> {
        let room = AHEAD.saturating_sub(self.seen.len());
        self.seen.extend(self.jobs.try_iter().take(room));
        self.seen.iter().filter_map(|job| match job {
            Job::Question(question) => Some(question),
            Job::Other(_) => None,
        })
    }
}

impl Scorers {
    /// One for every two cores.
    fn start() -> SyncSender<Job> {
        let (sender, receiver) = sync_channel::<Job>(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(Waiting::of(receiver)));
        let cores = available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.div_ceil(2) {
            let waiting = waiting.clone();
            let started = Builder::new().name("onrush-scoring".into()).spawn(move || work(&waiting));
            if let Err(error) = started {
                tracing::error!(%error, "expected a thread to rank on");
            }
        }
        sender
    }

    /// Has one of them answer a question, which is made of where its answer goes.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn ask(
        &self,
        question: impl FnOnce(oneshot::Sender<Ranked>) -> Question,
    ) -> Result<Ranked, Denial> {
        let (told, wait) = oneshot::channel();
        self.wait(Job::Question(question(told)), wait).await
    }

    /// Has one of them do something.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Denial> {
        let (told, wait) = oneshot::channel();
        let job = Box::new(move || {
            // Who asked may have gone while it waited, or while it was done.
            if !told.is_closed() {
                let _ = told.send(job());
            }
        });
        self.wait(Job::Other(job), wait).await
    }

    async fn wait<T>(&self, job: Job, wait: oneshot::Receiver<T>) -> Result<T, Denial> {
        let overloaded = |found: &str| {
            Denial::new(
                "OVERLOADED",
                format!("expected at most {WAITING_MAX} that wait to be ranked, found {found}"),
            )
        };
        match self.0.get_or_init(Self::start).try_send(job) {
            Ok(()) => wait.await.map_err(|_| overloaded("one that broke off")),
            Err(TrySendError::Full(_)) => Err(overloaded("more")),
            Err(TrySendError::Disconnected(_)) => Err(overloaded("nobody to rank")),
        }
    }
}

fn work(waiting: &Mutex<Waiting>) {
    yield_to_orders();
    tracing::trace!("a thread that ranks begins");
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(job) = next else { return };
        let work = || match job {
            Job::Question(question) => question.answer(waiting),
            Job::Other(job) => job(),
        };
        // The thread outlives a job that panics; who asked for it is told.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
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
