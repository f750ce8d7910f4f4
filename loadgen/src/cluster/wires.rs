//! The wires between nodes: each node speaks with each other one through a relay of ours, which loses, doubles, delays and
//! reorders datagrams, or cuts a direction.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::ClusterError;
use super::ground::Ground;
use super::nodes::NUMBERS;
use crate::random::Random;

/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// How the wires are at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
    /// Directions, from one node to another, in which nothing arrives.
    pub(super) cut: BTreeSet<(u64, u64)>,
    /// Of a thousand datagrams, so many are lost, and as many doubled.
    pub(super) loss: u64,
    /// The longest delay of one; the next one may overtake it.
    pub(super) delay_max: Duration,
}

/// All wires; they end when this is dropped.
pub(super) struct Wires {
    weather: Arc<Mutex<Weather>>,
    /// Where a node finds another one: `(from, to)`, and the port.
    relays: Vec<((u64, u64), u16)>,
    _close: oneshot::Sender<()>,
}

impl Wires {
    /// Relays between nodes that listen at these ports, where nodes stand there.
    pub(super) fn begin(ground: &Ground, ports: &[(u64, u16)], seed: u64) -> Result<Self, ClusterError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ClusterError::Runtime)?;
        let weather = Arc::new(Mutex::new(Weather::default()));
        let mut relays = Vec::new();
        for from in NUMBERS {
            for (to, port) in ports.iter().copied().filter(|(to, _)| *to != from) {
                let near = {
                    let _context = runtime.enter();
                    let bound = std::net::UdpSocket::bind((ground.own_host(), 0));
                    bound
                        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
                        .and_then(UdpSocket::from_std)
                };
                let near = Arc::new(near.map_err(ClusterError::Ports)?);
                relays.push(((from, to), near.local_addr().map_err(ClusterError::Ports)?.port()));
                let random = Random::new(seed, 9_000 + from * 100 + to);
                let far = format!("{}:{port}", ground.peer_host(to));
                let own = ground.own_host();
                let relay = Relay { near, pair: (from, to), far, own, weather: weather.clone(), random };
                runtime.spawn(relay.run());
            }
        }
        let (close, closed) = oneshot::channel::<()>();
        let work = move || {
            // Dropped is as good as sent.
            let _ = runtime.block_on(closed);
        };
        thread::Builder::new().name("loadgen-wires".into()).spawn(work).map_err(ClusterError::Runtime)?;
        Ok(Self { weather, relays, _close: close })
    }

    /// What a node is told of its peers: itself where it listens, the others where its relays are.
    pub(super) fn peers_of(&self, ground: &Ground, node: u64, own: u16) -> String {
        let others = self.relays.iter().filter(|((from, _), _)| *from == node);
        let others = others.map(|((_, to), port)| format!("{to}={}:{port}", ground.own_host()));
        others.chain([format!("{node}={}:{own}", ground.peer_host(node))]).collect::<Vec<_>>().join(",")
    }

    /// How they are, to be changed.
    pub(super) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing arrives at a node, or leaves it.
    pub(super) fn cut_off(&self, node: u64) {
        let others = NUMBERS.into_iter().filter(|other| *other != node);
        self.weather().cut.extend(others.flat_map(|other| [(node, other), (other, node)]));
    }

    /// What a node says arrives nowhere; it hears everything.
    pub(super) fn silence(&self, node: u64) {
        let others = NUMBERS.into_iter().filter(|other| *other != node);
        self.weather().cut.extend(others.map(|other| (node, other)));
    }

    /// All is well again.
    pub(super) fn heal(&self) {
        *self.weather() = Weather::default();
    }
}

/// Carries what one node sends to another, and the answers back.
struct Relay {
    near: Arc<UdpSocket>,
    pair: (u64, u64),
    /// Where the other one listens.
    far: String,
    own: String,
    weather: Arc<Mutex<Weather>>,
    random: Random,
}

impl Relay {
    async fn run(mut self) {
        let Ok(far) = UdpSocket::bind((self.own.as_str(), 0)).await else { return };
        let Ok(to) = self.far.parse::<SocketAddr>() else { return };
        let far = Arc::new(far);
        let (mut there, mut back) = (vec![0; DATAGRAM_BYTES_MAX], vec![0; DATAGRAM_BYTES_MAX]);
        // Where the node speaks from: another port after each start.
        let mut caller = None;
        loop {
            // What nobody listens to comes back as an error of the socket, and means nothing.
            tokio::select! {
                Ok((bytes, from)) = self.near.recv_from(&mut there) => {
                    caller = Some(from);
                    self.carry(&far, to, &there[..bytes], self.pair);
                }
                Ok((bytes, _)) = far.recv_from(&mut back) => {
                    if let Some(caller) = caller {
                        let near = Arc::clone(&self.near);
                        self.carry(&near, caller, &back[..bytes], (self.pair.1, self.pair.0));
                    }
                }
                else => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    fn carry(&mut self, socket: &Arc<UdpSocket>, to: SocketAddr, bytes: &[u8], direction: (u64, u64)) {
        let weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let (lost, delay_max, loss) = (weather.cut.contains(&direction), weather.delay_max, weather.loss);
        drop(weather);
        if lost || self.random.below(1_000) < loss {
            return;
        }
        let copies = 1 + u32::from(self.random.below(1_000) < loss);
        for _ in 0..copies {
            let delay = Duration::from_micros(self.random.below(delay_max.as_micros() as u64));
            if delay.is_zero() {
                // A full socket loses it, as a wire may.
                let _ = socket.try_send_to(bytes, to);
                continue;
            }
            let (socket, bytes) = (Arc::clone(socket), bytes.to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = socket.send_to(&bytes, to).await;
            });
        }
    }
}
