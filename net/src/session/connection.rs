//! What the two tasks of a stream share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use onrush_proto::frame::{Answer, ErrorFrame, Kind};

use super::limits::Limits;
use super::outbox::Outbox;
use super::pool::Pool;
use super::runtime::Stop;
use super::signal::Signal;
use super::subscription::Subscription;
use super::tickets::Open;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Commands are taken.
    Open,
    /// None are any more; what is open is answered, then it ends.
    Leaving,
    /// It ends once what waits is written.
    Failed,
    /// Nobody is there to write to.
    Gone,
}

/// A connection whose caller is known, or a further stream of one.
pub(crate) struct Connection<S, P> {
    pub(super) session: Rc<S>,
    pub(super) limits: Limits,
    pub(super) outbox: RefCell<Outbox>,
    stage: Cell<Stage>,
    /// Bytes that are being written.
    sending: Cell<usize>,
    /// Commands under way, how long they were, and those among them that read.
    open: Cell<u32>,
    open_bytes: Cell<usize>,
    reads: Cell<u32>,
    /// Subscriptions that are open, by the client's numbers.
    pub(super) subscriptions: RefCell<BTreeMap<u64, Rc<Subscription>>>,
    /// The writer has something to do.
    pub(super) to_write: Signal,
    /// Nobody is there to write to any more.
    pub(super) gone: Signal,
    /// The reader may go on.
    pub(super) room: Signal,
    /// Ends what the reader waits for when the connection is to end.
    pub(super) stop: P,
}

impl<S, P: Stop> Connection<S, P> {
    pub(crate) fn new(session: S, limits: Limits) -> Self {
        Self::with(Rc::new(session), limits, Rc::new(Cell::new(limits.credit)))
    }

    /// A further stream of the same caller, who has one credit for all.
    pub(crate) fn further(&self) -> Self {
        let credit = self.outbox.borrow().purse();
        Self::with(Rc::clone(&self.session), self.limits.of_stream(), credit)
    }

