//! What a process is told: flag over environment over file over default, each value with where it
//! came from.

mod access;
pub(crate) mod cluster;
mod engine;
mod events;
mod file;
pub(crate) mod native;
mod notification;
mod oidc;
mod payment;
mod port;
mod recommendation;
mod replaced;
mod secret;
mod setting;
mod shipping;
mod smtp;
mod tokens;
mod traces;
mod twilio;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use onrush_engine::{ClockOptions, EngineOptions, FlushOptions, HostKind, StoreKind};

use crate::access::Access;
use crate::gateway::GatewayOptions;
use crate::gateway::simulated::Faults;
use crate::logging::LogFormat;
use crate::notification::PostOptions;
use crate::notification::push::Reach;
use crate::notification::twilio::TwilioOptions;
use crate::recommendation::ModelFile;
use crate::traces::Collector;

pub use cluster::{ClusterConfig, PeerFiles};
pub use engine::EnginePlace;
pub use events::EventsConfig;
pub use file::read_file;
pub use native::{CertificateFiles, NativeConfig};
pub use oidc::OidcOptions;
pub use secret::{MASK, Secret};
pub use setting::{SETTINGS, Setting};
pub use shipping::ShippingConfig;
pub use smtp::{SmtpOptions, SmtpTls};
pub use tokens::{FirstAdmin, Tokens};

/// A service with a port of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Service {
    /// `onrush.product.v1.ProductService`
    Product,
    /// `onrush.order.v1.OrderService`
    Order,
    /// `onrush.payment.v1.PaymentService`
    Payment,
    /// HTTP and `onrush.user.v1.UserService`
    User,
    /// `onrush.shipping.v1.ShippingService`
    Shipping,
    /// `onrush.notification.v1.NotificationService`
    Notification,
    /// `onrush.recommendation.v1.RecommendationService`
    Recommendation,
}

impl Service {
    /// All services.
    pub const ALL: [Self; 7] = [
        Self::Product,
        Self::Order,
        Self::Payment,
        Self::User,
        Self::Shipping,
        Self::Notification,
        Self::Recommendation,
    ];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Order => "order",
            Self::Payment => "payment",
            Self::User => "user",
            Self::Shipping => "shipping",
            Self::Notification => "notification",
            Self::Recommendation => "recommendation",
        }
    }

    /// The name in gRPC.
    pub fn grpc_name(self) -> &'static str {
        match self {
            Self::Product => "onrush.product.v1.ProductService",
            Self::Order => "onrush.order.v1.OrderService",
            Self::Payment => "onrush.payment.v1.PaymentService",
            Self::User => "onrush.user.v1.UserService",
            Self::Shipping => "onrush.shipping.v1.ShippingService",
            Self::Notification => "onrush.notification.v1.NotificationService",
            Self::Recommendation => "onrush.recommendation.v1.RecommendationService",
        }
    }

    /// The environment variable of its port.
    pub fn port_variable(self) -> &'static str {
        port::setting(self).env
    }
}

/// Where a value came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Env(&'static str),
    /// The file of `--config`.
    File,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::File => f.write_str("file"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting's value as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// Of which setting.
    pub name: &'static str,
    /// The value.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Value {
    /// What may be shown of it: nothing of a secret, and of a URL not who logs in there.
    pub fn shown(&self) -> Cow<'_, str> {
        let secret = SETTINGS.iter().any(|setting| setting.secret && setting.name == self.name);
        if secret && !self.text.is_empty() {
            return MASK.into();
        }
        match self.text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
            Some((scheme, (_, place))) => format!("{scheme}://{MASK}@{place}").into(),
            None => self.text.as_str().into(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?} ({})", self.name, self.shown(), self.origin)
    }
}

