//! Trainings: one at a time, each an operation that can be asked about and called off. They live as
//! long as the process; what they publish lives in files.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use onrush_grpc::recommendation::v1 as wire;
use uuid::Uuid;

use crate::clock::now_us;
use crate::field;
use crate::status::Denial;

/// Operations that are remembered.
const OPERATIONS_MAX: usize = 16;

/// A training.
pub(super) struct Operation {
    id: String,
    started_us: u64,
    cancelled: AtomicBool,
    percent: AtomicU32,
    ended: Mutex<Option<Ended>>,
}

/// How a training ended.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Ended {
    pub(super) state: wire::OperationState,
    /// What led to that, for people.
    pub(super) detail: String,
    /// Baskets that were foretold.
    pub(super) baskets: u64,
    pub(super) metrics: Vec<wire::Metric>,
    pub(super) model_version: u64,
}

/// Ends an operation that says nothing itself, by a panic too: who asks is told that it is over.
struct Over(Arc<Operation>);

impl Drop for Over {
    fn drop(&mut self) {
        let detail = || "the training broke off".to_owned();
        let failed = || Ended { state: wire::OperationState::Failed, detail: detail(), ..Ended::default() };
        lock(&self.0.ended).get_or_insert_with(failed);
    }
}

/// All trainings of the process, the newest last.
#[derive(Default)]
pub(super) struct Operations {
    known: Mutex<VecDeque<Arc<Operation>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Operation {
    /// True once somebody called it off.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Says how far it is.
    pub(super) fn reach(&self, percent: u32) {
        self.percent.store(percent.min(99), Ordering::Relaxed);
    }

    /// Says how it ended.
    pub(super) fn end(&self, ended: Ended) {
        *lock(&self.ended) = Some(ended);
    }

    fn is_running(&self) -> bool {
        lock(&self.ended).is_none()
    }

    /// As a message.
    pub(super) fn message(&self) -> wire::Operation {
        let ended = lock(&self.ended).clone();
        let progress_percent = match ended {
            Some(_) => 100,
            None => self.percent.load(Ordering::Relaxed),
        };
        let running = || Ended { state: wire::OperationState::Running, ..Ended::default() };
        let Ended { state, detail, baskets, metrics, model_version } = ended.unwrap_or_else(running);
        wire::Operation {
            operation_id: self.id.clone(),
            state: state.into(),
            progress_percent,
            detail,
            baskets,
            metrics,
            model_version,
            started_us: field::time_us(self.started_us),
        }
    }
}

impl Operations {
    /// Begins one on a thread of its own; refused while another one runs.
    pub(super) fn begin(
        &self,
        work: impl FnOnce(Arc<Operation>) + Send + 'static,
    ) -> Result<Arc<Operation>, Denial> {
        let mut known = lock(&self.known);
        if let Some(running) = known.back().filter(|last| last.is_running()) {
            let message = format!("expected no training under way, found operation {}", running.id);
            return Err(Denial::new("TRAINING_RUNNING", message).with("operation_id", running.id.clone()));
        }
        let operation = Arc::new(Operation {
            id: Uuid::new_v4().simple().to_string(),
            started_us: now_us(),
            cancelled: AtomicBool::new(false),
            percent: AtomicU32::new(0),
            ended: Mutex::default(),
        });
        let mine = operation.clone();
        let builder = std::thread::Builder::new().name("onrush-training".into());
        let started = builder.spawn(move || {
            let over = Over(mine);
            work(over.0.clone());
        });
        let thread = started.map_err(|error| {
            Denial::new("OVERLOADED", format!("expected a thread to train on, found: {error}"))
        })?;
        *lock(&self.thread) = Some(thread);
        if known.len() == OPERATIONS_MAX {
            known.pop_front();
        }
        known.push_back(operation.clone());
        Ok(operation)
    }

    /// An operation of this process.
    pub(super) fn find(&self, id: &str) -> Result<Arc<Operation>, Denial> {
        let known = lock(&self.known);
        let found = known.iter().find(|operation| operation.id == id).cloned();
        let unknown = || Denial::new("UNKNOWN_OPERATION", "this process remembers no such training");
        found.ok_or_else(|| unknown().of("operation_id"))
    }

    /// Calls one off; what has ended stays as it is.
    pub(super) fn cancel(&self, id: &str) -> Result<Arc<Operation>, Denial> {
        let operation = self.find(id)?;
        operation.cancelled.store(true, Ordering::Relaxed);
        Ok(operation)
    }

    /// Calls off what is under way, and waits for its end.
    pub(super) fn stop(&self) {
        lock(&self.known).iter().for_each(|operation| operation.cancelled.store(true, Ordering::Relaxed));
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a training ended by a panic");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_second_one_is_refused_with_the_id_of_the_first_and_a_cancelled_one_ends() {
        let operations = Operations::default();
        let (said, wait) = channel::<()>();
        let first = operations.begin(move |operation| {
            let _ = wait.recv();
            assert!(operation.is_cancelled());
            operation.end(Ended { state: wire::OperationState::Cancelled, ..Ended::default() });
        });
        let first = first.unwrap();
        let second = operations.begin(|_| ()).err().unwrap();
        assert_eq!(second.reason, "TRAINING_RUNNING");
        assert!(second.message.contains(&first.id), "{second:?}");
        assert_eq!(operations.find(&first.id).unwrap().message().state(), wire::OperationState::Running);
        assert_eq!(operations.find("x").err().unwrap().reason, "UNKNOWN_OPERATION");
        operations.cancel(&first.id).unwrap();
        said.send(()).unwrap();
        operations.stop();
        assert_eq!(first.message().state(), wire::OperationState::Cancelled);
        // One that says nothing has failed, and another may begin.
        let silent = operations.begin(|_| ()).unwrap();
        operations.stop();
        assert_eq!(silent.message().state(), wire::OperationState::Failed);
        for _ in 0..OPERATIONS_MAX {
            operations.begin(|_| ()).unwrap();
            operations.stop();
        }
        assert!(operations.find(&first.id).is_err(), "old ones are forgotten");
    }
}
