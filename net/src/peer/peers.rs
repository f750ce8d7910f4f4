//! All peers of a node: one thread with one endpoint, which listens and calls.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use quinn::{Endpoint, TokioRuntime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::dial::Dialler;
use super::greeting::Instance;
use super::listen::listen;
use super::options::check_addresses;
use super::refusal::LEFT;
use super::roster::{Roster, lock};
use super::{PeerError, PeerOptions, PeerRefusal, PeersStatus, settings};

/// Whom messages are handed to: the node that has sent one, and its bytes. It is called by the one thread
/// that speaks with all peers, and should not block; the messages of one connection come in their order. A
/// panic ends the connection.
pub type Incoming = Arc<dyn Fn(u64, &[u8]) + Send + Sync>;

/// How long peers may take to hear that this node leaves.
const LEAVING_MAX: Duration = Duration::from_millis(50);

/// The peers of a node. Dropped, it leaves them.
pub struct Peers {
    roster: Arc<Roster>,
    local: SocketAddr,
    running: Mutex<Option<Running>>,
}

/// What there is until it is closed.
struct Running {
    handle: Handle,
    dialler: Dialler,
    calls: BTreeMap<u64, AbortHandle>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("roster", &self.roster)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Peers {
    /// Listens, and calls all peers.
    pub fn start(options: PeerOptions, incoming: Incoming) -> Result<Self, PeerError> {
        options.check()?;
        let (server, config) = settings::quic(&options)?;
        let roster = Arc::new(Roster::new(&options, Instance::new()?, incoming));
        let wrong = |error| PeerError::Listen { address: options.listen, error };
        let socket = UdpSocket::bind(options.listen).map_err(wrong)?;
        settings::widen(&socket);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(PeerError::Thread)?;
        let endpoint = {
            let _within = runtime.enter();
            let runtime = Arc::new(TokioRuntime);
            Endpoint::new(settings::endpoint(&options), Some(server), socket, runtime).map_err(wrong)?
        };
        let local = endpoint.local_addr().map_err(wrong)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = start(runtime, run(Arc::clone(&roster), endpoint.clone(), stopped))?;
        let dialler = Dialler {
            roster: Arc::clone(&roster),
            endpoint,
            config,
            silence_max: options.silence_max,
            is_named: options.tls.is_some(),
        };
        let running = Running { handle, dialler, calls: BTreeMap::new(), stop, thread };
        let peers = Self { roster, local, running: Mutex::new(Some(running)) };
        peers.set_peers(&options.peers)?;
        Ok(peers)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends a message to a peer, from any thread. It waits for nothing: a message that has no room, is too
    /// long or is for nobody who is known is dropped and counted, and false comes back. True says that it
    /// waits, not that it arrives.
    pub fn send(&self, to: u64, message: Vec<u8>) -> bool {
        let Some(peer) = self.roster.peer(to) else {
            self.roster.unaddressed.fetch_add(1, Relaxed);
            return false;
        };
        let length = message.len();
        let taken = length <= self.roster.message_bytes_max && peer.queue.push(message);
        if !taken {
            peer.dropped.add(1, length as u64);
        }
        taken
    }

    /// What there is to say of peers, and of strangers.
    pub fn status(&self) -> PeersStatus {
        self.roster.status()
    }

    /// What a peer said of itself last; nothing of one that never spoke or is no peer.
    pub fn advertised(&self, node: u64) -> Option<String> {
        self.roster.peer(node)?.advertised()
    }

    /// From now on these are the nodes of the cluster, in place of those that were. Connections with those
    /// that are none any more end as [`PeerRefusal::UnknownNode`]; those with the others stay, unless a node
    /// is elsewhere now.
    pub fn set_peers(&self, peers: &BTreeMap<u64, String>) -> Result<(), PeerError> {
        check_addresses(peers)?;
        let mut running = lock(&self.running);
        let running = running.as_mut().ok_or(PeerError::Closed)?;
        let (new, gone) = self.roster.replace(peers);
        for peer in gone {
            peer.end(Some(&PeerRefusal::UnknownNode { node: peer.node }));
            if let Some(call) = running.calls.remove(&peer.node) {
                call.abort();
            }
        }
        for peer in new {
            let call = running.handle.spawn(running.dialler.clone().keep(Arc::clone(&peer)));
            running.calls.insert(peer.node, call.abort_handle());
        }
        Ok(())
    }

    /// Leaves all peers. When it returns, no message is handed over any more and the port is free, unless it
    /// is called from where messages are handed over. What waited is dropped.
    pub fn close(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        let Running { dialler, stop, thread, .. } = running;
        drop(dialler);
        // An error means that the thread has ended by itself.
        let _ = stop.send(());
        if thread.thread().id() != thread::current().id() {
            // A panic has been told where it was.
            let _ = thread.join();
        }
        let (_, gone) = self.roster.replace(&BTreeMap::new());
        gone.iter().for_each(|peer| peer.end(None));
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.close();
    }
}

fn start(
    runtime: Runtime,
    task: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<()>, PeerError> {
    let run = move || {
        runtime.block_on(task);
        // Who looks a name up may take long, and nobody waits for it any more.
        runtime.shutdown_background();
    };
    thread::Builder::new().name("onrush-peers".into()).spawn(run).map_err(PeerError::Thread)
}

/// Everything that the thread does.
async fn run(roster: Arc<Roster>, endpoint: Endpoint, stopped: oneshot::Receiver<()>) {
    let listening = tokio::spawn(listen(roster, endpoint.clone()));
    // An error means that whoever could stop it is gone.
    let _ = stopped.await;
    listening.abort();
    endpoint.close(LEFT, b"");
    // Those who do not hear it find out by silence.
    let _ = timeout(LEAVING_MAX, endpoint.wait_idle()).await;
}
