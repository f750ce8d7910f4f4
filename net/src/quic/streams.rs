//! The streams of a connection beside the first: each carries one request and its answers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use quinn::{RecvStream, SendStream};

use super::halves::{Interrupt, Outgoing, Tokio};
use super::settings;
use crate::session::{Connection, Desk, Further, Runtime as _, Shared, Signal, Stage, farther};

type Stream<D> = Rc<Connection<<D as Desk>::Session, Interrupt>>;

/// Those that are open.
pub(super) struct Streams<D: Desk> {
    front: Rc<Shared<D, Tokio>>,
    connection: quinn::Connection,
    open: RefCell<HashMap<u64, Stream<D>>>,
    next: Cell<u64>,
    ended: Signal,
}

impl<D: Desk> Streams<D> {
    pub(super) fn new(front: Rc<Shared<D, Tokio>>, connection: quinn::Connection) -> Rc<Self> {
        let (open, next, ended) = (RefCell::default(), Cell::new(0), Signal::default());
        Rc::new(Self { front, connection, open, next, ended })
    }

    /// The first one has ended: so do they, in the same manner.
    pub(super) async fn end(&self, first: Stage) {
        let open: Vec<_> = self.open.borrow().values().cloned().collect();
        for stream in open {
            match first {
                Stage::Open | Stage::Leaving => stream.leave(None),
                Stage::Failed | Stage::Gone => stream.vanish(),
            }
        }
        while !self.open.borrow().is_empty() {
            self.ended.wait().await;
        }
    }

    fn take(self: &Rc<Self>, first: &Stream<D>, (sink, source): (SendStream, RecvStream)) {
        let sink = Outgoing::new(sink);
        // Both halves are reset when nobody takes them.
        if first.stage() != Stage::Open {
            return;
        }
        let (streams, first, stream) = (Rc::clone(self), Rc::clone(first), Rc::new(first.further()));
        let number = self.next.replace(self.next.get() + 1);
        self.open.borrow_mut().insert(number, Rc::clone(&stream));
        drop(Tokio::spawn(async move {
            farther(&streams.front, (&first, &stream), source, sink).await;
            streams.open.borrow_mut().remove(&number);
            streams.ended.set();
        }));
    }
}

/// They are taken for as long as the connection lives.
impl<D: Desk> Further<D, Tokio> for Rc<Streams<D>> {
    fn begin(&self, first: &Stream<D>) {
        settings::admit(&self.connection, &self.front.limits);
        let (streams, first) = (Rc::clone(self), Rc::clone(first));
        drop(Tokio::spawn(async move {
            while let Ok(stream) = streams.connection.accept_bi().await {
                streams.take(&first, stream);
            }
        }));
    }
}
