//! A server over its native protocol: one in this process on free ports, or one at an address; over TCP or
//! QUIC.
//!
//! One thread asks and hears, the driver's own, on streams that never block: the client shares its cores with
//! the server, and a thread of its own would cost both. What was submitted between two flushes goes out as one
//! frame on one connection, in turn.

mod connection;
mod course;
mod quic;
mod tcp;

use std::path::Path;
use std::task::Context;
use std::time::{Duration, Instant};

use onrush_net::client::grpc::Addresses;
use onrush_net::client::native::NotAsked;
use onrush_proto::{Refusal, Reply, Request, Sku};

use super::operator::{Operator, at_port, beside};
use super::server::Server;
use super::{Books, EmbeddedOptions, Page, Setup, Target, TargetError, Viewed};
use crate::meter::Meter;
use crate::target::events::Events;
use crate::target::money::Money;
use connection::{Carrier, Connection, WELCOME_MAX, refused};
use course::{Course, Heard};

pub(crate) use connection::LinkError;
pub(crate) use quic::Quic;
pub(crate) use tcp::Tcp;

/// Bytes of one read: what a group of thousands is answered with.
const READ_BYTES: usize = 256 << 10;

/// Where a running server is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NativeAddress<'a> {
    /// Its native port: `host:port`; of a cluster those of several nodes, with a comma between them.
    pub(crate) native: &'a str,
    /// Its order service, for the audit.
    pub(crate) order: Option<&'a str>,
    /// Over QUIC: a file with its certificate, or that which the system's authorities vouch for.
    pub(crate) certificate: Option<&'a Path>,
}

/// How the client reaches the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NativeOptions {
    /// Connections to each node.
    pub(crate) connections: usize,
    /// Most requests under way.
    pub(crate) in_flight_max: usize,
}

/// What a connection does when it may.
pub(crate) type Each<'a, C> = dyn FnMut(&mut Connection<C>, &mut Context<'_>, Ready) + 'a;

/// How bytes travel, on the driver's own thread.
pub(crate) trait Road: Sized {
    /// Its streams.
    type Carrier: Carrier;
    /// What the target is called: `tcp`.
    const NAME: &'static str;

    /// Made once for all connections; `trust`, where TLS is spoken: the server's certificate.
    fn new(trust: Option<&Path>) -> Result<Self, TargetError>;

    /// Where a server in this process listens.
    fn place(server: &Server) -> Option<String>;

    /// A stream to `host:port`.
    fn connect(&mut self, address: &str) -> Result<Self::Carrier, LinkError>;

    /// Waits for at most so long until a connection may move, and has those move that may.
    fn travel(
        &mut self,
        connections: &mut [Connection<Self::Carrier>],
        timeout: Duration,
        each: &mut Each<'_, Self::Carrier>,
    );

    /// Has a connection do something now.
    fn now<T>(&mut self, act: impl FnOnce(&mut Context<'_>) -> T) -> T;
}

/// What a connection may do without waiting, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ready {
    reads: bool,
    writes: bool,
}

/// A server, and the requests under way to it.
pub(crate) struct Native<R: Road> {
    name: String,
    road: R,
    connections: Vec<Connection<R::Carrier>>,
    /// The one that takes what is submitted now.
    turn: usize,
    buffer: Vec<u8>,
    heard: Heard,
    /// Connections to each node.
    connections_each: usize,
    /// Which node is asked.
    course: Course,
    in_flight: usize,
    in_flight_max: usize,
    operator: Operator,
}

impl<R: Road> Native<R> {
    /// Starts a server in this process, on an empty directory and free ports.
    pub(crate) fn boot(engine: &EmbeddedOptions, options: &NativeOptions) -> Result<Self, TargetError> {
        let server = Server::start(engine)?;
        let native = R::place(&server).ok_or(TargetError::NoNative)?;
        let road = R::new(server.certificate().as_deref())?;
        let operator = Operator::new(&server.addresses(), Some(server))?;
        Self::link(R::NAME.into(), (road, &native), operator, options)
    }

