//! One thread that serves: accepts, and moves what is asked and answered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::io::{Canceller, OwnedWriteHalf, Splitable as _};
use monoio::net::{TcpListener, TcpStream};
use monoio::task::JoinHandle;
use monoio::time::{sleep, timeout};
use monoio::{FusionDriver, FusionRuntime, LegacyDriver, RuntimeBuilder};
use onrush_proto::frame::{ErrorCode, ErrorFrame, Hello, VERSION_MAX, VERSION_MIN, Welcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Connection, Stage};
use super::desk::Desk;
use super::incoming::{End, Incoming};
use super::limits::Limits;
use super::pool::Pool;
use super::reader;
use super::signal::Signal;
use super::tickets::Tickets;
use super::writer;

/// How long nothing is accepted after the system refused a connection.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that are told at once that there are too many; more are just closed.
const TURNED_AWAY_MAX: u32 = 64;
/// How often it is looked whether all tasks have ended.
const LOOK: Duration = Duration::from_millis(5);
/// Probes that a silent client may leave unanswered.
const PROBES: u32 = 3;

/// One thread that serves the native protocol.
pub struct Front {
    /// Its listener.
    pub listener: std::net::TcpListener,
    /// What a connection may cost.
    pub limits: Limits,
    /// How many connections there may be; each takes one.
    pub places: Arc<Semaphore>,
    /// How long what is open may take to be answered once it is to stop.
    pub drain: Duration,
}

impl Front {
    /// Serves on this thread until `stop` resolves and what was open is answered. By io_uring where the
    /// system has it, else by epoll.
    pub fn serve<D: Desk>(self, desk: D, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut runtime = match RuntimeBuilder::<FusionDriver>::new().enable_timer().build() {
            Ok(runtime) => runtime,
            // It is there, but not for us: too little memory may be locked, say.
            Err(_) => FusionRuntime::from(RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?),
        };
        runtime.block_on(self.run(desk, stop))
    }

    async fn run<D: Desk>(self, desk: D, stop: impl Future<Output = ()>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let front = Rc::new(Shared::new(desk, self.limits));
        let pumping = monoio::spawn(pump(Rc::clone(&front)));
        let mut stop = pin!(stop);
        while let Some(accepted) = unless(listener.accept(), stop.as_mut()).await {
            match accepted {
                Ok((stream, _)) => admit(&front, &self.places, stream),
                // Too many open files, or a client that was gone already.
                Err(_) => sleep(PAUSE).await,
            }
        }
        drop(listener);
        front.stop();
        let ended = async {
            while !front.connections.borrow().is_empty() {
                front.ended.wait().await;
            }
        };
        // What is not answered by then never is: the callers ask again under their keys.
        let _ = timeout(self.drain, ended).await;
        front.end_all(pumping).await;
        Ok(())
    }
}

/// What `first` resolves to, unless `second` does.
async fn unless<T>(
    first: impl Future<Output = T>,
    mut second: impl Future<Output = ()> + Unpin,
) -> Option<T> {
    let mut first = pin!(first);
    poll_fn(|context| match pin!(&mut second).poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => first.as_mut().poll(context).map(Some),
    })
    .await
}

type Connections<S> = HashMap<u64, Rc<Connection<S>>>;

/// What all tasks of a front share.
pub(super) struct Shared<D: Desk> {
    pub(super) desk: RefCell<D>,
    pub(super) tickets: RefCell<Tickets<Connection<D::Session>>>,
    pub(super) limits: Limits,
    pub(super) pool: Pool,
    connections: RefCell<Connections<D::Session>>,
    next: Cell<u64>,
    /// Ends those who have not said who they are.
    strangers: RefCell<Canceller>,
    stopping: Cell<bool>,
    turned_away: Cell<u32>,
    /// Something was taken and has not left.
    taken: Cell<bool>,
    pump: Signal,
    ended: Signal,
    /// The pump is to end.
    over: Cell<bool>,
}

