//! One thread that serves: accepts, and gives each connection its place.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use monoio::io::Splitable as _;
use monoio::net::{TcpListener, TcpStream};
use monoio::time::{sleep, timeout};
use monoio::{FusionDriver, FusionRuntime, LegacyDriver, RuntimeBuilder};
use onrush_proto::frame::{ErrorCode, ErrorFrame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::halves::{Cancel, Monoio};
use super::protected;
use crate::session::{Desk, Limits, Shared, Sink, Source, greet, pump, refuse, unless};
use crate::tls::Identity;

/// How long nothing is accepted after the system refused a connection.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that are told at once that there are too many; more are just closed.
const TURNED_AWAY_MAX: u32 = 64;
/// Probes that a silent client may leave unanswered.
const PROBES: u32 = 3;

/// How the system says what happens on sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Driver {
    /// By io_uring where the system has it and lets us use it, else by epoll.
    #[default]
    Best,
    /// By epoll (kqueue where that is).
    Poll,
}

/// One thread that serves the native protocol over TCP.
pub struct Front {
    /// Its listener.
    pub listener: std::net::TcpListener,
    /// How it hears of its sockets.
    pub driver: Driver,
    /// Who this is, if TLS is spoken.
    pub identity: Option<Identity>,
    /// What a connection may cost.
    pub limits: Limits,
    /// How many connections there may be; each takes one.
    pub places: Arc<Semaphore>,
    /// How long what is open may take to be answered once it is to stop.
    pub drain: Duration,
}

impl Front {
    /// Serves on this thread until `stop` resolves and what was open is answered.
    pub fn serve<D: Desk>(self, desk: D, stop: impl Future<Output = ()>) -> io::Result<()> {
        let poll = || RuntimeBuilder::<LegacyDriver>::new().enable_timer().build().map(FusionRuntime::from);
        let mut runtime = match self.driver {
            Driver::Poll => poll()?,
            // It is there, but not for us: too little memory may be locked, say.
            Driver::Best => {
                RuntimeBuilder::<FusionDriver>::new().enable_timer().build().or_else(|_| poll())?
            }
        };
        runtime.block_on(self.run(desk, stop))
    }

    async fn run<D: Desk>(self, desk: D, stop: impl Future<Output = ()>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let door = Rc::new(Door {
            front: Rc::new(Shared::new(desk, self.limits)),
            identity: self.identity,
            turned_away: Cell::new(0),
        });
        let pumping = monoio::spawn(pump(Rc::clone(&door.front)));
        let mut stop = pin!(stop);
        while let Some(accepted) = unless(listener.accept(), stop.as_mut()).await {
            match accepted {
                Ok((stream, _)) => admit(&door, &self.places, stream),
                // Too many open files, or a client that was gone already.
                Err(_) => sleep(PAUSE).await,
            }
        }
        drop(listener);
        let front = Rc::clone(&door.front);
        drop(door);
        front.stop(pumping, self.drain).await;
        Ok(())
    }
}

/// Where connections come in.
struct Door<D: Desk> {
    front: Rc<Shared<D, Monoio>>,
    identity: Option<Identity>,
    turned_away: Cell<u32>,
}

/// A connection takes its place, or is told that there is none.
fn admit<D: Desk>(door: &Rc<Door<D>>, places: &Arc<Semaphore>, stream: TcpStream) {
    let keepalive = door.front.limits.keepalive;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_tcp_keepalive(Some(keepalive), Some(keepalive), Some(PROBES)));
    if set.is_err() {
        return;
    }
    let (door, place) = (Rc::clone(door), places.clone().try_acquire_owned().ok());
    if place.is_none() {
        if door.turned_away.get() >= TURNED_AWAY_MAX {
            return;
        }
        door.turned_away.set(door.turned_away.get() + 1);
    }
    monoio::spawn(async move {
        let Door { front, identity, .. } = &*door;
        let told = place.is_none();
        match identity {
            None => {
                let (source, sink) = stream.into_split();
                meet(front, place, source, sink).await;
            }
            Some(identity) => {
                // Once the front stops nobody would end a handshake that has not begun.
                if !front.is_stopping() {
                    let agreed = protected::accept(stream, identity, &front.strangers);
                    let agreed = timeout(front.limits.hello, agreed).await;
                    if let Ok(Ok((source, sink))) = agreed
                        && !front.is_stopping()
                    {
                        meet(front, place, source, sink).await;
                    }
                }
            }
        }
        door.turned_away.set(door.turned_away.get() - u32::from(told));
    });
}

/// Serves whoever has a place.
async fn meet<D: Desk>(
    front: &Rc<Shared<D, Monoio>>,
    place: Option<OwnedSemaphorePermit>,
    source: impl Source<Cancel>,
    sink: impl Sink + 'static,
) {
    match place {
        Some(_place) => drop(greet(front, source, sink, &()).await),
        None => {
            let full =
                ErrorFrame::new(ErrorCode::Full, "connections: expected fewer, found as many as may be");
            refuse(front, source, sink, &full).await;
        }
    }
}
