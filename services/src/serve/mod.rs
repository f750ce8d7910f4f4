//! A running process: the engine, the fronts that serve it and what works behind them.

mod background;
mod calls;
mod connections;
mod door;
mod front;
mod health;
mod listen;
mod native;
mod scrape;
mod server;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use onrush_engine::{CloseError, Engine, EngineHandle, EngineOptions, OpenError};
use tokio::sync::watch;

use crate::access::{Gate, KeyError, Keyring};
use crate::backend::Backend;
use crate::cluster::{ClusterError, Node, Office, keep_places, keep_watch};
use crate::config::{Config, EnginePlace, Service, ShippingConfig};
use crate::events;
use crate::gateway::reconcile::Reconciler;
use crate::gateway::simulated::{Books, BooksError};
use crate::gateway::worker::Worker;
use crate::gateway::{GatewayError, Gateways, Hearing, Simulated};
use crate::metrics::Metrics;
pub use crate::native::CertificateError;
use crate::nodes::{Door, Nodes};
use crate::notification::outlet::Outlet;
use crate::notification::push::{Push, PushError};
use crate::notification::smtp::{Smtp, SmtpError};
use crate::notification::twilio::{Twilio, TwilioError};
use crate::notification::{FromError, Outlets, Post};
use crate::recommendation::{Learner, Ml};
use crate::remote::{EngineToken, Remote, RemoteError};
use crate::settlements::Settlements;
use crate::shipping::Desk;
use crate::shipping::carrier::http::HttpCarrierError;
use crate::shipping::carrier::{Carrier, HttpCarrier, simulated as carrier};
use crate::traces::{CollectorError, Exporter, Traces};
use crate::user::{self, FirstAdminError, Users};
pub use listen::ListenError;
pub use native::Shown;

/// Most bytes of one message.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The simulated gateway's books in the data directory.
const BOOKS_FILE: &str = "gateway-simulated.books";

/// The simulated carrier's books beside them.
const CARRIER_FILE: &str = "carrier-simulated.books";

/// Where mails are files.
const MAIL_DIR: &str = "mail";

