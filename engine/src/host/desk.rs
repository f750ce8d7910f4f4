//! Single calls: each waits for its own reply.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use onrush_proto::Reply;

use crate::tables::FixedState;

/// Locks that calls spread over, so that threads seldom meet.
const DRAWERS: usize = 32;

enum Waiting {
    /// Nothing came yet.
    Open(Option<Waker>),
    /// The reply waits to be taken.
    Done(Reply),
}

type Drawer = HashMap<u64, Waiting, FixedState>;

/// Calls under way.
pub(crate) struct Desk {
    next: AtomicU64,
    drawers: Box<[Mutex<Drawer>]>,
}

impl Default for Desk {
    fn default() -> Self {
        let drawers = (0..DRAWERS).map(|_| Mutex::new(HashMap::with_hasher(FixedState))).collect();
        Self { next: AtomicU64::new(0), drawers }
    }
}

impl Desk {
    fn drawer(&self, tag: u64) -> MutexGuard<'_, Drawer> {
        self.drawers[tag as usize % DRAWERS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a call.
    pub(crate) fn open(self: &Arc<Self>) -> Call {
        let tag = self.next.fetch_add(1, Ordering::Relaxed);
        self.drawer(tag).insert(tag, Waiting::Open(None));
        Call { desk: Arc::clone(self), tag }
    }

    /// Brings a call's reply. A call that was given up is gone.
    pub(crate) fn deliver(&self, tag: u64, reply: Reply) {
        let waker = match self.drawer(tag).get_mut(&tag) {
            Some(waiting) => match std::mem::replace(waiting, Waiting::Done(reply)) {
                Waiting::Open(waker) => waker,
                Waiting::Done(_) => None,
            },
            None => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A call under way: resolves to its reply. Dropped, it is given up; what it asked for may still
/// happen.
pub(crate) struct Call {
    desk: Arc<Desk>,
    tag: u64,
}

impl Call {
    pub(crate) fn tag(&self) -> u64 {
        self.tag
    }

    /// The reply, if it is there.
    pub(crate) fn take(&self) -> Option<Reply> {
        let mut drawer = self.desk.drawer(self.tag);
        match drawer.get_mut(&self.tag)? {
            Waiting::Done(_) => match drawer.remove(&self.tag) {
                Some(Waiting::Done(reply)) => Some(reply),
                _ => None,
            },
            Waiting::Open(_) => None,
        }
    }
}

impl Future for Call {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        if let Some(reply) = self.take() {
            return Poll::Ready(reply);
        }
        let mut drawer = self.desk.drawer(self.tag);
        match drawer.get_mut(&self.tag) {
            // It came between the look and the lock.
            Some(Waiting::Done(_)) => context.waker().wake_by_ref(),
            Some(Waiting::Open(waker)) => *waker = Some(context.waker().clone()),
            None => {}
        }
        Poll::Pending
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.desk.drawer(self.tag).remove(&self.tag);
    }
}
