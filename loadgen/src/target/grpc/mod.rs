//! A server over its gRPC services: one in this process on free ports, or one at an address.

mod lane;
mod message;
mod reply;
mod server;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use onrush_grpc::admin::v1::{AuditRequest, StatsRequest, StatsResponse};
use onrush_net::client::grpc::{Addresses, Client};
use onrush_net::client::{CallError, Retry};
use onrush_proto::{Reply, Request, Sku};
use onrush_services::backend::Backend;
use onrush_services::config::Secret;
use onrush_services::remote::{EngineAddress, EngineToken, Remote};
use tokio::runtime::{Builder, Runtime};

use super::{Books, EmbeddedOptions, Page, Setup, Target, TargetError, Viewed};
use crate::meter::Meter;
use crate::target::events::Events;
use lane::Lane;
use message::Asked;
use server::Server;

/// Orders that an audit reads back: each is a call of its own.
const ORDERS_READ_MAX: usize = 20_000;
/// Least time between two readings of the counters: each is a call.
const METER_PAUSE: Duration = Duration::from_millis(100);

/// What lets the audit read the events of a server that it did not start, as it lets the shop's own
/// processes at the engine.
const ENGINE_TOKEN: &str = "ENGINE_TOKEN";

/// How the client reaches the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkOptions {
    /// Threads of the client.
    pub(crate) threads: usize,
    /// Connections per service and thread.
    pub(crate) connections: usize,
    /// Most calls under way.
    pub(crate) in_flight_max: usize,
}

/// A server, and the calls under way to it.
pub(crate) struct Grpc {
    name: String,
    lanes: Vec<Lane>,
    next_lane: usize,
    /// Submitted and not yet flushed.
    batch: Vec<(u64, Asked)>,
    answers: Receiver<(u64, Reply)>,
    /// The answer that ended a wait.
    heard: Option<(u64, Reply)>,
    in_flight: usize,
    in_flight_max: usize,
    operator: Operator,
    server: Option<Server>,
}

/// Calls that one waits for: counters and the audit.
struct Operator {
    // Declared before its runtime: connections end before what drives them.
    client: Client,
    runtime: Runtime,
    addresses: Addresses,
}

impl Operator {
    fn new(addresses: &Addresses) -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(TargetError::Client)?;
        let client = {
            let _context = runtime.enter();
            Client::new(addresses, 1, Retry::default())
                .map_err(|error| refused(&addresses.order, "a client", error))?
        };
        Ok(Self { client, runtime, addresses: addresses.clone() })
    }

    fn stats(&self) -> Result<StatsResponse, TargetError> {
        let answer = self.runtime.block_on(self.client.stats(StatsRequest {}));
        answer.map_err(|error| refused(&self.addresses.order, "AdminService/Stats", error))
    }
}

fn refused(address: &str, what: &'static str, error: CallError) -> TargetError {
    TargetError::Call { address: address.to_owned(), what, error: error.into() }
}

impl Grpc {
    /// Starts a server in this process, on an empty directory and free ports.
    pub(crate) fn boot(engine: &EmbeddedOptions, link: &LinkOptions) -> Result<Self, TargetError> {
        let server = Server::start(engine)?;
        let addresses = server.addresses();
        Self::link("grpc".into(), &addresses, Some(server), link)
    }

    /// Connects to a running server whose shop is empty.
    pub(crate) fn connect(
        order: &str,
        product: Option<&str>,
        payment: Option<&str>,
        link: &LinkOptions,
    ) -> Result<Self, TargetError> {
        let beside = |given: Option<&str>, port| given.map_or_else(|| at_port(order, port), str::to_owned);
        let addresses = Addresses {
            product: beside(product, 50_051),
            order: if port(order).is_some() { order.to_owned() } else { at_port(order, 50_052) },
            payment: beside(payment, 50_053),
            ..Addresses::default()
        };
        let target = Self::link(addresses.order.clone(), &addresses, None, link)?;
        match target.operator.stats()?.skus {
            0 => Ok(target),
            skus => Err(TargetError::InUse { address: addresses.order, skus }),
        }
    }

    fn link(
        name: String,
        addresses: &Addresses,
        server: Option<Server>,
        link: &LinkOptions,
    ) -> Result<Self, TargetError> {
        let (sender, answers) = mpsc::channel();
        let start = |_| Lane::start(addresses, link.connections, sender.clone());
        let lanes: Result<Vec<Lane>, TargetError> = (0..link.threads).map(start).collect();
        Ok(Self {
            name,
            lanes: lanes?,
            next_lane: 0,
            batch: Vec::new(),
            answers,
            heard: None,
            in_flight: 0,
            in_flight_max: link.in_flight_max,
            operator: Operator::new(addresses)?,
            server,
        })
    }

    fn ask(&mut self, tag: u64, asked: Asked) {
        self.in_flight += 1;
        self.batch.push((tag, asked));
    }
}

