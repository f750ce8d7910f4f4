//! `onrush serve`: serves until SIGTERM or SIGINT.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use onrush_engine::EngineHandle;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::access::Access;
use crate::config::{Config, EnginePlace, Resolved, Service};
use crate::logging::Log;
use crate::serve::Serving;

/// How often it is looked whether a node is to begin anew.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(resolved: &Resolved) -> Result<(), Failure> {
    let Config { log_format, service_name, .. } = &resolved.config;
    let log = Log { format: *log_format, service: service_name.clone() };
    serve(resolved, &log).map_err(|failure| failure.told(&log))
}

fn serve(resolved: &Resolved, log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&resolved.config.log)
        .map_err(|error| Failure::world(format!("log: expected a filter, found: {error}")))?;
    log.start(filter);
    for warning in &resolved.warnings {
        log.warn(warning);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::world)?;
    // Before the engine opens: a signal during a long recovery must not be lost.
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        let of = |kind| signal(kind).map_err(Failure::world);
        (of(SignalKind::terminate())?, of(SignalKind::interrupt())?)
    };
    loop {
        let serving = Serving::start(&resolved.config).map_err(Failure::world)?;
        // A closed standard output is no reason to stop serving.
        let _ = io::stdout().write_all(banner(resolved, &serving).as_bytes());
        let engine = serving.engine();
        let ends = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                () = begins_anew(engine) => false,
            }
        });
        serving.stop().map_err(Failure::world)?;
        if ends {
            let _ = io::stdout().write_all(b"stopped\n");
            return Ok(());
        }
    }
}

/// Waits until a shard of this node has a snapshot of another one's to begin from.
async fn begins_anew(engine: Option<EngineHandle>) {
    let Some(engine) = engine else { return std::future::pending().await };
    while !engine.begins_anew() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn banner(resolved: &Resolved, serving: &Serving) -> String {
    let mut text = String::new();
    let _ = write!(text, "onrush {}: ", env!("CARGO_PKG_VERSION"));
    let _ = match (&resolved.config.engine, serving.engine()) {
        (EnginePlace::At(address, _), _) => writeln!(text, "engine at {address}"),
        (EnginePlace::Here(_), engine) => {
            let stats = engine.map(|engine| engine.stats()).unwrap_or_default();
            let dir = resolved.config.data_dir.display();
            writeln!(text, "data in {dir}, shards: {}, durable by {}", stats.shards, stats.durability)
        }
    };
    if resolved.config.serves(Service::Payment) {
        let _ = writeln!(text, "{}", serving.gateways().notice());
    }
    if let Some(desk) = serving.shipping() {
        let _ = writeln!(text, "{}", desk.carrier().notice());
    }
    if let Some(post) = serving.notification() {
        for notice in post.outlets().notices() {
            let _ = writeln!(text, "{notice}");
        }
    }
    let _ = writeln!(text, "{}", access(&resolved.config));
    let bearer = match resolved.config.access {
        Access::Open => "",
        Access::Required => "-H \"authorization: Bearer $TOKEN\" ",
    };
    for (service, address) in serving.addresses() {
        let _ = writeln!(text, "{:<8} {address}", service.name());
        for (body, call) in examples(*service) {
            let _ = match call.starts_with('/') {
                true => writeln!(text, "    curl --json '{body}' http://{address}{call}"),
                false => {
                    let service = service.grpc_name();
                    writeln!(text, "    curl --json '{body}' {bearer}http://{address}/{service}/{call}")
                }
            };
        }
    }
    if let Some(address) = serving.native_address() {
        let tls = if resolved.config.native.tls { " (TLS)" } else { "" };
        let _ = writeln!(text, "native   {address}{tls}");
    }
    if let Some(address) = serving.native_quic_address() {
        let _ = writeln!(text, "quic     {address}");
    }
    if let Some(certificate) = serving.certificate() {
        let _ = writeln!(text, "    {} sha256 {}", certificate.path.display(), certificate.fingerprint);
    }
    if let Some((_, address)) = serving.addresses().last() {
        let _ = writeln!(text, "grpc     grpcurl -plaintext {address} list");
    }
    if let Some((_, address)) = serving.addresses().last() {
        let _ = writeln!(text, "docs     http://{address}/docs");
    }
    if let Some((_, address)) = serving.addresses().first() {
        let _ = writeln!(text, "health   curl http://{address}/health");
    }
    text
}

/// Who may do what, in a line.
fn access(config: &Config) -> String {
    match config.access {
        Access::Open if config.listens_here() => {
            "access is open: without a token whoever is on this machine may do everything; ACCESS=required asks \
             for tokens"
                .into()
        }
        Access::Open => format!(
            "access is open: without a token whoever reaches {} may do everything; ACCESS=required asks for tokens",
            config.listen
        ),
        Access::Required => "access needs tokens: TOKEN is the access_token of /login; ADMIN_EMAIL and \
             ADMIN_PASSWORD make the first admin"
            .into(),
    }
}

/// Calls to paste, in the order in which a shop begins: `ID` is the `id` of the first answer, `ORDER` the `orderId` of
/// CreateOrder's. The README's are the same.
fn examples(service: Service) -> &'static [(&'static str, &'static str)] {
    match service {
        Service::Product => &[
            (r#"{"sku":"tea","name":"Tea","price":{"minorUnits":"499","currencyCode":"EUR"}}"#, "PutProduct"),
            (r#"{"sku":"tea","set":"10"}"#, "UpdateStock"),
        ],
        Service::Order => &[
            (r#"{"customerId":"ID","lines":[{"sku":"tea","quantity":"1"}]}"#, "CreateOrder"),
            (r#"{"orderId":"ORDER","paymentMethod":"pm_card"}"#, "ProcessPayment"),
        ],
        Service::Payment => &[(r#"{"customerId":"ID"}"#, "ListTransactions")],
        Service::User => &[
            (r#"{"email":"ada@example.com","password":"correct horse battery","name":"Ada"}"#, "/register"),
            (r#"{"email":"ada@example.com","password":"correct horse battery"}"#, "/login"),
        ],
        Service::Shipping => &[(r#"{"orderId":"ORDER"}"#, "ListShipments")],
        Service::Notification => &[(r#"{"orderId":"ORDER"}"#, "ListNotifications")],
        Service::Recommendation => &[(r#"{"customerId":"ID"}"#, "GetRecommendations")],
    }
}
