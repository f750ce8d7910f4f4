//! Subscriptions: the log is read and put into frames on a thread behind the fronts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use onrush_net::session::{Batch, Feed};
use onrush_proto::Refusal;
use onrush_proto::frame::{Answer, Subscribe};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::follower::Follower;
use super::later;
use crate::access::Standing;
use crate::backend::Backend;
use crate::clock::now_us;
use crate::cluster::Office;
use crate::status::Rejection;

/// Subscriptions that wait to be begun.
const WAITING_MAX: usize = 64;
/// Subscriptions that a process serves. Each is woken when anything is committed, and may hold a frame of the log and
/// one for its client.
const OPEN_MAX: usize = 64;
/// More credit counts as this much.
const CREDIT_MAX: i64 = u32::MAX as i64;

/// Takes subscriptions from the fronts.
#[derive(Clone)]
pub(crate) struct Feeds {
    tasks: mpsc::Sender<Following>,
}

/// A subscription that is to be followed.
pub(crate) struct Following {
    pub(super) wanted: Subscribe,
    /// The client's number of it.
    pub(super) subscription: u64,
    pub(super) place: Arc<Place>,
}

impl Feeds {
    /// With what does the work.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Following>) {
        let (tasks, taken) = mpsc::channel(WAITING_MAX);
        (Self { tasks }, taken)
    }

    /// Has a subscription followed for a caller, for as long as they are believed; refused if too many wait already.
    pub(super) fn begin(
        &self,
        standing: Standing,
        wanted: Subscribe,
        (subscription, credit): (u64, u32),
    ) -> Result<Box<dyn Feed>, Refusal> {
        let place = Arc::new(Place::new(credit));
        let following = Following { wanted, subscription, place: Arc::clone(&place) };
        self.tasks.try_send(following).map_err(|_| Refusal::Overloaded)?;
        Ok(Box::new(Heard { place, standing }))
    }
}

/// Follows what the fronts begin, for as long as there are fronts. At least for as long as this runs.
pub(crate) async fn follow((backend, office): (Backend, Office), mut taken: mpsc::Receiver<Following>) {
    let places = Arc::new(Semaphore::new(OPEN_MAX));
    while let Some(following) = taken.recv().await {
        let Ok(permit) = Arc::clone(&places).try_acquire_owned() else {
            following.place.end(later::answer(Err(Refusal::Overloaded.into())));
            continue;
        };
        let (backend, office) = (backend.clone(), office.clone());
        let ends = EndsWithAnswer(Arc::clone(&following.place));
        tokio::spawn(async move {
            Follower::run((&backend, office), following).await;
            drop((permit, ends));
        });
    }
}

/// A follower that ended without an answer, for it panicked, would leave its client waiting.
struct EndsWithAnswer(Arc<Place>);

impl Drop for EndsWithAnswer {
    fn drop(&mut self) {
        if !self.0.lock().ended {
            self.0.end(later::answer(Err(Rejection::Internal("the log could not be followed".into()))));
        }
    }
}

/// Where a frame is handed over: the next one is made when this one is taken.
pub(super) struct Place {
    state: Mutex<State>,
    /// Wakes the follower: the front took something, granted something, or is gone.
    moved: Notify,
}

struct State {
    /// Bytes of records that may still come; below zero, what is owed.
    credit: i64,
    ready: Option<Result<Batch, Answer>>,
    front: Option<Waker>,
    /// The answer was handed over.
    ended: bool,
    gone: bool,
}

