//! How a connection begins and ends: who calls is heard first.

use std::pin::pin;
use std::rc::Rc;

use onrush_proto::frame::{ErrorCode, ErrorFrame, HEADER_BYTES, Hello, VERSION_MAX, VERSION_MIN, Welcome};

use super::connection::{Connection, Stage};
use super::desk::Desk;
use super::front::Shared;
use super::incoming::{End, Incoming, Pace};
use super::limits::Limits;
use super::reader::{self, Caller};
use super::runtime::{Runtime, Sink, Source, timeout, unless};
use super::writer;

/// What a door does with a caller that is welcome, for as long as its first stream lives.
pub(crate) trait Further<D: Desk, R: Runtime> {
    /// The caller may open further streams.
    fn begin(&self, connection: &Rc<Connection<D::Session, R::Stop>>);
}

/// A connection is its only stream.
impl<D: Desk, R: Runtime> Further<D, R> for () {
    fn begin(&self, _: &Rc<Connection<D::Session, R::Stop>>) {}
}

/// Hears who calls, then serves. What is given back is the connection, if there was one.
pub(crate) async fn greet<D: Desk, R: Runtime>(
    front: &Rc<Shared<D, R>>,
    source: impl Source<R::Stop>,
    mut sink: impl Sink + 'static,
    further: &impl Further<D, R>,
) -> Option<Rc<Connection<D::Session, R::Stop>>> {
    let mut incoming = Incoming::new(source, &front.pool);
    let heard = timeout::<R, _>(front.limits.hello, hear(front, &mut incoming)).await;
    let silent = || ErrorFrame::new(ErrorCode::Slow, "hello: expected it soon, found nothing for too long");
    let (session, version) = match heard {
        Some(Ok(welcome)) if !front.is_stopping() => welcome,
        Some(Ok((session, _))) => {
            front.desk.borrow_mut().farewell(&session);
            return None;
        }
        Some(Err(Some(error))) => {
            deny(front, incoming, &mut sink, &error).await;
            return None;
        }
        Some(Err(None)) => return None,
        // What was being read is lost.
        None => {
            deny(front, incoming, &mut sink, &silent()).await;
            return None;
        }
    };
    let Limits { frame_bytes_max, credit, .. } = front.limits;
    let connection = Rc::new(Connection::new(session, front.limits));
    let (map, cluster) = (front.desk.borrow().slot_map(), front.desk.borrow().cluster());
    let welcome = Welcome::new(version, map, frame_bytes_max as u32, credit).of(cluster);
    connection.outbox.borrow_mut().welcome(&front.pool, &welcome);
    let number = front.enter(&connection);
    further.begin(&connection);
    serve(front, &connection, incoming, sink, false).await;
    front.desk.borrow_mut().farewell(&connection.session);
    front.leave(number);
    Some(connection)
}

/// A further stream of a caller, which has entered: one request, its answers, and its end.
pub(crate) async fn farther<D: Desk, R: Runtime>(
    front: &Rc<Shared<D, R>>,
    (first, connection): (&Caller<D, R>, &Caller<D, R>),
    source: impl Source<R::Stop>,
    sink: impl Sink + 'static,
) {
    let incoming = Incoming::new(source, &front.pool);
    serve(front, connection, incoming, sink, true).await;
    first.take_back(connection).await;
}

async fn serve<D: Desk, R: Runtime>(
    front: &Rc<Shared<D, R>>,
    connection: &Caller<D, R>,
    mut incoming: Incoming<impl Source<R::Stop>>,
    mut sink: impl Sink + 'static,
    hurry: bool,
) {
    let (of_writer, shared) = (Rc::clone(connection), Rc::clone(front));
    let writing = R::spawn(async move {
        let writing = writer::write::<R, _>(&of_writer, &mut sink, &shared.pool, shared.limits.progress);
        // Somebody who does not read would be waited for, though nobody is there any more.
        let _ = unless(writing, pin!(of_writer.gone.wait())).await;
        sink
    });
    reader::read(front, connection, &mut incoming, hurry).await;
    let sink = writing.await;
    if connection.stage() != Stage::Gone {
        incoming.linger::<R>(&front.pool, &connection.stop, front.limits.linger).await;
    }
    drop(sink);
}

/// The first frame: who calls, in which version. `None`: it went away.
async fn hear<D: Desk, R: Runtime, I: Source<R::Stop>>(
    front: &Shared<D, R>,
    incoming: &mut Incoming<I>,
) -> Result<(D::Session, u16), Option<ErrorFrame>> {
    loop {
        if let Some(frame) = incoming.frame(Hello::FRAME_BYTES_MAX).map_err(|error| Some(error.into()))? {
            let hello = Hello::read(&frame).map_err(|error| Some(error.into()))?;
            let version = hello.version().ok_or_else(|| Some(unspoken(&hello)))?;
            let session = front.desk.borrow_mut().welcome(&hello).map_err(Some)?;
            let length = HEADER_BYTES + frame.body.len();
            incoming.skip(length);
            return Ok((session, version));
        }
        // Who stops the front ends no read that begins later.
        if front.is_stopping() {
            return Err(None);
        }
        match incoming.more::<R>(&front.pool, &front.strangers, Pace::within(front.limits.hello)).await {
            Ok(()) => {}
            Err(End::Stalled) => return Err(Some(reader::stalled())),
            Err(End::Closed | End::Broken) => return Err(None),
        }
    }
}

fn unspoken(hello: &Hello<'_>) -> ErrorFrame {
    let Hello { version_min, version_max, .. } = hello;
    let text = format!(
        "version: expected one of {VERSION_MIN} to {VERSION_MAX}, found {version_min} to {version_max}"
    );
    ErrorFrame::new(ErrorCode::Version, text)
}

fn frame_of(error: &ErrorFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    error.write(&mut bytes);
    bytes
}

/// Says why there is no connection, and ends.
pub(crate) async fn refuse<D: Desk, R: Runtime>(
    front: &Shared<D, R>,
    source: impl Source<R::Stop>,
    mut sink: impl Sink,
    error: &ErrorFrame,
) {
    deny(front, Incoming::new(source, &front.pool), &mut sink, error).await;
}

async fn deny<D: Desk, R: Runtime>(
    front: &Shared<D, R>,
    incoming: Incoming<impl Source<R::Stop>>,
    sink: &mut impl Sink,
    error: &ErrorFrame,
) {
    if writer::write_all::<R>(sink, frame_of(error), front.limits.hello).await.is_none() {
        return;
    }
    writer::finish::<R>(sink, front.limits.hello).await;
    if front.is_stopping() {
        return;
    }
    incoming.linger::<R>(&front.pool, &front.strangers, front.limits.linger).await;
}
