//! The task that reads from a stream.

use std::rc::Rc;

use onrush_proto::frame::{
    CommandEntry, Commands, DetailsView, ErrorCode, ErrorFrame, Frame, FrameError, Grant, HEADER_BYTES, Kind,
    SubscribeView, Unsubscribe, ValidateView,
};

use super::connection::{Connection, Stage};
use super::desk::{Desk, Taken};
use super::front::Shared;
use super::incoming::{End, Incoming, Pace};
use super::runtime::{Runtime, Source};
use super::subscription;
use super::tickets::Open;

/// Whoever is at the other end.
pub(super) type Caller<D, R> = Rc<Connection<<D as Desk>::Session, <R as Runtime>::Stop>>;

/// Why a connection's client is not listened to any more.
enum Last {
    /// It has nothing more to ask.
    Goodbye,
    /// It did something wrong.
    Wrong(ErrorFrame),
    /// It ended the connection by itself.
    Gone,
}

impl From<FrameError> for Last {
    fn from(error: FrameError) -> Self {
        Self::Wrong(error.into())
    }
}

/// Takes frames until there are no more to take, and leaves the connection so that it ends. `hurry`: the client
/// may not fall silent.
pub(super) async fn read<D: Desk, R: Runtime, I: Source<R::Stop>>(
    front: &Rc<Shared<D, R>>,
    connection: &Caller<D, R>,
    incoming: &mut Incoming<I>,
    hurry: bool,
) {
    loop {
        match take(front, connection, incoming).await {
            Ok(()) => {}
            Err(Last::Goodbye) => return connection.leave(None),
            Err(Last::Gone) => return connection.vanish(),
            Err(Last::Wrong(error)) => return connection.fail(&front.pool, &error),
        }
        if connection.stage() != Stage::Open {
            return;
        }
        // What was taken leaves before more is read, together with what the other connections have.
        front.turn().await;
        // Who ends the connection meanwhile ends no read that has not begun.
        if connection.stage() != Stage::Open {
            return;
        }
        let pace = Pace::of(&front.limits, hurry);
        match incoming.more::<R>(&front.pool, &connection.stop, pace).await {
            Ok(()) => {}
            // Whoever closes its half has nothing more to ask, and may still read.
            Err(End::Closed) => return connection.leave(None),
            Err(End::Broken) if connection.stage() == Stage::Leaving => return,
            Err(End::Broken) => return connection.vanish(),
            Err(End::Stalled) => return connection.fail(&front.pool, &stalled()),
        }
    }
}

pub(super) fn stalled() -> ErrorFrame {
    ErrorFrame::new(ErrorCode::Slow, "frame: expected the rest of it, found too little for too long")
}

/// Takes the frames that are whole.
async fn take<D: Desk, R: Runtime, I>(
    front: &Rc<Shared<D, R>>,
    connection: &Caller<D, R>,
    incoming: &mut Incoming<I>,
) -> Result<(), Last> {
    while connection.stage() == Stage::Open {
        let Some(frame) = incoming.frame(connection.limits.frame_bytes_max)? else { break };
        handle(front, connection, &frame).await?;
        let length = HEADER_BYTES + frame.body.len();
        incoming.skip(length);
    }
    Ok(())
}

async fn handle<D: Desk, R: Runtime>(
    front: &Rc<Shared<D, R>>,
    connection: &Caller<D, R>,
    frame: &Frame<'_>,
) -> Result<(), Last> {
    match frame.kind {
        Kind::Commands => {
            let commands = Commands::of(frame)?;
            spend::<D, R>(connection, frame.count.into())?;
            for entry in commands {
                let reads = front.desk.borrow().reads(&entry);
                // What is not taken by then never is: nobody would write its answer.
                if !room::<D, R>(connection, reads).await {
                    return Ok(());
                }
                ask(front, connection, &entry, reads);
            }
        }
        Kind::Validate => {
            let view = ValidateView::of(frame)?;
            spend::<D, R>(connection, 1)?;
            if room::<D, R>(connection, false).await {
                validate(front, connection, &view, frame.count);
            }
        }
        Kind::Details => {
            let view = DetailsView::of(frame)?;
            spend::<D, R>(connection, 1)?;
            if room::<D, R>(connection, false).await {
                details(front, connection, &view, frame.count);
            }
        }
        Kind::Subscribe | Kind::Grant | Kind::Unsubscribe => return follow(front, connection, frame).await,
        Kind::Ping => {
            spend::<D, R>(connection, 1)?;
            if room::<D, R>(connection, false).await {
                connection.outbox.borrow_mut().bare(&front.pool, Kind::Pong, 1);
                connection.to_write.set();
            }
        }
        Kind::Goodbye => {
            empty(frame)?;
            return Err(Last::Goodbye);
        }
        // Something that we said was wrong: nobody reads what we would say to that.
        Kind::Error => return Err(Last::Gone),
        found => {
            let expected = "Commands, Validate, Details, Subscribe, Grant, Unsubscribe, Ping or Goodbye";
            return Err(FrameError::UnexpectedKind { expected, found }.into());
        }
    }
    Ok(())
}

