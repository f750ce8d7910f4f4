//! Calls of one event loop: they leave together, and their replies come back together.
//!
//! A call by itself costs a parcel, a wake of the shard and, on the way back, a wake of the loop. A
//! loop that reads many calls at once sends them as one parcel, and is woken once per turn of the
//! shard; the tasks behind the replies then wake each other on the loop's own thread.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use event_listener::EventListener;
use hashbrown::HashMap;
use onrush_proto::{Refusal, Reply, Request};

use crate::handle::{EngineHandle, refused};
use crate::host::PortQueue;
use crate::port::Port;
use crate::tables::FixedState;

/// How often a pump lets the loop's other tasks run first while they bring it new calls. A loop that
/// has nothing else to do comes back at once, so a lone call waits for one look.
const PATIENCE: u32 = 4;

/// A way to the shards for the tasks of one event loop. Its clones share it. Calls move only while
/// the loop polls the [`Pump`] that was made with it.
#[derive(Clone)]
pub struct Lane {
    shared: Arc<Shared>,
}

/// Moves a lane's calls to the shards and its replies back: to be polled by the loop whose tasks
/// call. Never resolves; when it is dropped, open calls are answered with [`Refusal::Stopped`].
pub struct Pump {
    shared: Arc<Shared>,
    /// Calls that were waiting to leave at the last look, and how many more looks they wait.
    gathered: usize,
    patience: u32,
    /// Hears of replies.
    arrived: Option<EventListener>,
    /// Who is woken when the lock is let go.
    woken: Vec<Waker>,
}

struct Shared {
    state: Mutex<State>,
    queue: Arc<PortQueue>,
}

struct State {
    port: Port,
    next: u64,
    calls: HashMap<u64, Waiting, FixedState>,
    /// Calls added since the pump sent anything.
    unsent: Vec<u64>,
    /// The sleeping pump.
    pump: Option<Waker>,
    closed: bool,
}

enum Waiting {
    /// Nothing came yet.
    Open(Option<Waker>),
    /// The reply waits to be taken.
    Done(Reply),
}

impl Lane {
    pub(crate) fn open(engine: EngineHandle) -> (Self, Pump) {
        let port = Port::open(engine);
        let queue = Arc::clone(port.queue());
        let state = State {
            port,
            next: 0,
            calls: HashMap::with_hasher(FixedState),
            unsent: Vec::new(),
            pump: None,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), queue });
        let pump = Pump {
            shared: Arc::clone(&shared),
            gathered: 0,
            patience: PATIENCE,
            arrived: None,
            woken: Vec::new(),
        };
        (Self { shared }, pump)
    }

    /// One request. Dropping the future gives up the answer, not the deed.
    pub async fn call(&self, request: Request) -> Reply {
        match self.submit(request) {
            Ok(call) => call.await,
            Err(refusal) => refused(refusal),
        }
    }

    fn submit(&self, request: Request) -> Result<Call, Refusal> {
        let (tag, pump) = {
            let mut state = self.shared.lock();
            if state.closed {
                return Err(Refusal::Stopped);
            }
            let tag = state.next;
            state.port.submit(tag, request).map_err(|_| Refusal::Overloaded)?;
            state.next += 1;
            state.calls.insert(tag, Waiting::Open(None));
            state.unsent.push(tag);
            (tag, state.pump.take())
        };
        if let Some(pump) = pump {
            pump.wake();
        }
        Ok(Call { shared: Arc::clone(&self.shared), tag })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends what was added. What reached a closed door may never be looked at.
    fn send(&mut self, woken: &mut Vec<Waker>) {
        self.port.flush();
        if self.port.is_closed() {
            for tag in &self.unsent {
                answer(&mut self.calls, *tag, refused(Refusal::Stopped), woken);
            }
        }
        self.unsent.clear();
    }

    /// Takes the replies that are there.
    fn receive(&mut self, woken: &mut Vec<Waker>) {
        let Self { port, calls, .. } = self;
        port.drain(|tag, reply| answer(calls, tag, reply, woken));
    }
}

/// A call that was given up is gone; the first answer counts.
fn answer(calls: &mut HashMap<u64, Waiting, FixedState>, tag: u64, reply: Reply, woken: &mut Vec<Waker>) {
    if let Some(waiting @ Waiting::Open(_)) = calls.get_mut(&tag)
        && let Waiting::Open(Some(waker)) = std::mem::replace(waiting, Waiting::Done(reply))
    {
        woken.push(waker);
    }
}

impl Pump {
    /// One look: replies first, then what has gathered. True if it wants to look again at once.
    fn look(&mut self, context: &Context<'_>) -> bool {
        let mut state = self.shared.lock();
        state.receive(&mut self.woken);
        let waiting = state.unsent.len();
        let again = waiting > self.gathered && self.patience > 0;
        if again {
            self.patience -= 1;
        } else if waiting > 0 {
            state.send(&mut self.woken);
            // With the inline host the shards turn here.
            state.receive(&mut self.woken);
        }
        if !again {
            (self.gathered, self.patience) = (0, PATIENCE);
            state.pump = Some(context.waker().clone());
        } else {
            self.gathered = waiting;
        }
        again
    }

    /// True if replies came since the last look.
    fn has_news(&mut self, context: &mut Context<'_>) -> bool {
        loop {
            let queue = &self.shared.queue;
            let arrived = self.arrived.get_or_insert_with(|| queue.arrived.listen());
            if !queue.replies.is_empty() {
                return true;
            }
            match Pin::new(arrived).poll(context) {
                Poll::Ready(()) => self.arrived = None,
                Poll::Pending => return false,
            }
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let again = self.look(context);
            for waker in self.woken.drain(..) {
                waker.wake();
            }
            if again {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.has_news(context) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            let State { calls, .. } = &mut *state;
            let open: Vec<u64> = calls.keys().copied().collect();
            for tag in open {
                answer(calls, tag, refused(Refusal::Stopped), &mut self.woken);
            }
        }
        for waker in self.woken.drain(..) {
            waker.wake();
        }
    }
}

/// A call under way.
struct Call {
    shared: Arc<Shared>,
    tag: u64,
}

impl Future for Call {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let mut state = self.shared.lock();
        match state.calls.get_mut(&self.tag) {
            Some(Waiting::Open(waker)) => *waker = Some(context.waker().clone()),
            Some(Waiting::Done(_)) => {
                if let Some(Waiting::Done(reply)) = state.calls.remove(&self.tag) {
                    return Poll::Ready(reply);
                }
            }
            None => {}
        }
        Poll::Pending
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.lock().calls.remove(&self.tag);
    }
}
