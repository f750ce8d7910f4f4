//! What the two tasks of a connection share.

use std::cell::{Cell, RefCell};

use monoio::io::{CancelHandle, Canceller};
use onrush_proto::frame::{Answer, ErrorFrame, Kind};

use super::limits::Limits;
use super::outbox::Outbox;
use super::pool::Pool;
use super::signal::Signal;
use super::tickets::Open;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Commands are taken.
    Open,
    /// None are any more; what is open is answered, then it ends.
    Leaving,
    /// It ends once what waits is written.
    Failed,
    /// Nobody is there to write to.
    Gone,
}

/// A connection whose caller is known.
pub(super) struct Connection<S> {
    pub(super) session: S,
    pub(super) outbox: RefCell<Outbox>,
    stage: Cell<Stage>,
    /// Bytes that are being written.
    sending: Cell<usize>,
    /// Commands under way, how long they were, and those among them that read.
    open: Cell<u32>,
    open_bytes: Cell<usize>,
    reads: Cell<u32>,
    /// The writer has something to do.
    pub(super) to_write: Signal,
    /// The reader may go on.
    pub(super) room: Signal,
    canceller: RefCell<Canceller>,
}

impl<S> Connection<S> {
    pub(super) fn new(session: S, credit: u32) -> Self {
        Self {
            session,
            outbox: RefCell::new(Outbox::new(credit)),
            stage: Cell::new(Stage::Open),
            sending: Cell::new(0),
            open: Cell::new(0),
            open_bytes: Cell::new(0),
            reads: Cell::new(0),
            to_write: Signal::default(),
            room: Signal::default(),
            canceller: RefCell::default(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Ends what the reader waits for when the connection is to end.
    pub(super) fn cancel_handle(&self) -> CancelHandle {
        self.canceller.borrow().handle()
    }

    fn stop_reading(&self, stage: Stage) {
        self.stage.set(stage);
        let canceller = self.canceller.take();
        self.canceller.replace(canceller.cancel());
        self.room.set();
        self.to_write.set();
    }

    /// Nothing more is taken. The server says so if it is its own doing.
    pub(super) fn leave(&self, told: Option<&Pool>) {
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
    pub(super) fn vanish(&self) {
        self.stop_reading(Stage::Gone);
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

    /// True if the next command has to wait.
    pub(super) fn is_full(&self, limits: &Limits, reads: bool) -> bool {
        let unsent = self.sending.get() + self.outbox.borrow().len();
        unsent > limits.unsent_bytes_max
            || self.open_bytes.get() > limits.open_bytes_max
            || reads && self.reads.get() >= limits.reads_max
    }

    pub(super) fn set_sending(&self, bytes: usize) {
        self.sending.set(bytes);
        self.room.set();
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