/// What is said of a subscription.
async fn follow<D: Desk, R: Runtime>(
    front: &Rc<Shared<D, R>>,
    connection: &Caller<D, R>,
    frame: &Frame<'_>,
) -> Result<(), Last> {
    // One that has ended by itself meanwhile needs nothing more.
    let open = |number: u64| connection.subscriptions.borrow().get(&number).map(Rc::clone);
    match frame.kind {
        Kind::Grant => {
            let grant = Grant::of(frame)?;
            if let Some(subscription) = open(grant.subscription) {
                subscription.grant(grant.bytes);
            }
        }
        Kind::Unsubscribe => {
            let ended = Unsubscribe::of(frame)?;
            if let Some(subscription) = open(ended.subscription) {
                subscription.end();
            }
        }
        _ => {
            let view = SubscribeView::of(frame)?;
            spend::<D, R>(connection, 1)?;
            if room::<D, R>(connection, false).await {
                subscription::subscribe(front, connection, &view, HEADER_BYTES + frame.body.len())?;
            }
        }
    }
    Ok(())
}

fn empty(frame: &Frame<'_>) -> Result<(), FrameError> {
    match (frame.count, frame.body.len()) {
        (0, 0) => Ok(()),
        (0, found) => Err(FrameError::BodyLength { field: "body", expected: 0, found }),
        (expected, _) => Err(FrameError::Count { expected, found: 0 }),
    }
}

fn spend<D: Desk, R: Runtime>(connection: &Caller<D, R>, credit: u32) -> Result<(), Last> {
    let mut outbox = connection.outbox.borrow_mut();
    if outbox.spend(credit) {
        return Ok(());
    }
    let text = format!("credit: expected at most {}, found {credit}", outbox.credit());
    Err(Last::Wrong(ErrorFrame::new(ErrorCode::Credit, text)))
}

/// Waits while too much waits for the client, or by it. False once nothing more is taken from it.
async fn room<D: Desk, R: Runtime>(connection: &Caller<D, R>, reads: bool) -> bool {
    while connection.stage() == Stage::Open && connection.is_full(reads) {
        connection.room.wait().await;
    }
    connection.stage() == Stage::Open
}

fn ask<D: Desk, R: Runtime>(
    front: &Shared<D, R>,
    connection: &Caller<D, R>,
    entry: &CommandEntry<'_>,
    reads: bool,
) {
    let bytes = entry.length();
    let open = Open { connection: Rc::clone(connection), tag: entry.tag, reads, bytes };
    let ticket = front.tickets.borrow_mut().open(open);
    match front.desk.borrow_mut().command(&connection.session, ticket, entry) {
        Taken::Later => {
            connection.begin(reads, bytes);
            front.has_taken();
        }
        Taken::Now(answer) => {
            front.tickets.borrow_mut().close(ticket);
            connection.answer(&front.pool, entry.tag, &answer);
        }
    }
}

fn validate<D: Desk, R: Runtime>(
    front: &Shared<D, R>,
    connection: &Caller<D, R>,
    view: &ValidateView<'_>,
    count: u16,
) {
    let mut desk = front.desk.borrow_mut();
    connection.outbox.borrow_mut().looked_up(&front.pool, Kind::Verdicts, (view.tag, count), |out| {
        desk.validate(&connection.session, view, out)
    });
    connection.to_write.set();
}

fn details<D: Desk, R: Runtime>(
    front: &Shared<D, R>,
    connection: &Caller<D, R>,
    view: &DetailsView<'_>,
    count: u16,
) {
    let mut desk = front.desk.borrow_mut();
    connection.outbox.borrow_mut().looked_up(&front.pool, Kind::Products, (view.tag, count), |out| {
        desk.details(&connection.session, view, out)
    });
    connection.to_write.set();
}
