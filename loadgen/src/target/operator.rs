//! Who looks after a server that is loaded: calls that one waits for, whatever it is loaded over.

use std::time::Duration;

use onrush_grpc::admin::v1::{AuditRequest, StatsRequest, StatsResponse};
use onrush_net::client::grpc::{Addresses, Client};
use onrush_net::client::{CallError, Retry};
use onrush_services::backend::Backend;
use onrush_services::config::Secret;
use onrush_services::remote::{EngineAddress, EngineToken, Remote};
use tokio::runtime::{Builder, Runtime};

use super::server::Server;
use super::{Books, Setup, TargetError, reply};
use crate::meter::Meter;
use crate::target::events::Events;
use crate::target::money::Money;

/// Least time between two readings of the counters: each is a call.
const METER_PAUSE: Duration = Duration::from_millis(100);

/// What lets the audit read the events of a server that it did not start, as it lets the shop's own
/// processes at the engine.
const ENGINE_TOKEN: &str = "ENGINE_TOKEN";

/// Counters and the audit of a server, over gRPC.
pub(super) struct Operator {
    // Declared before its runtime: connections end before what drives them.
    client: Client,
    runtime: Runtime,
    addresses: Addresses,
    /// The server, if it is in this process.
    server: Option<Server>,
    /// What lets us at the engine of a process that we started.
    token: Option<EngineToken>,
}

impl Operator {
    /// Of a server at these addresses.
    pub(super) fn new(addresses: &Addresses, server: Option<Server>) -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(TargetError::Client)?;
        let client = {
            let _context = runtime.enter();
            Client::new(addresses, 1, Retry::default())
                .map_err(|error| refused(&addresses.order, "a client", error))?
        };
        Ok(Self { client, runtime, addresses: addresses.clone(), server, token: None })
    }

    /// The same, let at the engine.
    pub(super) fn trusted(self, engine_token: &str) -> Self {
        Self { token: Some(EngineToken::given(Secret::new(engine_token.to_owned()))), ..self }
    }

    fn stats(&self) -> Result<StatsResponse, TargetError> {
        let answer = self.runtime.block_on(self.client.stats(StatsRequest {}));
        answer.map_err(|error| refused(&self.addresses.order, "AdminService/Stats", error))
    }

    /// Where the payment service is.
    pub(super) fn payment_address(&self) -> &str {
        &self.addresses.payment
    }

    /// Fails if the shop has items: the audit counts from zero.
    pub(super) fn must_be_empty(&self) -> Result<(), TargetError> {
        match self.stats()?.skus {
            0 => Ok(()),
            skus => Err(TargetError::InUse { address: self.addresses.order.clone(), skus }),
        }
    }

    /// Checks the engine's books.
    pub(super) fn books(&self) -> Result<Books, TargetError> {
        let report = self
            .runtime
            .block_on(self.client.audit(AuditRequest {}))
            .map_err(|error| refused(&self.addresses.order, "AdminService/Audit", error))?;
        Ok(reply::books(report))
    }

    /// Reads the events of the run, if we are let at them.
    pub(super) fn events(&self) -> Result<Option<Events>, TargetError> {
        let engine = self.engine()?;
        engine.map(|engine| self.runtime.block_on(Events::read(&engine))).transpose()
    }

    /// Reads the money of all orders, if we are let at the events.
    pub(super) fn money(&self) -> Result<Option<Money>, TargetError> {
        let engine = self.engine()?;
        engine.map(|engine| self.runtime.block_on(Money::read(&engine))).transpose()
    }

    /// The engine itself, if we are let at it. Its connection ends with it: a server that ends waits for none
    /// of ours.
    fn engine(&self) -> Result<Option<Backend>, TargetError> {
        let given = || std::env::var(ENGINE_TOKEN).ok().filter(|token| !token.is_empty());
        let token = match (&self.server, &self.token) {
            (Some(server), _) => Some(server.engine_token().clone()),
            (None, Some(token)) => Some(token.clone()),
            (None, None) => given().map(|token| EngineToken::given(Secret::new(token))),
        };
        let Some(token) = token else { return Ok(None) };
        let address = self.addresses.order.split(',').next().unwrap_or_default().parse::<EngineAddress>();
        let address = address.map_err(|()| TargetError::Address(self.addresses.order.clone()))?;
        Ok(Some(Backend::Remote(Remote::open(&address, &token)?)))
    }

    /// What reads the counters while the server is loaded.
    pub(super) fn meter(&self) -> Result<Meter, TargetError> {
        let operator = Self::new(&self.addresses, None)?;
        let read = move || operator.stats().ok().map(|stats| reply::gauges(&stats));
        let shares_process = self.server.is_some();
        Ok(Meter { read: Box::new(read), shares_process, pause_min: METER_PAUSE })
    }

    /// How the server is set up.
    pub(super) fn setup(&self) -> Setup {
        // A server that no longer answers fails the audit, which says so.
        let stats = self.stats().unwrap_or_default();
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

    /// Ends a server in this process. First its own connections: a server that ends waits for them.
    pub(super) fn close(self) -> Result<(), TargetError> {
        let Self { client, runtime, server, .. } = self;
        drop((client, runtime));
        server.map_or(Ok(()), Server::stop)
    }
}

/// A call that did not work, as what is wrong with the target.
pub(super) fn refused(address: &str, what: &'static str, error: CallError) -> TargetError {
    TargetError::Call { address: address.to_owned(), what, error: error.into() }
}

/// The services beside an order service: where they were said to be, else at their own ports.
pub(super) fn beside(order: &str, product: Option<&str>, payment: Option<&str>) -> Addresses {
    let at = |given: Option<&str>, port| given.map_or_else(|| at_port(order, port), str::to_owned);
    Addresses {
        product: at(product, 50_051),
        order: if port(order).is_some() { order.to_owned() } else { at_port(order, 50_052) },
        payment: at(payment, 50_053),
        ..Addresses::default()
    }
}

/// The port an address names.
fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// The same host at another port; of several, with commas between them, each.
pub(super) fn at_port(addresses: &str, to: u16) -> String {
    addresses.split(',').map(|address| one_at_port(address, to)).collect::<Vec<_>>().join(",")
}

fn one_at_port(address: &str, to: u16) -> String {
    let host = match address.rsplit_once(':') {
        Some((host, _)) if port(address).is_some() => host,
        _ => address,
    };
    format!("{host}:{to}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_stand_beside_each_other() {
        assert_eq!(at_port("http://shop:7000", 50_051), "http://shop:50051");
        assert_eq!(at_port("http://shop", 50_052), "http://shop:50052");
        assert_eq!(at_port("http://a:7000,b:7000", 50_051), "http://a:50051,b:50051");
        assert_eq!(at_port("http://[::1]", 50_053), "http://[::1]:50053");
        assert_eq!((port("http://[::1]:50052"), port("http://[::1]")), (Some(50_052), None));
        let found = beside("http://shop:7000", None, Some("http://pay:1"));
        assert_eq!((found.product.as_str(), found.order.as_str()), ("http://shop:50051", "http://shop:7000"));
        assert_eq!(found.payment, "http://pay:1");
    }
}
