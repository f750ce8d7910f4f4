//! What all streams of a front share: the desk, and what is under way at it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::connection::Connection;
use super::desk::Desk;
use super::limits::Limits;
use super::pool::Pool;
use super::runtime::{Runtime, Stop as _, timeout};
use super::signal::Signal;
use super::tickets::Tickets;

/// How often it is looked whether all tasks have ended.
const LOOK: Duration = Duration::from_millis(5);

type Streams<S, P> = HashMap<u64, Rc<Connection<S, P>>>;

/// What all tasks of a front share.
pub(crate) struct Shared<D: Desk, R: Runtime> {
    pub(super) desk: RefCell<D>,
    pub(super) tickets: RefCell<Tickets<Connection<D::Session, R::Stop>>>,
    pub(crate) limits: Limits,
    pub(super) pool: Pool,
    /// Where somebody is at the other end, by number.
    streams: RefCell<Streams<D::Session, R::Stop>>,
    next: Cell<u64>,
    /// Ends those who have not said who they are.
    pub(crate) strangers: R::Stop,
    stopping: Cell<bool>,
    /// Something was taken and has not left.
    taken: Cell<bool>,
    pump: Signal,
    ended: Signal,
    /// The pump is to end.
    over: Cell<bool>,
}

impl<D: Desk, R: Runtime> Shared<D, R> {
    pub(crate) fn new(desk: D, limits: Limits) -> Self {
        Self {
            desk: RefCell::new(desk),
            tickets: RefCell::default(),
            limits,
            pool: Pool::default(),
            streams: RefCell::default(),
            next: Cell::new(0),
            strangers: R::Stop::default(),
            stopping: Cell::new(false),
            taken: Cell::new(false),
            pump: Signal::default(),
            ended: Signal::default(),
            over: Cell::new(false),
        }
    }

    /// Something was taken: it leaves when all who can run have run.
    pub(super) fn has_taken(&self) {
        self.taken.set(true);
        self.pump.set();
    }

    /// Lets all others run who can.
    pub(super) async fn turn(&self) {
        let mut turned = false;
        poll_fn(|context| match std::mem::replace(&mut turned, true) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }

    /// Somebody is there: they are told when it ends, until they leave under the number.
    pub(crate) fn enter(&self, connection: &Rc<Connection<D::Session, R::Stop>>) -> u64 {
        let number = self.next.replace(self.next.get() + 1);
        self.streams.borrow_mut().insert(number, Rc::clone(connection));
        number
    }

    pub(crate) fn leave(&self, number: u64) {
        self.streams.borrow_mut().remove(&number);
        self.ended.set();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    fn all(&self) -> Vec<Rc<Connection<D::Session, R::Stop>>> {
        self.streams.borrow().values().cloned().collect()
    }

    /// Takes nothing more from anybody, and waits for so long until what is open is answered. Then all that still
    /// runs is ended: a task that waits when its runtime ends is never dropped, and so is not what it holds: the
    /// desk, and the engine's files with it.
    pub(crate) async fn stop(self: Rc<Self>, pumping: impl Future<Output = ()>, drain: Duration) {
        self.stopping.set(true);
        self.strangers.stop();
        self.all().iter().for_each(|connection| connection.leave(Some(&self.pool)));
        let ended = async {
            while !self.streams.borrow().is_empty() {
                self.ended.wait().await;
            }
        };
        // What is not answered by then never is: the callers ask again under their keys.
        let _ = timeout::<R, _>(drain, ended).await;
        self.all().iter().for_each(|connection| connection.vanish());
        let ended = async {
            // This one and the pump stay.
            while Rc::strong_count(&self) > 2 {
                R::sleep(LOOK).await;
            }
        };
        // Who does not end within its own bounds is left behind: somebody who is told why it is refused may take
        // so long to read it, and so long to see that this was all.
        let bounds = 3 * self.limits.hello + self.limits.linger;
        let _ = timeout::<R, _>(bounds, ended).await;
        self.over.set(true);
        self.pump.set();
        pumping.await;
    }

    /// One look: what was taken leaves, what came back is handed over. True if something came.
    fn look(&self, context: &mut Context<'_>) -> bool {
        let mut desk = self.desk.borrow_mut();
        if self.taken.take() {
            desk.flush();
        }
        if desk.poll_ready(context).is_pending() {
            return false;
        }
        desk.drain(|ticket, answer| {
            if let Some(open) = self.tickets.borrow_mut().close(ticket) {
                open.connection.end(&self.pool, &open, &answer);
            }
        });
        true
    }
}

/// Moves what is asked and answered, until it is over.
pub(crate) async fn pump<D: Desk, R: Runtime>(front: Rc<Shared<D, R>>) {
    poll_fn(|context| {
        if front.over.get() {
            return Poll::Ready(());
        }
        if front.look(context) {
            // Others first: they write what came, and ask more.
            context.waker().wake_by_ref();
        } else if front.pump.poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}