/// A configuration that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that does not parse.
    #[error("{name} (from {origin}): expected {expected}, found {found:?}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A file that cannot be read or does not parse.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// What a process is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// The address to listen on.
    pub listen: IpAddr,
    /// The services to serve, each with its port; port 0 takes a free one.
    pub services: Vec<(Service, u16)>,
    /// The native protocol, served where the engine is.
    pub native: NativeConfig,
    /// Where the engine is.
    pub engine: EnginePlace,
    /// The cluster that it is a node of.
    pub cluster: Option<ClusterConfig>,
    /// Shards of the data directory, frozen when it is formatted; `None`: as formatted.
    pub shards: Option<u16>,
    /// Who drives the shards.
    pub host: HostKind,
    /// What keeps the rows.
    pub store: StoreKind,
    /// Bytes of log after which a shard takes a snapshot.
    pub snapshot_bytes: u64,
    /// How long an unpaid order holds its stock, where neither order nor SKU say.
    pub hold: Duration,
    /// How far the wall clock may be from the last record's time at start.
    pub clock_jump_max: Duration,
    /// True to start with the wall clock as it is.
    pub accept_clock: bool,
    /// Front threads.
    pub fronts: usize,
    /// Most open connections of the process.
    pub connections_max: usize,
    /// How long open calls may take after SIGTERM.
    pub drain: Duration,
    /// How consumer groups are dealt with.
    pub events: EventsConfig,
    /// How the simulated gateway misbehaves.
    pub gateway_faults: Faults,
    /// Which real gateways there are; none = the simulated one.
    pub payment: GatewayOptions,
    /// How access tokens are signed.
    pub tokens: Tokens,
    /// Whether calls need tokens.
    pub access: Access,
    /// Whose account is made at start.
    pub first_admin: Option<FirstAdmin>,
    /// Whose users may log in besides our own.
    pub oidc: Option<OidcOptions>,
    /// What Shipping is told.
    pub shipping: ShippingConfig,
    /// The mail server, if there is one.
    pub smtp: Option<SmtpOptions>,
    /// Who sends text messages, if there are any.
    pub twilio: Option<TwilioOptions>,
    /// Where messages to browsers may go.
    pub push: Reach,
    /// What Notification is told.
    pub notification: PostOptions,
    /// The model that recommendations shall be ranked by.
    pub ml_model: Option<ModelFile>,
    /// Filter of the log on standard error.
    pub log: String,
    /// How its lines read.
    pub log_format: LogFormat,
    /// What the process is called there.
    pub service_name: String,
    /// Where spans go.
    pub collector: Option<Collector>,
}

/// A configuration, how it came about, and what was strange about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// Every value, in the order of [`SETTINGS`].
    pub values: Vec<Value>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// The places values come from, the strongest first.
pub struct Sources<'a> {
    /// Values of flags by setting.
    pub flag: &'a dyn Fn(&str) -> Option<String>,
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Values of the file by setting.
    pub file: &'a dyn Fn(&str) -> Option<String>,
}

impl Sources<'_> {
    /// Puts the configuration together.
    pub fn resolve(&self) -> Result<Resolved, ConfigError> {
        let mut values: Vec<Value> = SETTINGS.iter().map(|setting| self.value(setting, &[])).collect();
        let services: Vec<Service> = parse(
            find(&values, "services"),
            "product, order, payment, user, shipping, notification and recommendation, separated by commas",
            services,
        )?;
        if let [only] = services[..] {
            let setting = port::setting(only);
            let bare = self.value(setting, &port::bare(only));
            values
                .iter_mut()
                .filter(|value| value.name == setting.name)
                .for_each(|value| *value = bare.clone());
        }
        let mut warnings = port::warnings(&services, self.env);
        let config = Config::of(&values, &services)?;
        warnings.extend(engine::warnings(&values, &services));
        warnings.extend(access::warning(&config));
        warnings.extend(recommendation::warning(&config));
        warnings.extend(replaced::notices(self.env));
        Ok(Resolved { config, values, warnings })
    }

    fn value(&self, setting: &Setting, more_env: &[&'static str]) -> Value {
        let Setting { name, env, .. } = *setting;
        let value = |text: String, origin| Value { name, text, origin };
        if let Some(text) = (self.flag)(name) {
            return value(text, Origin::Flag);
        }
        for variable in std::iter::once(env).chain(more_env.iter().copied()) {
            // An empty variable is how many shells and composers say "not set".
            if let Some(text) = (self.env)(variable).filter(|text| !text.is_empty()) {
                return value(text, Origin::Env(variable));
            }
        }
        if let Some(text) = (self.file)(name) {
            return value(text, Origin::File);
        }
        value((setting.default)(), Origin::Default)
    }
}

