//! A whole server in this process: engine, fronts and a gateway that answers at once.

use std::path::PathBuf;

use onrush_engine::{HostKind, StoreKind};
use onrush_net::client::grpc::Addresses;
use onrush_services::config::{Config, EnginePlace, Secret, Service, Sources};
use onrush_services::gateway::stripe::StripeOptions;
use onrush_services::remote::EngineToken;
use onrush_services::serve::Serving;
use tempfile::TempDir;

use super::{EmbeddedOptions, GatewaySetup, TargetError};
use crate::target::embedded::directory;

/// Declines come from the cards that buyers pay with.
const PROMPT: &str = "p50_ms=0,p99_ms=0";

/// A running server.
pub(crate) struct Server {
    serving: Serving,
    host: HostKind,
    store: StoreKind,
    data_dir: PathBuf,
    temporary: Option<TempDir>,
    engine_token: EngineToken,
}

impl Server {
    /// Starts on an empty directory and free ports of this machine.
    pub(super) fn start(options: &EmbeddedOptions) -> Result<Self, TargetError> {
        let (data_dir, temporary) = directory(options.data_dir.as_deref(), options.keep)?;
        let engine_token = EngineToken::random();
        let engine = EnginePlace::Here(Some(engine_token.clone()));
        let config = Config { data_dir: data_dir.clone(), engine, ..config(options)? };
        let serving = Serving::start(&config).map_err(Box::new)?;
        Ok(Self { serving, host: options.host, store: options.store, data_dir, temporary, engine_token })
    }

    /// Where its services listen.
    pub(super) fn addresses(&self) -> Addresses {
        let of = |wanted: Service| {
            let found = self.serving.addresses().iter().find(|(service, _)| *service == wanted);
            found.map(|(_, address)| format!("http://{address}")).unwrap_or_default()
        };
        Addresses {
            product: of(Service::Product),
            order: of(Service::Order),
            payment: of(Service::Payment),
            ..Addresses::default()
        }
    }

    /// Where it speaks the native protocol: `host:port`.
    pub(super) fn native_address(&self) -> Option<String> {
        self.serving.native_address().map(|address| address.to_string())
    }

    /// The same over QUIC.
    pub(super) fn native_quic_address(&self) -> Option<String> {
        self.serving.native_quic_address().map(|address| address.to_string())
    }

    /// The certificate by which it is believed there.
    pub(super) fn certificate(&self) -> Option<PathBuf> {
        self.serving.certificate().map(|certificate| certificate.path.clone())
    }

    /// What lets the audit read its events.
    pub(super) fn engine_token(&self) -> &EngineToken {
        &self.engine_token
    }

    /// What drives its shards.
    pub(super) fn host(&self) -> String {
        format!("{:?}", self.host).to_lowercase()
    }

    /// Where its rows are kept.
    pub(super) fn store(&self) -> String {
        format!("{:?}", self.store).to_lowercase()
    }

    /// Where its data stays, if it does.
    pub(super) fn kept(&self) -> Option<PathBuf> {
        self.temporary.is_none().then(|| self.data_dir.clone())
    }

    /// Ends it, then removes a temporary directory even after a failed end.
    pub(super) fn stop(self) -> Result<(), TargetError> {
        let stopped = self.serving.stop();
        drop(self.temporary);
        Ok(stopped.map_err(Box::new)?)
    }
}

/// The server's defaults, but for what the command line and this machine's free ports say.
fn config(options: &EmbeddedOptions) -> Result<Config, TargetError> {
    let flag = |name: &str| {
        Some(match name {
            // What is measured is the way of an order: what is not loaded is not served.
            "services" => "product,order,payment".into(),
            "product-port" | "order-port" | "payment-port" | "native-port" => "0".into(),
            "shards" => options.shards.to_string(),
            "gateway-faults" => match &options.gateway {
                GatewaySetup::Days(days) => days.faults(),
                GatewaySetup::Prompt | GatewaySetup::StandIn(_) => PROMPT.into(),
            },
            _ => return None,
        })
    };
    let resolved = Sources { flag: &flag, env: &|_| None, file: &|_| None }.resolve()?;
    let mut config = Config { host: options.host, store: options.store, ..resolved.config };
    if let GatewaySetup::StandIn(till) = &options.gateway {
        config.payment.stripe = Some(StripeOptions {
            base: till.base.clone(),
            key: Secret::new("sk_test_loadgen"),
            webhook_secret: Secret::new(till.webhook_secret),
            return_url: None,
            timeout: till.call_max,
        });
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use onrush_services::gateway::simulated::Faults;

    use crate::gateway::{GatewayDays, Spell};

    #[test]
    fn a_server_is_told_of_the_same_days_as_the_driver() {
        let days = GatewayDays {
            seed: 3,
            decline: 0.12,
            unknown: 0.02,
            p50_s: 0.3,
            p99_s: 3.0,
            brownout: Spell { at_s: 2.0, length_s: 2.0, share: 0.5 },
            outage: Spell { at_s: 5.0, length_s: 1.0, share: 1.0 },
        };
        let faults: Faults = days.faults().parse().unwrap();
        assert_eq!((faults.decline, faults.timeout, faults.dropped), (0.12, 0.01, 0.01));
        assert_eq!((faults.p50_ms, faults.p99_ms), (300.0, 3_000.0));
        assert_eq!((faults.brownout_at_ms, faults.brownout_ms), (2_000, 2_000));
        assert_eq!((faults.outage_at_ms, faults.outage_ms), (5_000, 1_000));
    }
}
