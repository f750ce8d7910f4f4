//! A running process: the engine, the fronts that serve it and what works behind them.

mod background;
mod connections;
mod door;
mod front;
mod listen;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use onrush_engine::{CloseError, Engine, EngineHandle, OpenError};
use tokio::sync::watch;

use crate::access::{KeyError, Keyring};
use crate::backend::Backend;
use crate::config::{Config, Service};
use crate::gateway::reconcile::Reconciler;
use crate::gateway::simulated::{Books, BooksError};
use crate::gateway::{Gateway, Simulated};
use crate::settlements::Settlements;
use crate::user::{self, FirstAdminError, Users};
pub use listen::ListenError;

/// Most bytes of one message.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The simulated gateway's books in the data directory.
const BOOKS_FILE: &str = "gateway-simulated.books";

/// Why a process does not start or end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The engine does not open.
    #[error("{error}")]
    Open {
        /// What it said.
        error: OpenError,
    },
    /// The engine does not close.
    #[error("expected to close the engine, found: {0}")]
    Close(CloseError),
    /// The gateway's books do not open.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The key that signs access tokens cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The first admin cannot be.
    #[error(transparent)]
    FirstAdmin(#[from] FirstAdminError),
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

/// What every front serves.
#[derive(Clone)]
pub(crate) struct Shop {
    backend: Backend,
    settlements: Settlements,
    gateway: Arc<Gateway>,
    reconciler: Arc<Mutex<Reconciler>>,
    users: Arc<user::Desk>,
}

/// A process that serves.
pub struct Serving {
    engine: Engine,
    gateway: Arc<Gateway>,
    addresses: Vec<(Service, SocketAddr)>,
    fronts: Vec<JoinHandle<()>>,
    background: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Serving {
    /// Opens the engine, takes the ports and starts to serve.
    pub fn start(config: &Config) -> Result<Self, ServeError> {
        let engine = Engine::open(config.engine_options()).map_err(|error| ServeError::Open { error })?;
        let gateway = Arc::new(Gateway::Simulated(simulated(config)?));
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for (service, port) in &config.services {
            let taken = listen::take(*service, config.address(*port), config.fronts)?;
            addresses.push((*service, taken.address));
            sockets.push((*service, taken.sockets));
        }
        let backend = Backend::local(engine.handle());
        let shop = Shop {
            users: users(config, &backend)?,
            backend,
            settlements: Settlements::default(),
            gateway: gateway.clone(),
            reconciler: Arc::default(),
        };
        let (stop, stopped) = watch::channel(false);
        let background = background::start(shop.clone(), config.host, stopped.clone())?;
        let mut serving = Self { engine, gateway, addresses, fronts: Vec::new(), background, stop };
        let limits = connections::Limit::new(config.connections_max);
        for _ in 0..config.fronts {
            let mine = sockets.iter_mut().filter_map(|(service, of_front)| Some((*service, of_front.pop()?)));
            let front = front::Front {
                shop: shop.clone(),
                sockets: mine.collect(),
                limit: limits.clone(),
                drain: config.drain,
                stop: stopped.clone(),
            };
            serving.fronts.push(front.start()?);
        }
        Ok(serving)
    }

    /// Where each service listens.
    pub fn addresses(&self) -> &[(Service, SocketAddr)] {
        &self.addresses
    }

    /// The engine behind.
    pub fn engine(&self) -> EngineHandle {
        self.engine.handle()
    }

    /// The gateway in use.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Takes no new calls, lets the open ones end, closes the engine.
    pub fn stop(self) -> Result<(), ServeError> {
        self.stop.send_replace(true);
        let panicked: Vec<bool> = self.fronts.into_iter().map(|front| front.join().is_err()).collect();
        // Calls that wait for a settlement need what works behind them, so that ends last.
        drop(self.stop);
        let background = self.background.join();
        self.engine.close().map_err(ServeError::Close)?;
        if panicked.contains(&true) {
            return Err(ServeError::Panicked("fronts"));
        }
        background.map_err(|_| ServeError::Panicked("background thread"))
    }
}

/// What the fronts share of the user service, with the account of the first admin.
fn users(config: &Config, backend: &Backend) -> Result<Arc<user::Desk>, ServeError> {
    let start = |error| ServeError::Start { what: "the hashing threads", error };
    let keyring = Arc::new(Keyring::open(&config.data_dir, &config.tokens)?);
    let desk = Arc::new(user::Desk::start(keyring).map_err(start)?);
    let serves = config.services.iter().any(|(service, _)| *service == Service::User);
    if let Some(admin) = config.first_admin.as_ref().filter(|_| serves) {
        let users = Users::new(backend.clone(), desk.clone());
        let made = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(start)?;
            Ok::<_, ServeError>(runtime.block_on(user::ensure_first_admin(&users, admin))?)
        };
        // A thread of its own: the caller's may belong to a runtime.
        let made = std::thread::scope(|scope| scope.spawn(made).join());
        made.map_err(|_| ServeError::Panicked("thread of the first admin"))??;
    }
    Ok(desk)
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