    /// Connects to a running server whose shop is empty.
    pub(crate) fn connect(address: NativeAddress<'_>, options: &NativeOptions) -> Result<Self, TargetError> {
        let NativeAddress { native, order, certificate } = address;
        let order = order.map_or_else(|| at_port(&format!("http://{native}"), 50_052), str::to_owned);
        let road = R::new(certificate)?;
        let operator = Operator::new(&beside(&order, None, None), None)?;
        operator.must_be_empty()?;
        Self::link(format!("{}://{native}", R::NAME), (road, native), operator, options)
    }

    /// Connects to a server that we started as a process with this `ENGINE_TOKEN`, whatever is in its shop.
    pub(crate) fn attach(
        native: &str,
        services: &Addresses,
        engine_token: &str,
        options: &NativeOptions,
    ) -> Result<Self, TargetError> {
        let operator = Operator::new(services, None)?.trusted(engine_token);
        Self::link(R::NAME.into(), (R::new(None)?, native), operator, options)
    }

    fn link(
        name: String,
        (mut road, address): (R, &str),
        operator: Operator,
        options: &NativeOptions,
    ) -> Result<Self, TargetError> {
        let mut buffer = vec![0; READ_BYTES];
        let failed = |error| TargetError::Link { address: address.to_owned(), error };
        let mut connections = Vec::new();
        let mut course = Course::new(address);
        // The first that is there: who leads is heard from it.
        let mut first = Err(LinkError::Closed);
        for (at, address) in course.addresses().iter().enumerate() {
            first = road.connect(address).map(|carrier| (carrier, at, address));
            if first.is_ok() {
                break;
            }
        }
        let (carrier, at, first) = first.map_err(failed)?;
        let first = first.clone();
        course.home = at;
        connections.push(Connection::new(carrier, at));
        for _ in 1..options.connections {
            connections.push(Connection::new(road.connect(&first).map_err(failed)?, at));
        }
        welcome(&mut road, &mut connections, &mut buffer).map_err(failed)?;
        let mut native = Self {
            name,
            road,
            connections,
            turn: 0,
            buffer,
            heard: Heard::default(),
            connections_each: options.connections,
            course,
            in_flight: 0,
            in_flight_max: options.in_flight_max,
            operator,
        };
        native.look();
        Ok(native)
    }

    /// Asks on the connection whose turn it is, or on the next one with credit. False if there is none.
    fn ask(
        &mut self,
        tag: u64,
        mut ask: impl FnMut(&mut Connection<R::Carrier>) -> Result<(), NotAsked>,
    ) -> bool {
        if self.connections.is_empty() {
            self.say(tag, Refusal::Stopped);
            return true;
        }
        for _ in 0..self.connections.len() {
            match ask(&mut self.connections[self.turn]) {
                Ok(()) => {
                    self.in_flight += 1;
                    return true;
                }
                Err(NotAsked::Credit | NotAsked::Late | NotAsked::Early) => self.pass_on(),
                // No connection takes it, ever.
                Err(NotAsked::TooLarge { .. } | NotAsked::Unknown) => {
                    self.say(tag, Refusal::NotFound);
                    return true;
                }
            }
        }
        false
    }

    /// An answer of our own.
    fn say(&mut self, tag: u64, refusal: Refusal) {
        self.in_flight += 1;
        self.heard.replies.push((tag, refused(refusal)));
    }

    fn pass_on(&mut self) {
        self.turn = (self.turn + 1) % self.connections.len().max(1);
    }

    /// Waits for at most so long until something is to be read or can be written, and does it.
    fn hear(&mut self, timeout: Duration) {
        let Self { road, connections, buffer, heard, .. } = self;
        road.travel(connections, timeout, &mut |connection, context, ready| {
            if step(connection, context, ready, buffer, heard).is_err() {
                connection.lose(heard);
            }
        });
        self.connections.retain(|connection| !connection.is_lost());
        self.turn %= self.connections.len().max(1);
        if self.course.follows() {
            self.look();
            self.pump();
            self.write();
        }
    }

