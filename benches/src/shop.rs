//! A shop to measure, in this process.

use std::path::Path;
use std::time::Duration;

use onrush_engine::{HostKind, StoreKind};
use onrush_proto::Outcome;
use onrush_services::access::Access;
use onrush_services::config::{Config, EnginePlace, NativeConfig, Service, Tokens};
use onrush_services::gateway::GatewayOptions;
use onrush_services::gateway::simulated::Faults;
use onrush_services::logging::LogFormat;
use onrush_services::serve::Serving;

use crate::Failure;
use crate::sale::Sale;

/// One front and one shard that serve these on free ports of this machine, with data below `dir`.
pub fn config(dir: &Path, services: &[Service]) -> Config {
    Config {
        data_dir: dir.join("data"),
        listen: [127, 0, 0, 1].into(),
        services: services.iter().map(|service| (*service, 0)).collect(),
        native: NativeConfig::default(),
        engine: EnginePlace::Here(None),
        cluster: None,
        shards: Some(1),
        host: HostKind::Thread,
        store: StoreKind::Fjall,
        snapshot_bytes: 4 << 30,
        hold: Duration::from_secs(600),
        clock_jump_max: Duration::from_secs(86_400),
        accept_clock: false,
        fronts: 1,
        connections_max: 10_000,
        drain: Duration::from_secs(1),
        gateway_faults: Faults::default(),
        payment: GatewayOptions::default(),
        tokens: Tokens::default(),
        access: Access::Open,
        first_admin: None,
        oidc: None,
        events: Default::default(),
        shipping: Default::default(),
        smtp: None,
        twilio: None,
        push: Default::default(),
        notification: Default::default(),
        ml_model: None,
        log: "warn".into(),
        log_format: LogFormat::Text,
        service_name: "onrush".into(),
        collector: None,
    }
}

/// Where a service listens.
pub fn address(serving: &Serving, wanted: Service) -> Result<String, Failure> {
    let found = serving.addresses().iter().find(|(service, _)| *service == wanted);
    let address = found.map(|(_, address)| format!("http://{address}"));
    address.ok_or_else(|| Failure::unexpected(format!("the {} service", wanted.name()), serving.addresses()))
}

/// Puts what is on sale.
pub fn open(serving: &Serving, sale: &Sale) -> Result<(), Failure> {
    let Some(engine) = serving.engine() else {
        return Err(Failure::unexpected("the engine in this process", serving.addresses()));
    };
    for request in sale.opening() {
        let outcome = engine.call_blocking(request).outcome;
        if !matches!(outcome, Outcome::Accepted(_)) {
            return Err(Failure::unexpected("an opened sale", outcome));
        }
    }
    Ok(())
}
