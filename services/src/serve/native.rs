//! The fronts of the native protocol, and the thread behind them.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use onrush_engine::EngineHandle;
use tokio::sync::watch;

use super::connections::Limit;
use super::listen::{self, Taken, TakenUdp};
use super::{ServeError, Shop, background};
use crate::config::{Config, EnginePlace, NativeConfig};
use crate::metrics::Transport;
use crate::native::{Certificate, Feeds, Front, Later, Socket, follow, work};

/// Its ports, if this process serves it.
#[derive(Default)]
pub(super) struct Doors {
    tcp: Option<Taken>,
    quic: Option<TakenUdp>,
    /// Who the server is, if somebody asks by TLS.
    certificate: Option<Certificate>,
}

/// Where the native protocol is served.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) tcp: Option<SocketAddr>,
    pub(super) quic: Option<SocketAddr>,
    pub(super) certificate: Option<Shown>,
}

/// A certificate, for those who are to believe it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256 in hex.
    pub fingerprint: String,
}

impl Doors {
    pub(super) fn take(config: &Config) -> Result<Self, ServeError> {
        let native = &config.native;
        if !matches!(config.engine, EnginePlace::Here(_)) {
            return Ok(Self::default());
        }
        let tcp = native
            .port
            .map(|port| listen::take(("native", "NATIVE_PORT"), config.address(port), config.fronts));
        let quic = native.quic_port.map(|port| {
            listen::take_udp(("native-quic", "NATIVE_QUIC_PORT"), config.address(port), config.fronts)
        });
        let (tcp, quic) = (tcp.transpose()?, quic.transpose()?);
        let needed = quic.is_some() || tcp.is_some() && native.tls;
        let open = || Certificate::open(native.certificate.as_ref(), &config.data_dir, config.listen);
        let certificate = needed.then(open).transpose()?;
        Ok(Self { tcp, quic, certificate })
    }

    pub(super) fn places(&self) -> Places {
        let shown = |certificate: &Certificate| Shown {
            path: certificate.path.clone(),
            fingerprint: certificate.fingerprint(),
        };
        Places {
            tcp: self.tcp.as_ref().map(|taken| taken.address),
            quic: self.quic.as_ref().map(|taken| taken.address),
            certificate: self.certificate.as_ref().map(shown),
        }
    }

    /// A socket for each front.
    fn sockets(self, native: &NativeConfig) -> Vec<(Transport, Socket)> {
        let identity = self.certificate.map(|certificate| certificate.identity);
        let of_tcp = identity.clone().filter(|_| native.tls);
        let tcp = self.tcp.map_or_else(Vec::new, |taken| taken.sockets);
        let socket = |listener| (Transport::Tcp, Socket::Tcp(listener, native.driver, of_tcp.clone()));
        let mut sockets: Vec<_> = tcp.into_iter().map(socket).collect();
        if let (Some(taken), Some(identity)) = (self.quic, identity) {
            let all: Arc<[UdpSocket]> = taken.sockets.into();
            let quic = (0..all.len()).map(|own| Socket::Quic(Arc::clone(&all), own, identity.clone()));
            sockets.extend(quic.map(|socket| (Transport::Quic, socket)));
        }
        sockets
    }
}

/// Who serves.
#[derive(Default)]
pub(super) struct Threads {
    pub(super) fronts: Vec<JoinHandle<()>>,
    /// What does for them what takes longer, and what follows logs.
    pub(super) workers: Vec<JoinHandle<()>>,
}

/// As many fronts as there are sockets, and what does for them what takes longer.
pub(super) fn start(
    config: &Config,
    shop: &Shop,
    engine: &EngineHandle,
    doors: Doors,
    limit: &Limit,
    stop: &watch::Receiver<bool>,
) -> Result<Threads, ServeError> {
    let sockets = doors.sockets(&config.native);
    if sockets.is_empty() {
        return Ok(Threads::default());
    }
    let (later, tasks) = Later::new();
    let (backend, settlements) = (shop.backend.clone(), shop.settlements.clone());
    let worker = background::thread("onrush-native-later", stop.clone(), move || {
        let (backend, pump) = backend.for_loop();
        if let Some(pump) = pump {
            tokio::spawn(pump);
        }
        tokio::spawn(work(backend, settlements, tasks));
    })?;
    let (feeds, followed) = Feeds::new();
    let (backend, office) = (shop.backend.clone(), shop.office.clone());
    // Whoever reads much of the log holds up no payment.
    let follower = background::thread("onrush-native-feeds", stop.clone(), move || {
        let (backend, pump) = backend.for_loop();
        if let Some(pump) = pump {
            tokio::spawn(pump);
        }
        tokio::spawn(follow((backend, office.clone()), followed));
    })?;
    let mut fronts = Vec::new();
    for (transport, socket) in sockets {
        let front = Front {
            engine: engine.clone(),
            gate: shop.gate.clone(),
            later: later.clone(),
            feeds: feeds.clone(),
            commands: shop.metrics.native_front(transport),
            socket,
            limits: config.native.limits,
            places: limit.0.clone(),
            drain: config.drain,
            nodes: shop.nodes.clone(),
        };
        let start = |error| ServeError::Start { what: "a front thread of the native protocol", error };
        fronts.push(front.start(stop.clone()).map_err(start)?);
    }
    Ok(Threads { fronts, workers: vec![worker, follower] })
}