    /// Writes what waits.
    fn write(&mut self) {
        let Self { road, connections, heard, .. } = self;
        road.now(|context| {
            for connection in connections.iter_mut().filter(|connection| connection.writes()) {
                if connection.write(context).is_err() {
                    connection.lose(heard);
                }
            }
        });
    }
}

fn step<C: Carrier>(
    connection: &mut Connection<C>,
    context: &mut Context<'_>,
    ready: Ready,
    buffer: &mut [u8],
    heard: &mut Heard,
) -> Result<(), LinkError> {
    let written = if ready.writes { connection.write(context) } else { Ok(()) };
    match ready.reads {
        true => written.and(connection.read(context, buffer, heard)),
        false => written,
    }
}

/// Waits until all connections know what the server grants.
fn welcome<R: Road>(
    road: &mut R,
    connections: &mut [Connection<R::Carrier>],
    buffer: &mut [u8],
) -> Result<(), LinkError> {
    let start = Instant::now();
    let mut failed = None;
    while failed.is_none() && !connections.iter().all(Connection::is_welcome) {
        let left = WELCOME_MAX.checked_sub(start.elapsed()).ok_or(LinkError::Unwelcome)?;
        road.travel(connections, left, &mut |connection, context, ready| {
            let stepped = step(connection, context, ready, buffer, &mut Heard::default());
            failed = failed.take().or(stepped.err());
        });
    }
    failed.map_or(Ok(()), Err)
}

impl<R: Road> Target for Native<R> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn submit(&mut self, tag: u64, request: Request) -> Option<Request> {
        if !self.has_room() {
            return Some(request);
        }
        let request = self.pursue(tag, request)?;
        let taken = self.ask(tag, |connection| connection.ask(tag, &request));
        (!taken).then_some(request)
    }

    fn flush(&mut self) {
        self.pump();
        self.write();
        self.pass_on();
    }