    fn with(session: Rc<S>, limits: Limits, credit: Rc<Cell<u32>>) -> Self {
        Self {
            session,
            limits,
            outbox: RefCell::new(Outbox::new(credit)),
            stage: Cell::new(Stage::Open),
            sending: Cell::new(0),
            open: Cell::new(0),
            open_bytes: Cell::new(0),
            reads: Cell::new(0),
            subscriptions: RefCell::default(),
            to_write: Signal::default(),
            gone: Signal::default(),
            room: Signal::default(),
            stop: P::default(),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    fn stop_reading(&self, stage: Stage) {
        self.stage.set(stage);
        self.subscriptions.borrow().values().for_each(|subscription| subscription.end());
        self.stop.stop();
        self.room.set();
        self.to_write.set();
    }

    /// Nothing more is taken. The server says so if it is its own doing.
    pub(crate) fn leave(&self, told: Option<&Pool>) {
        if self.stage.get() == Stage::Open {
            if let Some(pool) = told {
                self.outbox.borrow_mut().bare(pool, Kind::Leaving, 0);
            }
            self.stop_reading(Stage::Leaving);
        }
    }

    /// The client did something wrong: it hears what, and that is the end.
    pub(super) fn fail(&self, pool: &Pool, error: &ErrorFrame) {
        if matches!(self.stage.get(), Stage::Open | Stage::Leaving) {
            self.outbox.borrow_mut().error(pool, error);
            self.stop_reading(Stage::Failed);
        }
    }

    /// Nobody is there any more.
    pub(crate) fn vanish(&self) {
        self.stop_reading(Stage::Gone);
        self.gone.set();
        // What is under way keeps the connection, not what nobody will read.
        self.outbox.borrow_mut().forget();
    }

    /// True if nothing is left to write but what waits now.
    pub(super) fn is_over(&self) -> bool {
        match self.stage.get() {
            Stage::Open => false,
            Stage::Leaving => self.open.get() == 0,
            Stage::Failed | Stage::Gone => true,
        }
    }

    /// True if as much waits for the client as may.
    pub(super) fn is_unsent_full(&self) -> bool {
        self.sending.get() + self.outbox.borrow().len() > self.limits.unsent_bytes_max
    }

    /// True if the next command has to wait.
    pub(super) fn is_full(&self, reads: bool) -> bool {
        let Limits { open_bytes_max, reads_max, .. } = self.limits;
        self.is_unsent_full()
            || self.open_bytes.get() > open_bytes_max
            || reads && self.reads.get() >= reads_max
    }

    /// What a further stream had spent when it was broken off comes back here, once all of it is answered.
    pub(super) async fn take_back(&self, further: &Self) {
        while further.open.get() > 0 && !self.is_over() {
            further.room.wait().await;
        }
        let spent = further.outbox.borrow_mut().take_spent();
        if spent > 0 && matches!(self.stage.get(), Stage::Open | Stage::Leaving) {
            self.outbox.borrow_mut().owe(spent);
            self.to_write.set();
        }
    }

    pub(super) fn set_sending(&self, bytes: usize) {
        self.sending.set(bytes);
        self.room.set();
        self.subscriptions.borrow().values().for_each(|subscription| subscription.has_room());
    }

    /// A command is under way.
    pub(super) fn begin(&self, reads: bool, bytes: usize) {
        self.open.set(self.open.get() + 1);
        self.open_bytes.set(self.open_bytes.get() + bytes);
        self.reads.set(self.reads.get() + u32::from(reads));
    }

    /// It is answered.
    pub(super) fn end(&self, pool: &Pool, of: &Open<Self>, answer: &Answer) {
        self.open.set(self.open.get() - 1);
        self.open_bytes.set(self.open_bytes.get() - of.bytes);
        self.reads.set(self.reads.get() - u32::from(of.reads));
        self.answer(pool, of.tag, answer);
        self.room.set();
    }

    /// An answer for the client, if it is still there.
    pub(super) fn answer(&self, pool: &Pool, tag: u64, answer: &Answer) {
        if matches!(self.stage.get(), Stage::Open | Stage::Leaving) {
            self.outbox.borrow_mut().answer(pool, tag, answer);
        }
        self.to_write.set();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use onrush_proto::frame::{ErrorCode, FRAME_BYTES_MAX, Frame};

    use super::*;

    #[derive(Default)]
    struct Never;

    impl Stop for Never {
        fn stop(&self) {}
    }

    fn first(credit: u32) -> Connection<(), Never> {
        Connection::new((), Limits { credit, ..Limits::default() })
    }

    /// A stream beside the first that spends and is broken off, with nothing open.
    fn breaks_off(first: &Connection<(), Never>, spends: u32) -> bool {
        let further = first.further();
        let spent = further.outbox.borrow_mut().spend(spends);
        further.vanish();
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(first.take_back(&further)).poll(&mut context).is_ready());
        spent
    }

    /// The kinds and arguments of what would be written now.
    fn leaves(first: &Connection<(), Never>) -> Vec<(Kind, u32)> {
        let bytes = first.outbox.borrow_mut().take(&Pool::default()).unwrap_or_default();
        let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
        while let Some((frame, behind)) = Frame::read(rest, FRAME_BYTES_MAX).unwrap() {
            found.push((frame.kind, frame.argument));
            rest = behind;
        }
        found
    }

    #[test]
    fn streams_that_break_off_make_nothing_grow_while_the_first_is_not_read() {
        let first = first(1_000);
        for _ in 0..500 {
            assert!(breaks_off(&first, 2));
            assert_eq!(first.outbox.borrow().len(), 0, "nobody reads, and nothing waits");
        }
        assert!(!breaks_off(&first, 1), "what has not left gives nothing back");
        assert_eq!(leaves(&first), [(Kind::Credit, 1_000)]);
        assert_eq!(leaves(&first), []);
        assert!(breaks_off(&first, 1_000), "all of it is there again");
    }

    #[test]
    fn credit_that_is_owed_follows_what_waits_and_never_an_error() {
        let (pool, first) = (Pool::default(), first(10));
        assert!(breaks_off(&first, 3) && breaks_off(&first, 4));
        first.outbox.borrow_mut().bare(&pool, Kind::Pong, 0);
        assert_eq!(leaves(&first), [(Kind::Pong, 0), (Kind::Credit, 7)]);
        assert!(breaks_off(&first, 5));
        first.fail(&pool, &ErrorFrame::new(ErrorCode::Malformed, "wrong"));
        assert!(matches!(leaves(&first)[..], [(Kind::Error, _)]), "the last frame is the last");
    }
}