/// The port an address names.
fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// The same host at another port.
fn at_port(address: &str, to: u16) -> String {
    let host = match address.rsplit_once(':') {
        Some((host, _)) if port(address).is_some() => host,
        _ => address,
    };
    format!("{host}:{to}")
}

impl Target for Grpc {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn submit(&mut self, tag: u64, request: Request) -> Option<Request> {
        if !self.has_room() {
            return Some(request);
        }
        self.ask(tag, Asked::Request(request));
        None
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let share = self.batch.len().div_ceil(self.lanes.len());
        while !self.batch.is_empty() {
            let rest = self.batch.split_off(share.min(self.batch.len()));
            let part = std::mem::replace(&mut self.batch, rest);
            self.lanes[self.next_lane].send(part);
            self.next_lane = (self.next_lane + 1) % self.lanes.len();
        }
    }

    fn drain(&mut self, replies: &mut Vec<(u64, Reply)>) -> usize {
        let before = replies.len();
        while let Some(answer) = self.heard.take().or_else(|| self.answers.try_recv().ok()) {
            replies.push(answer);
        }
        let count = replies.len() - before;
        self.in_flight -= count;
        count
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        if self.heard.is_none() {
            self.heard = self.answers.recv_timeout(timeout).ok();
        }
        self.heard.is_some()
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max
    }

    fn settles(&self) -> bool {
        true
    }

    fn orders_read_max(&self) -> usize {
        ORDERS_READ_MAX
    }

    fn view(&mut self, tag: u64, page: Page, sku: &Sku) -> Viewed {
        self.ask(tag, Asked::Page(page, *sku));
        Viewed::Sent
    }

    fn books(&mut self) -> Result<Books, TargetError> {
        let Operator { client, runtime, addresses } = &self.operator;
        let report = runtime
            .block_on(client.audit(AuditRequest {}))
            .map_err(|error| refused(&addresses.order, "AdminService/Audit", error))?;
        Ok(reply::books(report))
    }

    fn events(&mut self) -> Result<Option<Events>, TargetError> {
        let given = || std::env::var(ENGINE_TOKEN).ok().filter(|token| !token.is_empty());
        let token = match &self.server {
            Some(server) => Some(server.engine_token().clone()),
            None => given().map(|token| EngineToken::given(Secret::new(token))),
        };
        let Some(token) = token else { return Ok(None) };
        let Operator { runtime, addresses, .. } = &self.operator;
        let address = addresses.order.parse::<EngineAddress>();
        let address = address.map_err(|()| TargetError::Address(addresses.order.clone()))?;
        // Its connection ends here: a server that ends waits for none of ours.
        let remote = Remote::open(&address, &token)?;
        runtime.block_on(Events::read(&Backend::Remote(remote))).map(Some)
    }

    fn meter(&self) -> Result<Meter, TargetError> {
        let operator = Operator::new(&self.operator.addresses)?;
        let read = move || operator.stats().ok().map(|stats| reply::gauges(&stats));
        let shares_process = self.server.is_some();
        Ok(Meter { read: Box::new(read), shares_process, pause_min: METER_PAUSE })
    }

    fn setup(&self) -> Setup {
        // A server that no longer answers fails the audit, which says so.
        let stats = self.operator.stats().unwrap_or_default();
        let of_server = |found: fn(&Server) -> String| self.server.as_ref().map(found);
        Setup {
            durability: stats.durability,
            shards: u16::try_from(stats.shards).unwrap_or(u16::MAX),
            host: of_server(Server::host).unwrap_or_else(|| "of the server".into()),
            store: of_server(Server::store).unwrap_or_else(|| "of the server".into()),
            durable_writes: stats.durable_writes,
            records: stats.records,
            log_bytes: stats.log_bytes,
            hot_key_share: stats.hot_key_ppm as f64 / 1e6,
            kept: self.server.as_ref().and_then(Server::kept),
            stages: stats.stages.into_iter().map(reply::stage).collect(),
        }
    }

    fn close(self: Box<Self>) -> Result<(), TargetError> {
        let Self { lanes, operator, server, .. } = *self;
        // First the connections: a server that ends waits for them.
        drop((lanes, operator));
        server.map_or(Ok(()), Server::stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_stand_beside_each_other() {
        assert_eq!(at_port("http://shop:7000", 50_051), "http://shop:50051");
        assert_eq!(at_port("http://shop", 50_052), "http://shop:50052");
        assert_eq!(at_port("http://[::1]", 50_053), "http://[::1]:50053");
        assert_eq!((port("http://[::1]:50052"), port("http://[::1]")), (Some(50_052), None));
    }

    #[test]
    fn a_silent_address_is_named() {
        let link = LinkOptions { threads: 1, connections: 1, in_flight_max: 8 };
        let error = Grpc::connect("http://127.0.0.1:1", None, None, &link).err().unwrap().to_string();
        assert!(error.contains("expected a server at http://127.0.0.1:1 that answers"), "{error}");
    }
}