    fn drain(&mut self, replies: &mut Vec<(u64, Reply)>) -> usize {
        if self.heard.replies.is_empty() && self.in_flight > 0 {
            self.hear(Duration::ZERO);
        }
        let count = self.heard.replies.len();
        replies.append(&mut self.heard.replies);
        self.in_flight -= count;
        count
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        if self.heard.replies.is_empty() {
            // What could not be asked is looked after at once.
            let most = if self.heard.astray.is_empty() { timeout } else { Duration::ZERO };
            self.hear(self.course.idle(most));
        }
        !self.heard.replies.is_empty()
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_room(&self) -> bool {
        let credit = self.connections.is_empty() || self.connections.iter().any(Connection::has_room);
        self.in_flight < self.in_flight_max && credit
    }

    fn settles(&self) -> bool {
        true
    }

    fn view(&mut self, tag: u64, page: Page, sku: &Sku) -> Viewed {
        if !self.ask(tag, |connection| connection.view(tag, page, sku)) {
            self.say(tag, Refusal::Overloaded);
        }
        Viewed::Sent
    }

    fn books(&mut self) -> Result<Books, TargetError> {
        self.operator.books()
    }

    fn events(&mut self) -> Result<Option<Events>, TargetError> {
        self.operator.events()
    }

    fn money(&mut self) -> Result<Option<Money>, TargetError> {
        self.operator.money()
    }

    fn meter(&self) -> Result<Meter, TargetError> {
        self.operator.meter()
    }

    fn setup(&self) -> Setup {
        self.operator.setup()
    }

    fn close(self: Box<Self>) -> Result<(), TargetError> {
        let Self { mut road, mut connections, operator, .. } = *self;
        // A server that ends waits for connections that do not say goodbye.
        road.now(|context| connections.iter_mut().for_each(|connection| connection.leave(context)));
        drop(connections);
        operator.close()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use onrush_proto::frame::{
        Cluster, Commands, FRAME_BYTES_MAX, Frame, Kind, Node, Welcome, begin, put_no_product, put_reply,
    };
    use onrush_proto::{Command, OrderId, Outcome, SlotMap};

    use super::*;

    /// A server of two commands' credit: the next frame of commands on its connection, as tags.
    struct Peer(TcpStream, Vec<u8>);

    impl Peer {
        fn accept(listener: &TcpListener) -> Self {
            Self::accept_of(listener, Cluster::default())
        }

        fn accept_of(listener: &TcpListener, cluster: Cluster) -> Self {
            let (mut stream, _) = listener.accept().unwrap();
            let mut out = Vec::new();
            Welcome::new(1, SlotMap::new(1).unwrap(), 1 << 20, 2).of(cluster).write(&mut out);
            stream.write_all(&out).unwrap();
            let mut peer = Self(stream, Vec::new());
            assert_eq!(peer.frame().0, Kind::Hello);
            peer
        }

        fn frame(&mut self) -> (Kind, Vec<u64>) {
            loop {
                if let Some((frame, rest)) = Frame::read(&self.1, FRAME_BYTES_MAX).unwrap() {
                    let tags = Commands::of(&frame).map(|found| found.map(|entry| entry.tag).collect());
                    let read = (frame.kind, tags.unwrap_or_default());
                    self.1 = rest.to_vec();
                    return read;
                }
                let mut bytes = [0; 4_096];
                let read = Read::read(&mut self.0, &mut bytes).unwrap();
                assert!(read > 0);
                self.1.extend_from_slice(&bytes[..read]);
            }
        }

        fn say(&mut self, kind: Kind, count: u16, body: &[u8]) {
            let mut out = Vec::new();
            let frame = begin(&mut out, kind);
            out.extend_from_slice(body);
            frame.seal(&mut out, count, 1);
            self.0.write_all(&out).unwrap();
        }

        fn answer(&mut self, tags: &[u64]) {
            self.refuse(tags, Refusal::NotFound);
        }

        fn refuse(&mut self, tags: &[u64], refusal: Refusal) {
            let mut out = Vec::new();
            let frame = begin(&mut out, Kind::Outcomes);
            for tag in tags {
                assert!(put_reply(&mut out, *tag, &refused(refusal)));
            }
            frame.seal(&mut out, tags.len() as u16, tags.len() as u32);
            self.0.write_all(&out).unwrap();
        }
    }

    /// A target with this many connections, and their far ends.
    fn target(connections: usize) -> (Native<Tcp>, Vec<Peer>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let operator = Operator::new(&Addresses::default(), None).unwrap();
        let options = NativeOptions { connections, in_flight_max: 100 };
        std::thread::scope(|scope| {
            let peers = scope.spawn(|| (0..connections).map(|_| Peer::accept(&listener)).collect::<Vec<_>>());
            let target = Native::link("tcp".into(), (Tcp, &address), operator, &options).unwrap();
            (target, peers.join().unwrap())
        })
    }

    fn get() -> Request {
        Request::unkeyed(Command::GetOrder(OrderId(1)))
    }

    fn answers(target: &mut Native<Tcp>, count: usize) -> Vec<u64> {
        let mut replies = Vec::new();
        while replies.len() < count {
            target.wait(Duration::from_secs(1));
            target.drain(&mut replies);
        }
        replies.into_iter().map(|(tag, _)| tag).collect()
    }

    #[test]
    fn what_is_submitted_between_flushes_is_one_frame_and_connections_take_turns() {
        let (mut target, mut peers) = target(2);
        assert!(target.submit(70, get()).is_none() && target.submit(71, get()).is_none());
        target.flush();
        assert!(target.submit(72, get()).is_none());
        target.flush();
        let first = peers[0].frame();
        assert_eq!((first.0, first.1.len()), (Kind::Commands, 2));
        peers[0].answer(&[first.1[1], first.1[0]]);
        assert_eq!(answers(&mut target, 2), [71, 70]);
        let second = peers[1].frame();
        peers[1].answer(&second.1);
        assert_eq!((answers(&mut target, 1), target.in_flight()), (vec![72], 0));
    }

    #[test]
    fn a_page_of_the_catalogue_is_looked_at_by_details_and_one_of_prices_by_validation() {
        let (mut target, mut peers) = target(1);
        let tea: Sku = "tea".parse().unwrap();
        for (tag, page, kind) in [(7, Page::Product, Kind::Details), (8, Page::Validate, Kind::Validate)] {
            assert_eq!(target.view(tag, page, &tea), Viewed::Sent);
            target.flush();
            assert_eq!(peers[0].frame().0, kind);
        }
        let mut out = 0_u64.to_le_bytes().to_vec();
        put_no_product(&mut out, Some(&tea));
        peers[0].say(Kind::Products, 1, &out);
        assert_eq!(answers(&mut target, 1), [7], "nothing is on sale under that name: an answer too");
    }

    #[test]
    fn what_there_is_no_credit_for_is_given_back() {
        let (mut target, mut peers) = target(1);
        assert!(target.submit(1, get()).is_none() && target.submit(2, get()).is_none());
        assert!(!target.has_room());
        assert_eq!(target.submit(3, get()), Some(get()));
        target.flush();
        let asked = peers[0].frame().1;
        peers[0].answer(&asked);
        assert_eq!(answers(&mut target, 2), [1, 2]);
        assert!(target.has_room() && target.submit(3, get()).is_none());
    }

    #[test]
    fn what_is_open_on_a_lost_connection_is_answered_as_unknown() {
        let (mut target, peers) = target(1);
        assert!(target.submit(1, get()).is_none());
        target.flush();
        drop(peers);
        let mut replies = Vec::new();
        while target.drain(&mut replies) == 0 {
            target.wait(Duration::from_secs(1));
        }
        assert_eq!(replies, [(1, refused(Refusal::Stopped))]);
        assert!(target.submit(2, get()).is_none(), "there is nobody to ask, which is an answer");
        replies.clear();
        target.drain(&mut replies);
        assert!(matches!(replies[0].1.outcome, Outcome::Refused(Refusal::Stopped)));
    }

    /// The first node names the second; that one is gone before it answers, and by then the first leads.
    #[test]
    fn what_is_open_goes_where_the_leader_is() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [0, 1].map(|at: usize| listeners[at].local_addr().unwrap().to_string());
        let node = |(number, address): (u64, &String)| Node { number, address: address.clone() };
        let nodes: Vec<Node> = (1..).zip(&addresses).map(node).collect();
        let cluster = |own| Cluster::new(own, nodes.clone()).unwrap();
        let operator = Operator::new(&Addresses::default(), None).unwrap();
        let options = NativeOptions { connections: 1, in_flight_max: 100 };
        let [first, second] = listeners;
        std::thread::scope(|scope| {
            let peers = scope.spawn(|| {
                let mut leads = Peer::accept_of(&first, cluster(1));
                let asked = leads.frame().1;
                leads.refuse(&asked, Refusal::NotLeader { leader: 2 });
                let mut gone = Peer::accept_of(&second, cluster(2));
                assert_eq!(gone.frame().1.len(), asked.len());
                drop((gone, second));
                let mut asked = leads.frame().1;
                while asked.len() < 2 {
                    asked.extend(leads.frame().1);
                }
                leads.answer(&asked);
                leads
            });
            let mut target = Native::link("tcp".into(), (Tcp, &addresses[0]), operator, &options).unwrap();
            assert!(target.submit(70, get()).is_none() && target.submit(71, get()).is_none());
            target.flush();
            let mut replies = Vec::new();
            while replies.len() < 2 {
                target.wait(Duration::from_secs(1));
                target.drain(&mut replies);
            }
            replies.sort_by_key(|(tag, _)| *tag);
            assert_eq!(replies, [70, 71].map(|tag| (tag, refused(Refusal::NotFound))));
            assert_eq!(target.in_flight(), 0);
            drop(peers.join().unwrap());
        });
    }

    #[test]
    fn a_silent_address_is_named() {
        let operator = Operator::new(&Addresses::default(), None).unwrap();
        let options = NativeOptions { connections: 1, in_flight_max: 8 };
        let error =
            Native::link("tcp".into(), (Tcp, "127.0.0.1:1"), operator, &options).err().unwrap().to_string();
        assert!(
            error.contains("expected a server at 127.0.0.1:1 that speaks the native protocol"),
            "{error}"
        );
    }
}
