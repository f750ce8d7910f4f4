//! What has to look at something first, or waits for a gateway: done on a thread behind the fronts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use onrush_net::session::Ticket;
use onrush_proto::frame::{Answer, Operation, Rejected};
use onrush_proto::{OrderId, Outcome, Receipt, Refusal, Reply, Request};
use tokio::sync::{Semaphore, mpsc};

use crate::access::Admitted;
use crate::backend::{Accepted, Backend};
use crate::deadline::Deadline;
use crate::gateway::{self, Settled};
use crate::settlements::Settlements;
use crate::status::Rejection;

/// Commands that wait to be begun.
const WAITING_MAX: usize = 4_096;
/// Commands that are under way.
const UNDER_WAY_MAX: usize = 16_384;

/// Takes commands from the fronts.
#[derive(Clone)]
pub(crate) struct Later {
    tasks: mpsc::Sender<Task>,
}

/// A command that takes longer.
pub(crate) struct Task {
    pub(super) what: What,
    pub(super) owed: Owed,
}

/// What is asked, by whom.
pub(super) struct What {
    pub(super) operation: Operation,
    pub(super) caller: Admitted,
    pub(super) order: OrderId,
    pub(super) deadline: Deadline,
    pub(super) request: Request,
}

/// What came back for one front.
#[derive(Default)]
pub(super) struct Done {
    answers: Mutex<Vec<(Ticket, Operation, Answer)>>,
    front: Mutex<Option<Waker>>,
}

/// The answer that a front waits for: it gets one, whatever becomes of the command.
pub(super) struct Owed {
    done: Arc<Done>,
    ticket: Ticket,
    operation: Operation,
    given: bool,
}

impl Later {
    /// With what does the work.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Task>) {
        let (tasks, taken) = mpsc::channel(WAITING_MAX);
        (Self { tasks }, taken)
    }

    /// Refused if too much waits already.
    pub(super) fn put(&self, task: Task) -> Result<(), Refusal> {
        let sent = self.tasks.try_send(task);
        sent.map_err(|error| {
            let mut task = error.into_inner();
            // The front answers itself.
            task.owed.given = true;
            Refusal::Overloaded
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Done {
    /// True if something came; else the front is woken when it does.
    pub(super) fn poll(&self, context: &Context<'_>) -> bool {
        let mut front = lock(&self.front);
        if !front.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *front = Some(context.waker().clone());
        }
        // Looked at behind the waker, so that nothing comes in between.
        drop(front);
        !lock(&self.answers).is_empty()
    }

    /// What came, in exchange for an empty vector.
    pub(super) fn take(&self, empty: Vec<(Ticket, Operation, Answer)>) -> Vec<(Ticket, Operation, Answer)> {
        std::mem::replace(&mut *lock(&self.answers), empty)
    }
}

impl Owed {
    pub(super) fn new(done: Arc<Done>, ticket: Ticket, operation: Operation) -> Self {
        Self { done, ticket, operation, given: false }
    }

    fn give(&mut self, answer: Answer) {
        self.given = true;
        lock(&self.done.answers).push((self.ticket, self.operation, answer));
        if let Some(front) = lock(&self.done.front).as_ref() {
            front.wake_by_ref();
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.given {
            self.give(answer(Err(Rejection::Internal("expected a command to end, found it dropped".into()))));
        }
    }
}

/// What a caller hears: what the engine says as it is, what the edge says by name.
pub(super) fn answer(result: Result<Reply, Rejection>) -> Answer {
    let refused =
        |refusal| Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: onrush_proto::Lsn(0) };
    match result {
        Ok(reply) => Answer::Reply(reply),
        Err(Rejection::Refused(refusal)) => Answer::Reply(refused(refusal)),
        Err(error) => {
            if let Rejection::Internal(error) = &error {
                tracing::error!(%error, "a command failed");
            }
            Answer::Rejected(Rejected { reason: error.reason().name.into(), message: error.message() })
        }
    }
}

/// Does what the fronts put, many at a time, for as long as there are fronts.
pub(crate) async fn work(backend: Backend, settlements: Settlements, mut taken: mpsc::Receiver<Task>) {
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    // Nobody closes the semaphore.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Some(mut task) = taken.recv().await else { break };
        let (backend, settlements) = (backend.clone(), settlements.clone());
        tokio::spawn(async move {
            let result = done(&backend, &settlements, task.what).await;
            task.owed.give(answer(result));
            drop(place);
        });
    }
}

async fn done(backend: &Backend, settlements: &Settlements, what: What) -> Result<Reply, Rejection> {
    let What { operation, caller, order, deadline, request } = what;
    backend.must_reach(&caller, order).await?;
    let accepted = |Accepted { replayed, lsn, .. }, receipt| Reply {
        outcome: Outcome::Accepted(receipt),
        replayed,
        lsn,
    };
    match operation {
        Operation::StartPayment => {
            let mut watch = settlements.watch(order);
            let started = gateway::start(backend, &mut watch, deadline, request).await?;
            Ok(accepted(started, started.receipt))
        }
        Operation::Pay => {
            let settled = Settled::start(backend, settlements, order, deadline, request).await?;
            let receipt = Receipt::AttemptSettled {
                order,
                attempt: settled.attempt(),
                order_state: settled.row.state,
                payment_state: settled.payment_state(),
            };
            Ok(accepted(settled.accepted, receipt))
        }
        _ => Ok(backend.call(request).await),
    }
}
