//! Subscriptions of a connection: each has a task that moves its records into the output.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use onrush_proto::frame::{Answer, FrameError, Start, SubscribeView};
use onrush_proto::{Lsn, Outcome, Receipt, Refusal, Reply};

use super::connection::{Connection, Stage};
use super::desk::{Batch, Desk, Feed};
use super::front::Shared;
use super::reader::Caller;
use super::runtime::{Runtime, unless};
use super::signal::Signal;
use super::tickets::Open;

/// A subscription that is open.
pub(super) struct Subscription {
    feed: Box<dyn Feed>,
    /// There may be room in the output again.
    room: Signal,
    over: Signal,
    is_over: Cell<bool>,
    /// The log was looked through up to here, as far as the client will hear.
    reached: Cell<Lsn>,
}

impl Subscription {
    /// One that has reached what is in front of its first record, if it names that.
    fn new(feed: Box<dyn Feed>, from: Option<Start>) -> Self {
        let (room, over) = (Signal::default(), Signal::default());
        let before = match from {
            Some(Start::At(first)) => Lsn(first.0.saturating_sub(1)),
            _ => Lsn(0),
        };
        Self { feed, room, over, is_over: Cell::new(false), reached: Cell::new(before) }
    }

    pub(super) fn grant(&self, bytes: u32) {
        self.feed.grant(bytes);
    }

    /// Nothing more is wanted of it; its answer comes when what is in the output by then is all.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        self.over.set();
        self.room.set();
    }

    pub(super) fn has_room(&self) {
        self.room.set();
    }
}

/// Begins one, or answers why not.
pub(super) fn subscribe<D: Desk, R: Runtime>(
    front: &Rc<Shared<D, R>>,
    connection: &Caller<D, R>,
    view: &SubscribeView<'_>,
    bytes: usize,
) -> Result<(), FrameError> {
    let number = view.subscription();
    let open = connection.subscriptions.borrow().len();
    if connection.subscriptions.borrow().contains_key(&number) {
        // Its answers could not be told from those of the other.
        let expected = "a number that no open subscription has";
        return Err(FrameError::Field { field: "subscription", expected });
    }
    let feed = match open < usize::from(connection.limits.subscriptions_max) {
        true => front.desk.borrow_mut().subscribe(&connection.session, view),
        false => Err(refused(Refusal::Invalid {
            field: "subscription",
            expected: "no more of them than there may be, on the first stream of a connection",
        })),
    };
    match feed {
        Err(answer) => connection.answer(&front.pool, number, &answer),
        Ok(feed) => {
            let subscription = Rc::new(Subscription::new(feed, view.wanted().ok().map(|wanted| wanted.from)));
            connection.subscriptions.borrow_mut().insert(number, Rc::clone(&subscription));
            connection.begin(false, bytes);
            let open = Open { connection: Rc::clone(connection), tag: number, reads: false, bytes };
            let front = Rc::clone(front);
            drop(R::spawn(async move { follow(&front, open, &subscription).await }));
        }
    }
    Ok(())
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Reply(Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: Lsn(0) })
}

/// Moves its records until it ends, and answers it.
async fn follow<D: Desk, R: Runtime>(
    front: &Shared<D, R>,
    open: Open<Connection<D::Session, R::Stop>>,
    subscription: &Subscription,
) {
    let connection = &open.connection;
    let last = loop {
        let next = poll_fn(|context| subscription.feed.poll_next(context));
        match unless(next, pin!(subscription.over.wait())).await {
            Some(Ok(Batch { frame, reached })) => {
                while connection.is_unsent_full() && !subscription.is_over.get() {
                    subscription.room.wait().await;
                }
                if subscription.is_over.get() {
                    break reached_so_far(subscription);
                }
                subscription.reached.set(reached);
                connection.records(&front.pool, &frame);
            }
            Some(Err(answer)) => break answer,
            None => break reached_so_far(subscription),
        }
    };
    connection.subscriptions.borrow_mut().remove(&open.tag);
    connection.end(&front.pool, &open, &last);
}

fn reached_so_far(subscription: &Subscription) -> Answer {
    let lsn = subscription.reached.get();
    let outcome = Outcome::Accepted(Receipt::Offset { lsn: lsn.0 });
    Answer::Reply(Reply { outcome, replayed: false, lsn })
}

impl<S, P: super::runtime::Stop> Connection<S, P> {
    /// Records for the client, if it is still there and takes more.
    fn records(&self, pool: &super::pool::Pool, frame: &[u8]) {
        if self.stage() == Stage::Open {
            self.outbox.borrow_mut().whole(pool, frame);
            self.to_write.set();
        }
    }
}