impl Place {
    fn new(credit: u32) -> Self {
        let state = State { credit: credit.into(), ready: None, front: None, ended: false, gone: false };
        Self { state: Mutex::new(state), moved: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self, next: Result<Batch, Answer>, cost: usize) {
        let front = {
            let mut state = self.lock();
            state.credit -= cost as i64;
            state.ended |= next.is_err();
            state.ready = Some(next);
            state.front.take()
        };
        if let Some(front) = front {
            front.wake();
        }
    }

    /// Hands over records that cost so much. What was handed over before has been taken.
    pub(super) fn records(&self, batch: Batch, cost: usize) {
        self.hand(Ok(batch), cost);
    }

    /// Hands over the answer that the subscription ends with.
    pub(super) fn end(&self, answer: Answer) {
        self.hand(Err(answer), 0);
    }

    /// The credit, once there is some and what was handed over is taken; `None` if nobody wants any more.
    pub(super) async fn room(&self) -> Option<i64> {
        self.until(|state| state.ready.is_none() && state.credit > 0).await
    }

    /// The same without credit.
    pub(super) async fn taken(&self) -> Option<i64> {
        self.until(|state| state.ready.is_none()).await
    }

    /// Once nobody wants any more.
    pub(super) async fn gone(&self) {
        self.until(|_| false).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) -> Option<i64> {
        loop {
            {
                let state = self.lock();
                if state.gone {
                    return None;
                }
                if reached(&state) {
                    return Some(state.credit);
                }
            }
            // A permit that came in between is kept.
            self.moved.notified().await;
        }
    }
}

/// The front's end.
struct Heard {
    place: Arc<Place>,
    standing: Standing,
}

impl Feed for Heard {
    fn grant(&self, bytes: u32) {
        {
            let mut state = self.place.lock();
            state.credit = state.credit.saturating_add(bytes.into()).min(CREDIT_MAX);
        }
        self.place.moved.notify_one();
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Result<Batch, Answer>> {
        let next = {
            let mut state = self.place.lock();
            let next = state.ready.take();
            if next.is_none() {
                state.front = Some(context.waker().clone());
            }
            next
        };
        let Some(next) = next else { return Poll::Pending };
        self.place.moved.notify_one();
        let believed = self.standing.must_be_good(now_us() / 1_000_000);
        match (next, believed) {
            (Ok(_), Err(denial)) => Poll::Ready(Err(later::answer(Err(denial.into())))),
            (next, _) => Poll::Ready(next),
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.place.lock().gone = true;
        self.place.moved.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use onrush_proto::Lsn;

    use super::*;

    fn polled<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn batch() -> Batch {
        Batch { frame: vec![7], reached: Lsn(5) }
    }

    /// One frame is ahead, and none without credit.
    #[test]
    fn the_next_frame_is_made_when_the_last_is_taken_and_there_is_credit() {
        let place = Arc::new(Place::new(10));
        let standing = Standing::new(crate::access::Caller::Operator, u64::MAX);
        let heard = Heard { place: Arc::clone(&place), standing };
        let mut context = Context::from_waker(Waker::noop());
        assert!(heard.poll_next(&mut context).is_pending());
        assert_eq!(polled(place.room()), Poll::Ready(Some(10)));
        place.records(batch(), 25);
        assert_eq!(polled(place.room()), Poll::Pending);
        let Poll::Ready(Ok(taken)) = heard.poll_next(&mut context) else { panic!("a frame") };
        assert_eq!((taken.frame, taken.reached), (vec![7], Lsn(5)));
        assert_eq!(polled(place.taken()), Poll::Ready(Some(-15)));
        heard.grant(15);
        assert_eq!(polled(place.room()), Poll::Pending, "what was over is owed");
        heard.grant(1);
        assert_eq!(polled(place.room()), Poll::Ready(Some(1)));
        heard.grant(u32::MAX);
        heard.grant(u32::MAX);
        assert_eq!(polled(place.room()), Poll::Ready(Some(CREDIT_MAX)));
        assert_eq!(polled(place.gone()), Poll::Pending);
        drop(heard);
        assert_eq!(polled(place.room()), Poll::Ready(None));
        assert_eq!(polled(place.gone()), Poll::Ready(()));
    }

    #[test]
    fn who_follows_a_log_that_nobody_reads_any_more_is_told_so() {
        let place = Arc::new(Place::new(10));
        let standing = Standing::new(crate::access::Caller::Operator, u64::MAX);
        let heard = Heard { place: Arc::clone(&place), standing };
        drop(EndsWithAnswer(Arc::clone(&place)));
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(Answer::Rejected(rejected))) = heard.poll_next(&mut context) else {
            panic!("an end")
        };
        assert_eq!(rejected.reason, "INTERNAL");
        drop(EndsWithAnswer(place));
        assert!(heard.poll_next(&mut context).is_pending(), "one answer");
    }

    #[test]
    fn records_end_with_the_token() {
        let place = Arc::new(Place::new(10));
        let standing = Standing::new(crate::access::Caller::Operator, 100);
        let heard = Heard { place: Arc::clone(&place), standing };
        place.records(batch(), 1);
        match heard.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(Answer::Rejected(rejected))) => assert_eq!(rejected.reason, "UNAUTHENTICATED"),
            other => panic!("expected an end, found {other:?}"),
        }
    }
}