impl Config {
    fn of(values: &[Value], services: &[Service]) -> Result<Self, ConfigError> {
        let at = |name| find(values, name);
        let mut ports = Vec::new();
        for service in services {
            let port = parse(at(port::setting(*service).name), "a port, 0 to 65535", plain::<u16>)?;
            ports.push((*service, port));
        }
        let bounded = |name, min, max| bounded(values, name, min, max);
        let faults = at("gateway-faults");
        let gateway_faults = faults.text.parse().map_err(|error| ConfigError::Value {
            name: faults.name,
            origin: faults.origin,
            expected: format!("faults such as decline=0.1,p50_ms=50 ({error})"),
            found: faults.text.clone(),
        })?;
        let listen = parse(at("listen"), "an IP address such as 127.0.0.1", plain)?;
        let tokens = tokens::tokens(values)?;
        let place = engine::place(values, services, &tokens)?;
        let host = parse(at("host"), "inline, thread or glommio", host)?;
        let access = access::of(at("access"), listen, &tokens)?;
        let cluster = cluster::of(values, &place, host)?;
        cluster::check_tokens(values, cluster.as_ref(), access, &tokens)?;
        Ok(Self {
            cluster,
            engine: place,
            data_dir: parse(at("data-dir"), "a directory", |text| (!text.is_empty()).then(|| text.into()))?,
            listen,
            services: ports,
            native: native::of(values)?,
            shards: parse(at("shards"), "auto or a whole number, 1 to 256", shards)?,
            host,
            store: parse(at("store"), "fjall or memory", store)?,
            snapshot_bytes: (bounded("snapshot-mib", 1, 1 << 20)? as u64) << 20,
            hold: Duration::from_secs(bounded("hold-s", 1, 31_536_000)? as u64),
            clock_jump_max: Duration::from_secs(bounded("clock-jump-max-s", 1, 3_153_600_000)? as u64),
            accept_clock: parse(at("accept-clock"), "true or false", plain)?,
            fronts: bounded("fronts", 1, 256)?,
            connections_max: bounded("connections-max", 1, 1_000_000)?,
            drain: Duration::from_secs(bounded("drain-s", 0, 3_600)? as u64),
            events: EventsConfig::of(values)?,
            gateway_faults,
            payment: payment::of(values)?,
            access,
            tokens,
            first_admin: tokens::first_admin(values)?,
            oidc: oidc::of(values)?,
            shipping: ShippingConfig::of(values)?,
            smtp: smtp::of(values)?,
            twilio: twilio::of(values)?,
            push: notification::push(values, listen)?,
            notification: notification::of(values)?,
            ml_model: recommendation::of(at("ml-model-path"))?,
            log: at("log").text.clone(),
            log_format: parse(at("log-format"), "text or ecs", log_format)?,
            service_name: at("service-name").text.clone(),
            collector: traces::of(values)?,
        })
    }

    /// The engine's part.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            data_dir: Some(self.data_dir.clone()),
            shards: self.shards,
            host: self.host,
            store: self.store,
            default_hold_us: self.hold.as_micros() as u64,
            flush: FlushOptions { snapshot_bytes: self.snapshot_bytes, ..FlushOptions::default() },
            clock: ClockOptions {
                jump_max_us: self.clock_jump_max.as_micros() as u64,
                accept_jump: self.accept_clock,
                ..ClockOptions::default()
            },
            ..EngineOptions::default()
        }
    }

    /// True if this process serves it.
    pub fn serves(&self, wanted: Service) -> bool {
        self.services.iter().any(|(service, _)| *service == wanted)
    }

    /// True if only callers on this machine reach it.
    pub fn listens_here(&self) -> bool {
        self.listen.to_canonical().is_loopback()
    }

    /// Where a service listens.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.listen, port)
    }
}

fn find<'a>(values: &'a [Value], name: &str) -> &'a Value {
    let found = values.iter().find(|value| value.name == name);
    found.unwrap_or_else(|| unreachable!("no setting is called {name}"))
}

fn bounded(values: &[Value], name: &str, min: usize, max: usize) -> Result<usize, ConfigError> {
    let range = move |text: &str| plain::<usize>(text).filter(|number| (min..=max).contains(number));
    parse(find(values, name), &format!("a whole number, {min} to {max}"), range)
}

fn parse<T>(value: &Value, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, ConfigError> {
    read(&value.text).ok_or_else(|| wrong(value, expected))
}

fn wrong(value: &Value, expected: impl Into<String>) -> ConfigError {
    let Value { name, origin, .. } = value;
    ConfigError::Value { name, origin: *origin, expected: expected.into(), found: value.shown().into() }
}

fn plain<T: FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

fn services(text: &str) -> Option<Vec<Service>> {
    let mut services = Vec::new();
    for name in text.split(',').map(str::trim) {
        let service = Service::ALL.into_iter().find(|service| service.name() == name)?;
        if !services.contains(&service) {
            services.push(service);
        }
    }
    Some(services)
}

/// `auto` leaves it to the data directory.
fn shards(text: &str) -> Option<Option<u16>> {
    match text {
        "auto" => Some(None),
        _ => plain(text).filter(|number| (1..=256).contains(number)).map(Some),
    }
}

fn host(text: &str) -> Option<HostKind> {
    match text {
        "inline" => Some(HostKind::Inline),
        "thread" => Some(HostKind::Thread),
        "glommio" => Some(HostKind::Glommio),
        _ => None,
    }
}

fn log_format(text: &str) -> Option<LogFormat> {
    LogFormat::ALL.into_iter().find(|format| format.name() == text)
}

fn store(text: &str) -> Option<StoreKind> {
    match text {
        "fjall" => Some(StoreKind::Fjall),
        "memory" => Some(StoreKind::Memory),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