impl<D: Desk> Shared<D> {
    fn new(desk: D, limits: Limits) -> Self {
        Self {
            desk: RefCell::new(desk),
            tickets: RefCell::default(),
            limits,
            pool: Pool::default(),
            connections: RefCell::default(),
            next: Cell::new(0),
            strangers: RefCell::default(),
            stopping: Cell::new(false),
            turned_away: Cell::new(0),
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

    /// Nothing more is taken from anybody.
    fn stop(&self) {
        self.stopping.set(true);
        let strangers = self.strangers.take();
        self.strangers.replace(strangers.cancel());
        let connections: Vec<_> = self.connections.borrow().values().cloned().collect();
        connections.iter().for_each(|connection| connection.leave(Some(&self.pool)));
    }

    /// Ends all that still runs. A task that waits when its runtime ends is never dropped, and so is not what
    /// it holds: the desk, and the engine's files with it.
    async fn end_all(self: Rc<Self>, pumping: JoinHandle<()>) {
        let connections: Vec<_> = self.connections.borrow().values().cloned().collect();
        connections.iter().for_each(|connection| connection.vanish());
        let ended = async {
            // This one and the pump stay.
            while Rc::strong_count(&self) > 2 {
                sleep(LOOK).await;
            }
        };
        // Who does not end within its own bounds is left behind.
        let _ = timeout(self.limits.hello + self.limits.linger, ended).await;
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
async fn pump<D: Desk>(front: Rc<Shared<D>>) {
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

/// A connection takes its place, or is told that there is none.
fn admit<D: Desk>(front: &Rc<Shared<D>>, places: &Arc<Semaphore>, stream: TcpStream) {
    let keepalive = front.limits.keepalive;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_tcp_keepalive(Some(keepalive), Some(keepalive), Some(PROBES)));
    if set.is_err() {
        return;
    }
    let front = Rc::clone(front);
    match places.clone().try_acquire_owned() {
        Ok(place) => {
            monoio::spawn(async move { greet(&front, stream, place).await });
        }
        Err(_) if front.turned_away.get() < TURNED_AWAY_MAX => {
            front.turned_away.set(front.turned_away.get() + 1);
            monoio::spawn(async move {
                let full =
                    ErrorFrame::new(ErrorCode::Full, "connections: expected fewer, found as many as may be");
                let (half, mut out) = stream.into_split();
                refuse(&front, Incoming::new(half, &front.pool), &mut out, &full).await;
                front.turned_away.set(front.turned_away.get() - 1);
            });
        }
        Err(_) => {}
    }
}

/// Hears who calls, then serves.
async fn greet<D: Desk>(front: &Rc<Shared<D>>, stream: TcpStream, _place: OwnedSemaphorePermit) {
    let (half, mut out) = stream.into_split();
    let mut incoming = Incoming::new(half, &front.pool);
    let heard = timeout(front.limits.hello, hear(front, &mut incoming)).await;
    let silent = || ErrorFrame::new(ErrorCode::Slow, "hello: expected it soon, found nothing for too long");
    let (session, version) = match heard {
        Ok(Ok(welcome)) if !front.stopping.get() => welcome,
        Ok(Ok((session, _))) => return front.desk.borrow_mut().farewell(&session),
        Ok(Err(Some(error))) => return refuse(front, incoming, &mut out, &error).await,
        Ok(Err(None)) => return,
        // What was being read is lost.
        Err(_) => return refuse(front, incoming, &mut out, &silent()).await,
    };
    let connection = Rc::new(Connection::new(session, front.limits.credit));
    let Limits { frame_bytes_max, credit, .. } = front.limits;
    let map = front.desk.borrow().slot_map();
    let welcome = Welcome::new(version, map, frame_bytes_max as u32, credit);
    connection.outbox.borrow_mut().welcome(&front.pool, &welcome);
    let number = front.next.replace(front.next.get() + 1);
    front.connections.borrow_mut().insert(number, Rc::clone(&connection));
    serve(front, &connection, incoming, out).await;
    front.desk.borrow_mut().farewell(&connection.session);
    front.connections.borrow_mut().remove(&number);
    front.ended.set();
}

async fn serve<D: Desk>(
    front: &Rc<Shared<D>>,
    connection: &Rc<Connection<D::Session>>,
    mut incoming: Incoming,
    mut out: OwnedWriteHalf<TcpStream>,
) {
    let (of_writer, shared) = (Rc::clone(connection), Rc::clone(front));
    let writing = monoio::spawn(async move {
        writer::write(&of_writer, &mut out, &shared.pool, shared.limits.progress).await;
        out
    });
    reader::read(front, connection, &mut incoming).await;
    let out = writing.await;
    if connection.stage() != Stage::Gone {
        incoming.linger(&front.pool, connection.cancel_handle(), front.limits.linger).await;
    }
    drop(out);
}

/// The first frame: who calls, in which version. `None`: it went away.
async fn hear<D: Desk>(
    front: &Shared<D>,
    incoming: &mut Incoming,
) -> Result<(D::Session, u16), Option<ErrorFrame>> {
    loop {
        if let Some(frame) = incoming.frame(Hello::FRAME_BYTES_MAX).map_err(|error| Some(error.into()))? {
            let hello = Hello::read(&frame).map_err(|error| Some(error.into()))?;
            let version = hello.version().ok_or_else(|| Some(unspoken(&hello)))?;
            let session = front.desk.borrow_mut().welcome(&hello).map_err(Some)?;
            let length = onrush_proto::frame::HEADER_BYTES + frame.body.len();
            incoming.skip(length);
            return Ok((session, version));
        }
        let cancel = front.strangers.borrow().handle();
        match incoming.more(&front.pool, cancel, front.limits.hello).await {
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

/// Says why, and ends.
async fn refuse<D: Desk>(
    front: &Shared<D>,
    incoming: Incoming,
    out: &mut OwnedWriteHalf<TcpStream>,
    error: &ErrorFrame,
) {
    use monoio::io::AsyncWriteRent as _;
    if writer::write_all(out, frame_of(error), front.limits.hello).await.is_none() {
        return;
    }
    // An error means that the other side is gone.
    let _ = out.shutdown().await;
    let cancel = front.strangers.borrow().handle();
    incoming.linger(&front.pool, cancel, front.limits.linger).await;
}
