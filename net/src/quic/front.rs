//! One thread that serves: accepts, and gives each connection its place.

use std::cell::Cell;
use std::io;
use std::net::UdpSocket;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use onrush_proto::frame::ErrorCode;
use quinn::{ConnectionError, Endpoint, Incoming, RecvStream, SendStream, TokioRuntime, VarInt};
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::LocalSet;

use super::halves::{Outgoing, Tokio};
use super::settings;
use super::streams::Streams;
use crate::session::{Desk, Limits, Runtime as _, Shared, Stage, greet, pump, timeout, unless};
use crate::tls::Identity;

/// Connections that may be on their way in before a client has to show that it is where it says it is.
const UNPROVEN_MAX: u32 = 64;

/// One thread that serves the native protocol over QUIC.
pub struct Front {
    /// Its socket.
    pub socket: UdpSocket,
    /// Who this is.
    pub identity: Identity,
    /// What a connection may cost.
    pub limits: Limits,
    /// How many connections there may be; each takes one.
    pub places: Arc<Semaphore>,
    /// How long what is open may take to be answered once it is to stop.
    pub drain: Duration,
}

/// A connection and its first stream.
type Met = (quinn::Connection, (SendStream, RecvStream));

impl Front {
    /// Serves on this thread until `stop` resolves and what was open is answered.
    pub fn serve<D: Desk>(self, desk: D, stop: impl Future<Output = ()>) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.run(desk, stop))
    }

    async fn run<D: Desk>(self, desk: D, stop: impl Future<Output = ()>) -> io::Result<()> {
        let config = settings::server(&self.identity, &self.limits)?;
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(settings::endpoint(), Some(config), self.socket, runtime)?;
        let front = Rc::new(Shared::new(desk, self.limits));
        let door = Rc::new(Door { front: Rc::clone(&front), arriving: Cell::new(0), places: self.places });
        let pumping = Tokio::spawn(pump(Rc::clone(&front)));
        let mut stop = pin!(stop);
        let mut failed = false;
        while let Some(next) = unless(endpoint.accept(), stop.as_mut()).await {
            failed = next.is_none();
            let Some(incoming) = next else { break };
            admit(&door, incoming);
        }
        drop(door);
        let linger = self.limits.linger;
        // Whoever comes now is refused.
        let refusing = async {
            while let Some(incoming) = endpoint.accept().await {
                incoming.refuse();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = front.stop(pumping, self.drain) => {}
            () = refusing => {}
        }
        endpoint.close(VarInt::from_u32(0), b"");
        // Clients that are gone need not hear it.
        let _ = timeout::<Tokio, _>(linger, endpoint.wait_idle()).await;
        match failed {
            true => Err(io::Error::other(
                "expected a socket that takes packets, found one that takes none any more",
            )),
            false => Ok(()),
        }
    }
}

/// Where connections come in.
struct Door<D: Desk> {
    front: Rc<Shared<D, Tokio>>,
    /// Connections whose caller is not known yet.
    arriving: Cell<u32>,
    places: Arc<Semaphore>,
}

/// A connection takes its place, or is refused.
fn admit<D: Desk>(door: &Rc<Door<D>>, incoming: Incoming) {
    if !incoming.remote_address_validated() && door.arriving.get() >= UNPROVEN_MAX {
        // An error means that it was asked to before.
        let _ = incoming.retry();
        return;
    }
    let Ok(place) = door.places.clone().try_acquire_owned() else { return incoming.refuse() };
    let door = Rc::clone(door);
    door.arriving.set(door.arriving.get() + 1);
    drop(Tokio::spawn(async move { converse(&door, incoming, place).await }));
}

async fn converse<D: Desk>(door: &Door<D>, incoming: Incoming, _place: OwnedSemaphorePermit) {
    let front = &door.front;
    let met = {
        let mut stopped = pin!(front.strangers.stopped());
        stopped.as_mut().enable();
        match front.is_stopping() {
            true => None,
            false => unless(meet(incoming, &front.limits), stopped).await,
        }
    };
    door.arriving.set(door.arriving.get() - 1);
    let Some(Ok((connection, (sink, source)))) = met else { return };
    let streams = Streams::new(Rc::clone(front), connection.clone());
    let first = greet(front, source, Outgoing::new(sink), &streams).await;
    streams.end(first.map_or(Stage::Gone, |first| first.stage())).await;
    connection.close(VarInt::from_u32(0), b"");
}

/// The handshake, and the first stream. Each may take as long as a Hello may.
async fn meet(incoming: Incoming, limits: &Limits) -> Result<Met, ConnectionError> {
    let late = || ConnectionError::TimedOut;
    let connecting = incoming.accept()?;
    let connection = timeout::<Tokio, _>(limits.hello, connecting).await.ok_or_else(late)??;
    match timeout::<Tokio, _>(limits.hello, connection.accept_bi()).await {
        Some(first) => Ok((connection, first?)),
        None => {
            let code = VarInt::from_u32(ErrorCode::Slow as u32);
            connection.close(code, b"hello: expected it soon, found nothing for too long");
            Err(late())
        }
    }
}