/// Why a process does not start or end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine does not open.
    #[error("{error}")]
    Open {
        /// What it said.
        error: OpenError,
    },
    /// It is no node of a cluster, as it is told to be.
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    /// The engine in another process cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The engine does not close.
    #[error("expected to close the engine, found: {0}")]
    Close(CloseError),
    /// The gateway's books do not open.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// A payment gateway cannot be used.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The carrier's books do not open.
    #[error(transparent)]
    CarrierBooks(#[from] carrier::BooksError),
    /// The carrier's adapter cannot be made.
    #[error(transparent)]
    Carrier(#[from] HttpCarrierError),
    /// The mail server cannot be spoken to.
    #[error(transparent)]
    Smtp(#[from] SmtpError),
    /// Text messages cannot be sent.
    #[error(transparent)]
    Twilio(#[from] TwilioError),
    /// Messages to browsers cannot be sent.
    #[error(transparent)]
    Push(#[from] PushError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// Nobody to send mails from.
    #[error(transparent)]
    From(#[from] FromError),
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate of the native protocol cannot be had.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key that signs access tokens cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The first admin cannot be.
    #[error(transparent)]
    FirstAdmin(#[from] FirstAdminError),
    /// The login provider cannot be called.
    #[error("expected an HTTP client for the login provider, found: {0}")]
    Provider(reqwest::Error),
    /// A thread or runtime cannot be had.
    #[error("expected to start {what}, found: {error}")]
    Start {
        /// What was to start.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// A thread ended by panic.
    #[error("expected the {0} to end, found a panic")]
    Panicked(&'static str),
}

impl From<ClusterError> for ServeError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

/// What every front serves.
#[derive(Clone)]
pub(crate) struct Shop {
    backend: Backend,
    settlements: Settlements,
    gateways: Arc<Gateways>,
    hearing: Arc<Hearing>,
    reconciler: Arc<Mutex<Reconciler>>,
    /// True if this process serves payments, and so works with gateways.
    pays: bool,
    /// What lets other processes at the engine; without it they do not get there.
    engine_token: Option<EngineToken>,
    gate: Arc<Gate>,
    users: Arc<user::Desk>,
    shipping: Arc<Desk>,
    notification: Arc<Post>,
    recommendation: Arc<Learner>,
    ml: Arc<Ml>,
    metrics: Arc<Metrics>,
    traces: Traces,
    /// None if the engine is in another process.
    events: Option<Arc<events::Stream>>,
    /// Of the cluster that the engine is of.
    nodes: Nodes,
    /// This one of them.
    node: Option<Arc<Node>>,
    /// Whether the shop is decided here.
    office: Office,
}

/// A process that serves.
pub struct Serving {
    /// None if it is in another process.
    engine: Option<Engine>,
    gateways: Arc<Gateways>,
    shipping: Arc<Desk>,
    notification: Arc<Post>,
    recommendation: Arc<Learner>,
    addresses: Vec<(Service, SocketAddr)>,
    native: native::Places,
    fronts: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    exporter: Option<Exporter>,
    nodes: Nodes,
    node: Option<Arc<Node>>,
}

impl Serving {
    /// Opens the engine, takes the ports and starts to serve.
    pub fn start(config: &Config) -> Result<Self, ServeError> {
        let nodes = Nodes::default();
        let node = Node::of(config, &nodes)?.map(Arc::new);
        let (engine, backend) = engine(config, node.as_deref())?;
        let gateways = Arc::new(paying(config)?);
        let (addresses, sockets) = ports(config)?;
        let native = native::Doors::take(config)?;
        let (traces, exporter) = config.collector.as_ref().map(Exporter::start).transpose()?.unzip();
        let traces = traces.unwrap_or_default();
        let ShippingConfig { unit_grams, poll, .. } = config.shipping;
        let (desk, woken) =
            Desk::new(backend.clone(), delivering(config)?, (unit_grams, poll), traces.clone());
        let shipping = Arc::new(desk);
        let (post, again) = Post::new(backend.clone(), outlets(config)?, config.notification.clone())?;
        let notification = Arc::new(post);
        let ml = Arc::new(named(config));
        let recommendation = Arc::new(Learner::new(backend.clone(), &config.data_dir, ml.clone()));
        let keyring = Arc::new(keyring(config)?);
        let worker = Worker::new(backend.clone(), gateways.clone(), traces.clone());
        let (held, office) = match node {
            Some(_) => Office::of_node(),
            None => (watch::Sender::new(true), Office::ALWAYS),
        };
        let (events, followed) = streams(engine.as_ref(), &office, config);
        let shop = Shop {
            hearing: Arc::new(Hearing::new(worker)),
            gate: Arc::new(Gate::new(keyring.clone(), config.access)?),
            users: users(config, keyring, issuer(config, &addresses))?,
            backend,
            settlements: Settlements::default(),
            gateways: gateways.clone(),
            reconciler: Arc::default(),
            pays: config.serves(Service::Payment),
            engine_token: engine_token(&config.engine),
            shipping: shipping.clone(),
            notification: notification.clone(),
            recommendation: recommendation.clone(),
            ml,
            metrics: Arc::default(),
            traces,
            events,
            nodes: nodes.clone(),
            node: node.clone(),
            office,
        };
        if node.is_none() {
            first_admin(config, &shop)?;
        }
        let (stop, stopped) = watch::channel(false);
        let background = background::start_all(config, &shop, (woken, again, followed), &stopped)?;
        let mut serving = Self {
            engine,
            gateways,
            shipping,
            notification,
            recommendation,
            addresses,
            native: native.places(),
            fronts: Vec::new(),
            background,
            stop,
            exporter,
            nodes,
            node,
        };
        serving.open(config, &shop, (sockets, native), &stopped)?;
        serving.join_cluster(config, held, &stopped)?;
        Ok(serving)
    }

    /// Begins to serve at its ports.
    fn open(
        &mut self,
        config: &Config,
        shop: &Shop,
        (sockets, native): (Sockets, native::Doors),
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let limits = connections::Limit::new(config.connections_max);
        self.fronts.extend(fronts(config, shop, sockets, (&limits, stopped))?);
        if let Some(engine) = self.engine() {
            let native::Threads { fronts, workers } =
                native::start(config, shop, &engine, native, &limits, stopped)?;
            self.fronts.extend(fronts);
            self.background.extend(workers);
        }
        Ok(())
    }

    /// Begins to speak with the other nodes, if there are any.
    fn join_cluster(
        &mut self,
        config: &Config,
        held: watch::Sender<bool>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let (Some(node), Some(engine)) = (self.node.clone(), self.engine()) else { return Ok(()) };
        let service = |(service, address): &(Service, SocketAddr)| (Door::Service(*service), *address);
        let mut doors: Vec<(Door, SocketAddr)> = self.addresses.iter().map(service).collect();
        doors.extend(self.native.tcp.map(|address| (Door::Native, address)));
        doors.extend(self.native.quic.map(|address| (Door::NativeQuic, address)));
        node.start(engine.clone(), config.listen, &doors)?;
        let watch = move || {
            tokio::spawn(keep_places(node.clone(), engine.clone()));
            tokio::spawn(keep_watch(node.clone(), engine.clone(), held.clone()));
        };
        self.background.push(background::thread("onrush-cluster", stopped.clone(), watch)?);
        Ok(())
    }

    /// Where each service listens.
    pub fn addresses(&self) -> &[(Service, SocketAddr)] {
        &self.addresses
    }

    /// Where the native protocol is served, if it is.
    pub fn native_address(&self) -> Option<SocketAddr> {
        self.native.tcp
    }

    /// Where it is served over QUIC, if it is.
    pub fn native_quic_address(&self) -> Option<SocketAddr> {
        self.native.quic
    }

    /// The certificate of QUIC and TLS, if either is spoken.
    pub fn certificate(&self) -> Option<&Shown> {
        self.native.certificate.as_ref()
    }

    /// The engine, if it is in this process.
    pub fn engine(&self) -> Option<EngineHandle> {
        self.engine.as_ref().map(Engine::handle)
    }

    /// The nodes of the cluster as callers are told of them: for whoever runs it to keep up to date.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The payment gateways in use.
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// Shipping's desk, if it is served.
    pub fn shipping(&self) -> Option<&Desk> {
        let served = self.addresses.iter().any(|(service, _)| *service == Service::Shipping);
        served.then_some(&*self.shipping)
    }

    /// Notification's post, if it is served.
    pub fn notification(&self) -> Option<&Post> {
        let served = self.addresses.iter().any(|(service, _)| *service == Service::Notification);
        served.then_some(&*self.notification)
    }

    /// Takes no new calls, lets the open ones end, closes the engine.
    pub fn stop(self) -> Result<(), ServeError> {
        if let (Some(node), Some(engine)) = (&self.node, self.engine()) {
            node.leave_offices(&engine);
        }
        self.stop.send_replace(true);
        let panicked: Vec<bool> = self.fronts.into_iter().map(|front| front.join().is_err()).collect();
        // Calls that wait for a settlement need what works behind them, so that ends last.
        drop(self.stop);
        let background: Vec<bool> =
            self.background.into_iter().map(|thread| thread.join().is_err()).collect();
        if self.addresses.iter().any(|(service, _)| *service == Service::Recommendation) {
            self.recommendation.close();
        }
        if let Some(engine) = self.engine {
            engine.close().map_err(ServeError::Close)?;
        }
        // Behind the engine: it gives its offices away as it closes.
        if let Some(node) = self.node {
            node.close();
        }
        // Last: a collector that is slow keeps nothing open but this.
        let untold = self.exporter.is_some_and(|exporter| !exporter.end());
        if panicked.contains(&true) {
            return Err(ServeError::Panicked("fronts"));
        }
        match background.contains(&true) || untold {
            true => Err(ServeError::Panicked("background threads")),
            false => Ok(()),
        }
    }
}

/// Starts the threads that serve, each with a socket for each service.
fn fronts(
    config: &Config,
    shop: &Shop,
    mut sockets: Sockets,
    (limit, stop): (&connections::Limit, &watch::Receiver<bool>),
) -> Result<Vec<JoinHandle<()>>, ServeError> {
    let front = |_| {
        let mine = sockets.iter_mut().filter_map(|(service, of_front)| Some((*service, of_front.pop()?)));
        let front = front::Front {
            shop: shop.clone(),
            sockets: mine.collect(),
            limit: limit.clone(),
            drain: config.drain,
            stop: stop.clone(),
        };
        front.start()
    };
    (0..config.fronts).map(front).collect()
}

/// What tells of the log, where the engine is, and the work behind it.
fn streams(
    engine: Option<&Engine>,
    office: &Office,
    config: &Config,
) -> (Option<Arc<events::Stream>>, Option<events::Work>) {
    engine.map(|engine| events::Stream::new(engine.handle(), office.clone(), config.events)).unzip()
}

type Addresses = Vec<(Service, SocketAddr)>;
type Sockets = Vec<(Service, Vec<TcpListener>)>;

/// Takes each service's port: where it listens, and a socket for each front.
fn ports(config: &Config) -> Result<(Addresses, Sockets), ListenError> {
    let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
    for (service, port) in &config.services {
        let names = (service.name(), service.port_variable());
        let taken = listen::take(names, config.address(*port), config.fronts)?;
        addresses.push((*service, taken.address));
        sockets.push((*service, taken.sockets));
    }
    Ok((addresses, sockets))
}

/// The engine of this process, or the way to another's.
fn engine(config: &Config, node: Option<&Node>) -> Result<(Option<Engine>, Backend), ServeError> {
    match &config.engine {
        EnginePlace::Here(_) => {
            let options = EngineOptions { cluster: node.map(Node::options), ..config.engine_options() };
            let engine = Engine::open(options).map_err(|error| ServeError::Open { error })?;
            let backend = Backend::local(engine.handle());
            Ok((Some(engine), backend))
        }
        EnginePlace::At(address, token) => Ok((None, Backend::Remote(Remote::open(address, token)?))),
    }
}

/// The keys of tokens; who serves users signs with a pair.
fn keyring(config: &Config) -> Result<Keyring, KeyError> {
    let keyring = Keyring::open(&config.data_dir, &config.tokens)?;
    match config.serves(Service::User) {
        true => keyring.with_pair(&config.data_dir),
        false => Ok(keyring),
    }
}

/// What lets other processes at the engine.
fn engine_token(place: &EnginePlace) -> Option<EngineToken> {
    match place {
        EnginePlace::Here(token) => token.clone(),
        EnginePlace::At(_, token) => Some(token.clone()),
    }
}

/// Where clients of others find the user service: at the shop's address, or where it listens.
fn issuer(config: &Config, addresses: &[(Service, SocketAddr)]) -> String {
    let own = addresses.iter().find(|(service, _)| *service == Service::User);
    match (config.notification.public_url.as_str(), own) {
        // Nobody can be sent to "every address".
        ("", Some((_, address))) if address.ip().is_unspecified() => {
            format!("http://localhost:{}", address.port())
        }
        ("", Some((_, address))) => format!("http://{address}"),
        (url, _) => url.to_owned(),
    }
}

/// What the fronts share of the user service.
fn users(config: &Config, keyring: Arc<Keyring>, issuer: String) -> Result<Arc<user::Desk>, ServeError> {
    let start = |error| ServeError::Start { what: "the hashing threads", error };
    let client = |options| user::OidcClient::new(options).map_err(ServeError::Provider);
    let oidc = config.oidc.clone().map(client).transpose()?;
    Ok(Arc::new(user::Desk::start(keyring, issuer, oidc).map_err(start)?))
}

/// The account of the first admin, before anybody is served. Of a cluster whoever takes office makes it.
fn first_admin(config: &Config, shop: &Shop) -> Result<(), ServeError> {
    let Some(admin) = config.first_admin.as_ref().filter(|_| config.serves(Service::User)) else {
        return Ok(());
    };
    let start = |error| ServeError::Start { what: "the thread of the first admin", error };
    let users = Users::new(shop.backend.clone(), shop.users.clone());
    let made = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(start)?;
        Ok::<_, ServeError>(runtime.block_on(user::ensure_first_admin(&users, admin))?)
    };
    // A thread of its own: the caller's may belong to a runtime.
    let made = std::thread::scope(|scope| scope.spawn(made).join());
    made.map_err(|_| ServeError::Panicked("thread of the first admin"))?
}

/// The real gateways that there are keys for, else the simulated one.
fn paying(config: &Config) -> Result<Gateways, ServeError> {
    match config.payment.is_real() {
        true => Ok(Gateways::real(config.payment.clone())?),
        false => Ok(Gateways::simulated(simulated(config)?)),
    }
}

fn simulated(config: &Config) -> Result<Simulated, BooksError> {
    let path = books_path(&config.data_dir);
    fs::create_dir_all(&config.data_dir)
        .map_err(|error| BooksError::Io { path: config.data_dir.clone(), error })?;
    Ok(Simulated::new(config.gateway_faults, Books::open(&path)?))
}

fn books_path(data_dir: &Path) -> PathBuf {
    data_dir.join(BOOKS_FILE)
}

/// The network that a setting names for Recommendation, if it is served.
fn named(config: &Config) -> Ml {
    Ml::load(config.ml_model.as_ref().filter(|_| config.serves(Service::Recommendation)))
}

fn outlets(config: &Config) -> Result<Outlets, ServeError> {
    let mail = match &config.smtp {
        Some(options) => Outlet::Smtp(Smtp::new(options)?),
        None => Outlet::files(config.data_dir.join(MAIL_DIR)),
    };
    let sms = config.twilio.clone().map(Twilio::new).transpose()?;
    Ok(Outlets { mail, sms, push: Push::new(config.push)? })
}

fn delivering(config: &Config) -> Result<Carrier, ServeError> {
    if let Some(api) = config.shipping.api.clone() {
        return Ok(Carrier::Http(Box::new(HttpCarrier::new(api)?)));
    }
    let books = carrier::Books::open(&config.data_dir.join(CARRIER_FILE))?;
    Ok(Carrier::Simulated(carrier::Simulated::new(config.shipping.behaviour, books)))
}
