//! The native protocol: the calls that a sale lives on, in frames over TCP and QUIC.
//!
//! Only a process with an engine serves it. Who may do what, which fields are looked at and what a key means
//! are the rules of gRPC, by the same code. What is decided by the engine alone goes to its shards in
//! batches, on the front's own thread; lines are looked up there in what is published. What has to look at
//! something first, or waits for a gateway, is done behind the fronts ([`Later`]).

mod ask;
mod certificate;
mod desk;
mod feed;
mod follower;
mod later;
mod lines;
mod products;
mod session;

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use onrush_engine::EngineHandle;
use onrush_net::session::Limits;
use onrush_net::tls::Identity;
use onrush_net::{quic, tcp};
use tokio::sync::{Semaphore, watch};

use crate::access::Gate;
use crate::metrics::Commands;
use crate::nodes::{Door, Nodes};

pub(crate) use certificate::Certificate;
pub use certificate::CertificateError;
pub(crate) use desk::ShopDesk;
pub(crate) use feed::{Feeds, follow};
pub(crate) use later::{Later, work};

/// Where a front listens.
pub(crate) enum Socket {
    /// Over TCP, with TLS if it has an identity.
    Tcp(TcpListener, tcp::Driver, Option<Identity>),
    /// Over QUIC. The fronts hold the sockets of all: one that were closed before the others end would change
    /// which of them packets are led to.
    Quic(Arc<[UdpSocket]>, usize, Identity),
}

/// A front of the native protocol, before it has a thread.
pub(crate) struct Front {
    /// The engine.
    pub(crate) engine: EngineHandle,
    /// Who calls.
    pub(crate) gate: Arc<Gate>,
    /// Where what takes longer is done.
    pub(crate) later: Later,
    /// Where logs are followed.
    pub(crate) feeds: Feeds,
    /// What this front counts.
    pub(crate) commands: Arc<Commands>,
    /// Where it listens.
    pub(crate) socket: Socket,
    /// What a connection may cost.
    pub(crate) limits: Limits,
    /// Connections that the process may have.
    pub(crate) places: Arc<Semaphore>,
    /// How long open commands may take at the end.
    pub(crate) drain: Duration,
    /// The nodes of the cluster.
    pub(crate) nodes: Nodes,
}

/// A front that panicked would leave its clients at a socket that nobody serves. The process ends, as it does for a shard;
/// the next start recovers from the log.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a front of the native protocol panicked: the process ends");
            std::process::abort();
        }
    }
}

impl Front {
    /// Serves until the process stops.
    pub(crate) fn start(self, mut stop: watch::Receiver<bool>) -> std::io::Result<JoinHandle<()>> {
        let Self { engine, gate, later, feeds, commands, socket, limits, places, drain, nodes } = self;
        let work = move || {
            let _end = EndOnPanic;
            let door = match socket {
                Socket::Tcp(..) => Door::Native,
                Socket::Quic(..) => Door::NativeQuic,
            };
            let desk = ShopDesk::new(engine, gate, (later, feeds), commands, (nodes, door));
            let stopped = async move {
                // An error means that the process is gone already.
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let served = match socket {
                Socket::Tcp(listener, driver, identity) => {
                    tcp::Front { listener, driver, identity, limits, places, drain }.serve(desk, stopped)
                }
                Socket::Quic(sockets, own, identity) => sockets[own].try_clone().and_then(|socket| {
                    quic::Front { socket, identity, limits, places, drain }.serve(desk, stopped)
                }),
            };
            if let Err(error) = served {
                // The system leads its share of clients to its socket all the same.
                tracing::error!(%error, "a front of the native protocol stopped serving: the process ends");
                std::process::abort();
            }
        };
        Builder::new().name("onrush-native".into()).spawn(work)
    }
}
