//! Orders of a session: they go to the engine in batches, by a port of the session's own, and come back in batches. A
//! call costs no future, no message and no wake of its own.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use onrush_engine::Port;
use onrush_grpc::session::v1::Answer;
use onrush_proto::{Cause, Refusal, Reply, Request};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Code;

use super::answers::Answers;
use super::desk::Desk;
use crate::access::{Call, now_s};
use crate::backend::Accepted;
use crate::deadline::Deadline;
use crate::metrics::Tally;
use crate::order::Created;
use crate::protobuf::{Order, PlainOrder, RequestId};
use crate::status::Rejection;
use crate::traces;

/// Orders for which an idle session has room.
const KEPT_MAX: usize = 1_024;

/// Orders under way.
pub(super) struct Orders {
    desk: Arc<Desk>,
    tally: Tally,
    /// Opened with the first order.
    port: Option<Port>,
    /// By what the port calls them.
    waiting: Vec<Option<Waiting>>,
    free: Vec<u32>,
    /// This turn of the front, once an order came in it.
    turn: Option<Turn>,
}

/// What all orders of a turn have in common.
#[derive(Clone, Copy)]
struct Turn {
    now: Instant,
    now_s: u64,
    cause: Option<Cause>,
}

struct Waiting {
    tag: u64,
    request_id: RequestId,
    since: Instant,
    /// Its place among the calls of the front.
    _place: OwnedSemaphorePermit,
}

impl Orders {
    /// Orders of a desk; `None` if its engine is in another process, where calls go one by one.
    pub(super) fn of(desk: &Arc<Desk>) -> Option<Self> {
        if !desk.backend.has_ports() {
            return None;
        }
        let tally = desk.meter.tally(Call::CreateOrder.name(), Call::CreateOrder.service());
        Some(Self {
            desk: desk.clone(),
            tally,
            port: None,
            waiting: Vec::new(),
            free: Vec::new(),
            turn: None,
        })
    }

    /// How many wait for an answer.
    pub(super) fn open(&self) -> usize {
        self.waiting.len() - self.free.len()
    }

    /// Takes an order that arrived at `at`, or says why not. Leaves with the next [`flush`](Self::flush).
    pub(super) fn take(
        &mut self,
        order: Order,
        at: tokio::time::Instant,
        place: OwnedSemaphorePermit,
        answers: &mut Answers,
    ) {
        let turn = *self.turn.get_or_insert_with(|| Turn {
            now: Instant::now(),
            now_s: now_s(),
            cause: traces::current(),
        });
        let Order { tag, patience_us, order } = order;
        let request = self.request(&order, Deadline::since(at, patience_us), turn);
        let submitted = request.and_then(|request| {
            let place = self.free.last().map_or(self.waiting.len() as u64, |free| u64::from(*free));
            let port = match &mut self.port {
                Some(port) => port,
                closed => closed.insert(self.desk.backend.port().ok_or(Refusal::Overloaded)?),
            };
            port.submit(place, request).map_err(|_| Refusal::Overloaded.into())
        });
        if let Err(rejection) = submitted {
            self.tally.count(rejection.code() as usize, turn.now.elapsed());
            answers.put(&Answer { tag, answer: Some(self.desk.failed(rejection)) });
            return;
        }
        let waiting = Some(Waiting { tag, request_id: order.request_id, since: turn.now, _place: place });
        match self.free.pop() {
            Some(free) => self.waiting[free as usize] = waiting,
            None => self.waiting.push(waiting),
        }
    }

    fn request(&self, order: &PlainOrder, deadline: Deadline, turn: Turn) -> Result<Request, Rejection> {
        let caller = self.desk.standing.admit(Call::CreateOrder, turn.now_s)?;
        let mut request = order.request(&self.desk.backend, &caller, deadline)?;
        request.cause = turn.cause.map(Box::new);
        Ok(request)
    }

    /// Sends what was taken.
    pub(super) fn flush(&mut self) {
        if self.turn.take().is_some()
            && let Some(port) = &mut self.port
        {
            port.flush();
        }
    }

    /// Gathers the answers that are there. While there are none whoever polls is woken by the next.
    pub(super) fn gather(&mut self, context: &mut Context<'_>, answers: &mut Answers) {
        while self.open() > 0 {
            let Self { desk, port, waiting, free, tally, .. } = self;
            let Some(port) = port else { return };
            if port.poll_ready(context).is_pending() {
                return;
            }
            let now = Instant::now();
            port.drain(|place, reply| {
                let Some(asked) = waiting.get_mut(place as usize).and_then(Option::take) else { return };
                free.push(place as u32);
                let code = answer(desk, &asked, reply, answers);
                tally.count(code, now.saturating_duration_since(asked.since));
            });
            self.rest();
        }
    }

    /// A session that has nothing open keeps little of what its busiest moment took: there may be many that say nothing.
    fn rest(&mut self) {
        if self.open() == 0 && self.waiting.capacity() > KEPT_MAX {
            (self.port, self.waiting, self.free) = (None, Vec::new(), Vec::new());
        }
    }
}

/// Answers an order; the code that it is counted under.
fn answer(desk: &Desk, asked: &Waiting, reply: Reply, answers: &mut Answers) -> usize {
    let mut put = |accepted: &Accepted| {
        Created::of(&asked.request_id, accepted).map(|created| answers.put_created(asked.tag, &created))
    };
    match Accepted::of(reply).and_then(|accepted| put(&accepted)) {
        Ok(()) => Code::Ok as usize,
        Err(rejection) => {
            let code = rejection.code() as usize;
            answers.put(&Answer { tag: asked.tag, answer: Some(desk.failed(rejection)) });
            code
        }
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        for asked in self.waiting.iter().flatten() {
            self.tally.give_up(asked.since.elapsed());
        }
    }
}
