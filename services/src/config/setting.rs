//! The settings: one row each, from which flags, variables, file keys and help are made.

use crate::notification::outlet::FROM_DEFAULT;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name: `--name` as a flag, with `_` for `-` in the file.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// What it does, for `--help`.
    pub help: &'static str,
    /// Its value if nobody says anything.
    pub default: fn() -> String,
    /// True if nobody may see its value. Then it is no flag, which everybody on the machine could read.
    pub secret: bool,
}

/// A setting whose value anybody may see.
const fn open(name: &'static str, env: &'static str, help: &'static str, default: fn() -> String) -> Setting {
    Setting { name, env, help, default, secret: false }
}

/// A secret; the setting of the same name with `-file` names a file that holds it.
const fn secret(name: &'static str, env: &'static str, help: &'static str) -> Setting {
    Setting { name, env, help, default: String::new, secret: true }
}

/// Every setting.
pub const SETTINGS: [Setting; 97] = [
    open("data-dir", "DATA_DIR", "Directory of everything durable", || "./onrush-data".into()),
    open("listen", "LISTEN_ADDR", "Address to listen on", || "127.0.0.1".into()),
    open("services", "SERVICES", "Services to serve, separated by commas", || {
        "product,order,payment,user,shipping,notification,recommendation".into()
    }),
    open("product-port", "PRODUCT_GRPC_PORT", "Port of the product service", || "50051".into()),
    open("order-port", "ORDER_GRPC_PORT", "Port of the order service", || "50052".into()),
    open("payment-port", "PAYMENT_GRPC_PORT", "Port of the payment service", || "50053".into()),
    open("user-port", "USER_PORT", "Port of the user service, HTTP and gRPC", || "8080".into()),
    open("shipping-port", "SHIPPING_PORT", "Port of the shipping service, HTTP and gRPC", || "8082".into()),
    open("notification-port", "NOTIFICATION_PORT", "Port of the notification service, HTTP and gRPC", || {
        "8083".into()
    }),
    open("recommendation-port", "RECOMMENDATION_GRPC_PORT", "Port of the recommendation service", || {
        "50054".into()
    }),
    open(
        "native-port",
        "NATIVE_PORT",
        "Port of the native protocol, served by a process with the engine; off for none",
        || "50060".into(),
    ),
    open(
        "native-tls",
        "NATIVE_TLS",
        "Whether that port speaks TLS, with the certificate of tls-cert or the server's own",
        || "false".into(),
    ),
    open(
        "native-quic-port",
        "NATIVE_QUIC_PORT",
        "Port of the native protocol over QUIC (UDP); auto: the number of native-port; off for none",
        || "auto".into(),
    ),
    open(
        "tls-cert",
        "TLS_CERT",
        "Certificate for QUIC and native-tls, with those that vouch for it (PEM); without it the server makes its own \
         in the data directory",
        String::new,
    ),
    open("tls-key", "TLS_KEY", "Key of that certificate (PEM)", String::new),
    open(
        "engine-addr",
        "ENGINE_ADDR",
        "host:port of a process with the engine; without it the engine is in this process",
        String::new,
    ),
    open(
        "product-service-addr",
        "PRODUCT_SERVICE_ADDR",
        "The same, for a process that serves no products, if there is no engine-addr",
        String::new,
    ),
    open(
        "payment-service-addr",
        "PAYMENT_SERVICE_ADDR",
        "The same, for a process that serves no payments, if there is neither",
        String::new,
    ),
    secret(
        "engine-token",
        "ENGINE_TOKEN",
        "What lets the shop's other processes at the engine, at least 32 bytes; without it a token made of jwt-secret does",
    ),
    open("engine-token-file", "ENGINE_TOKEN_FILE", "File that holds it", String::new),
    open(
        "shards",
        "SHARDS",
        "Shards of the data directory, 1 to 256, frozen when it is formatted; auto: as formatted",
        || "auto".into(),
    ),
    open(
        "host",
        "ENGINE_HOST",
        "Who drives the shards: a thread each, inline the threads that call, or glommio (if built with it)",
        || "thread".into(),
    ),
    open(
        "peers",
        "PEERS",
        "Where the nodes of the cluster reach each other, this one too, by UDP: 1=host:port,2=host:port,..; without it \
         the process is no node",
        String::new,
    ),
    open("node", "NODE", "Which node this is; auto: as the data directory was formatted", || "auto".into()),
    open(
        "peer-port",
        "PEER_PORT",
        "Port (UDP) for the other nodes; auto: that of its own entry in peers",
        || "auto".into(),
    ),
    open(
        "advertise",
        "ADVERTISE_HOST",
        "Host that clients are told of this node; without it that of its own entry in peers",
        String::new,
    ),
    open(
        "peer-cert",
        "PEER_CERT",
        "Certificate of this node for the others (PEM); without it nodes know each other by the cluster's key alone",
        String::new,
    ),
    open("peer-key", "PEER_KEY", "Key of that certificate (PEM)", String::new),
    open("peer-ca", "PEER_CA", "Certificates that vouch for the other nodes (PEM)", String::new),
    open(
        "election-ms",
        "ELECTION_MS",
        "Milliseconds without a sign of the leader after which a node asks for its office, up to as many again",
        || "300".into(),
    ),
    open("store", "STORE", "Row store: fjall or memory", || "fjall".into()),
    open(
        "snapshot-mib",
        "SNAPSHOT_MIB",
        "MiB of log after which a shard takes a snapshot; two are kept, and the log behind the older one",
        || "4096".into(),
    ),
    open(
        "hold-s",
        "HOLD_S",
        "Seconds an unpaid order holds its stock, where neither order nor SKU say",
        || "600".into(),
    ),
    open(
        "clock-jump-max-s",
        "CLOCK_JUMP_MAX_S",
        "Seconds by which the wall clock may differ from the last record's time at start",
        || "2592000".into(),
    ),
    open(
        "accept-clock",
        "ACCEPT_CLOCK",
        "Starts with the wall clock as it is, however far from the last record's time",
        || "false".into(),
    ),
    open("fronts", "FRONTS", "Front threads", || fronts().to_string()),
    open("connections-max", "CONNECTIONS_MAX", "Most open connections", || "10000".into()),
    open("drain-s", "DRAIN_S", "Seconds that open calls may take after SIGTERM", || "10".into()),
    open(
        "events-tries",
        "EVENTS_TRIES",
        "Tries of an event by a consumer group before it goes to dead.letters",
        || "5".into(),
    ),
    open(
        "events-pause-ms",
        "EVENTS_PAUSE_MS",
        "Milliseconds after the first try of an event; the pause doubles with each, up to a minute",
        || "500".into(),
    ),
    open(
        "events-lease-s",
        "EVENTS_LEASE_S",
        "Seconds after which a member of a consumer group that says nothing loses its shards",
        || "30".into(),
    ),
    open(
        "gateway-faults",
        "GATEWAY_FAULTS",
        "How the simulated gateway misbehaves, e.g. decline=0.1,timeout=0.02,p50_ms=50,p99_ms=500",
        String::new,
    ),
    secret("stripe-api-key", "STRIPE_API_KEY", "Secret key of Stripe; with it Stripe takes the money"),
    open("stripe-api-key-file", "STRIPE_API_KEY_FILE", "File that holds it", String::new),
    open("stripe-api-base", "STRIPE_API_BASE", "Where Stripe's API begins", || {
        "https://api.stripe.com".into()
    }),
    secret(
        "stripe-webhook-secret",
        "STRIPE_WEBHOOK_SECRET",
        "What signs Stripe's calls of /webhooks/stripe; without it they are not believed",
    ),
    open("stripe-webhook-secret-file", "STRIPE_WEBHOOK_SECRET_FILE", "File that holds it", String::new),
    secret("paypal-api-key", "PAYPAL_API_KEY", "client_id:secret of PayPal; with it PayPal takes the money"),
    open("paypal-api-key-file", "PAYPAL_API_KEY_FILE", "File that holds it", String::new),
    open("paypal-api-base", "PAYPAL_API_BASE", "Where PayPal's API begins", || {
        "https://api-m.paypal.com".into()
    }),
    open(
        "paypal-webhook-id",
        "PAYPAL_WEBHOOK_ID",
        "PayPal's name of the webhook that calls /webhooks/paypal; without it none is believed",
        String::new,
    ),
    open(
        "payment-routes",
        "PAYMENT_ROUTES",
        "Which gateways take which currency, e.g. JPY=stripe;*=paypal,stripe; without it each takes all",
        String::new,
    ),
    open(
        "payment-return-url",
        "PAYMENT_RETURN_URL",
        "Where buyers come back to from the gateway's page, with {order} for the order's id; without it nobody is sent there",
        String::new,
    ),
    open(
        "carrier-faults",
        "CARRIER_FAULTS",
        "How the simulated carrier behaves, e.g. timeout=0.02,exception=0.1,pickup_ms=1000,transit_ms=2000",
        String::new,
    ),
    open(
        "shipping-api-base",
        "SHIPPING_API_BASE",
        "Where the carrier's API begins, if there is a key for it",
        || "https://api.easypost.com".into(),
    ),
    secret(
        "shipping-api-key",
        "SHIPPING_API_KEY",
        "Key of the carrier's API; without it the carrier is simulated",
    ),
    open("shipping-api-key-file", "SHIPPING_API_KEY_FILE", "File that holds it", String::new),
    secret(
        "shipping-webhook-secret",
        "SHIPPING_WEBHOOK_SECRET",
        "What signs the carrier's pushes to /carrier/webhook; without it they are not believed",
    ),
    open("shipping-webhook-secret-file", "SHIPPING_WEBHOOK_SECRET_FILE", "File that holds it", String::new),
    open(
        "shipping-from",
        "SHIPPING_FROM",
        "Where parcels come from: name;street;city;state;postal code;country",
        String::new,
    ),
    open(
        "shipping-poll-s",
        "SHIPPING_POLL_S",
        "Seconds between two questions where a parcel is, if the carrier does not say",
        || "900".into(),
    ),
    open("unit-grams", "UNIT_GRAMS", "What a unit weighs, for the carrier's rates", || "500".into()),
    open(
        "smtp-host",
        "SMTP_HOST",
        "Mail server; without it mails are files in the data directory",
        String::new,
    ),
    open("smtp-port", "SMTP_PORT", "Port of the mail server", || "587".into()),
    open("smtp-user", "SMTP_USER", "Who logs in at the mail server, if somebody has to", String::new),
    secret("smtp-pass", "SMTP_PASS", "Password there"),
    open("smtp-pass-file", "SMTP_PASS_FILE", "File that holds it", String::new),
    open("smtp-tls", "SMTP_TLS", "How the way there is protected: starttls, tls or none", || {
        "starttls".into()
    }),
    open(
        "smtp-ca-file",
        "SMTP_CA_FILE",
        "Certificates in PEM that are believed there, besides the system's",
        String::new,
    ),
    open(
        "mail-from",
        "MAIL_FROM",
        "Who mails are from; with a mail server smtp-user if that is an address",
        || FROM_DEFAULT.into(),
    ),
    open("twilio-sid", "TWILIO_SID", "Account at Twilio; with it text messages are sent", String::new),
    secret(
        "twilio-token",
        "TWILIO_TOKEN",
        "Token of that account, which also signs Twilio's calls of /sms/status",
    ),
    open("twilio-token-file", "TWILIO_TOKEN_FILE", "File that holds it", String::new),
    open(
        "twilio-from",
        "TWILIO_FROM",
        "Who texts are from: a number such as +15005550006, a name, or a messaging service (MG..)",
        String::new,
    ),
    open("twilio-api-base", "TWILIO_API_BASE", "Where Twilio's API begins", || {
        "https://api.twilio.com".into()
    }),
    open(
        "push-reach",
        "PUSH_REACH",
        "Where messages to browsers may go: public addresses by https, or for tests also loopback",
        || "public".into(),
    ),
    open(
        "public-url",
        "PUBLIC_URL",
        "Where the shop is, for links in mails; without it they have none",
        String::new,
    ),
    open(
        "notification-tries",
        "NOTIFICATION_TRIES",
        "Tries before a letter that cannot be sent is dead",
        || "8".into(),
    ),
    open(
        "notification-pause-ms",
        "NOTIFICATION_PAUSE_MS",
        "Milliseconds after the first try of a letter; the pause grows fourfold, up to an hour",
        || "1000".into(),
    ),
    open(
        "ml-model-path",
        "ML_MODEL_PATH",
        "Model that ranks recommendations: an .onnx file, or an .h5 with the .onnx beside it; not run yet",
        String::new,
    ),
    open(
        "access",
        "ACCESS",
        "Whether calls need tokens: required, open (on this machine only), open-to-network, or auto: open while \
         listening on loopback without JWT_SECRET",
        || "auto".into(),
    ),
    secret(
        "jwt-secret",
        "JWT_SECRET",
        "Secret of at least 32 bytes that signs access tokens (HS256); without it a key pair in the data directory does (EdDSA)",
    ),
    open("jwt-secret-file", "JWT_SECRET_FILE", "File that holds it", String::new),
    open("jwt-issuer", "JWT_ISSUER", "Issuer of access tokens", || "onrush".into()),
    open("jwt-audience", "JWT_AUDIENCE", "Audience of access tokens", || "onrush".into()),
    open(
        "oidc-issuer",
        "OIDC_ISSUER",
        "Provider of OpenID Connect whose users may log in at /login/oidc; without it nobody else's may",
        String::new,
    ),
    open("oidc-client-id", "OIDC_CLIENT_ID", "Who the shop is there", String::new),
    secret("oidc-client-secret", "OIDC_CLIENT_SECRET", "Secret of the shop there, if it has one"),
    open("oidc-client-secret-file", "OIDC_CLIENT_SECRET_FILE", "File that holds it", String::new),
    open(
        "admin-email",
        "ADMIN_EMAIL",
        "Address of the first admin, whose account is made at start",
        String::new,
    ),
    secret("admin-password", "ADMIN_PASSWORD", "Password of the first admin"),
    open("admin-password-file", "ADMIN_PASSWORD_FILE", "File that holds it", String::new),
    open("log", "LOG", "Filter of the log on standard error, e.g. info or onrush_services=debug", || {
        "warn".into()
    }),
    open(
        "log-format",
        "LOG_FORMAT",
        "How the log reads: text, or ecs for a line of JSON in Elastic's Common Schema",
        || "text".into(),
    ),
    open(
        "service-name",
        "OTEL_SERVICE_NAME",
        "What the process is called in such a log, and in traces",
        || "onrush".into(),
    ),
    open(
        "otlp-endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "http://host:port of a collector that takes traces by OTLP over gRPC; without it none leave",
        String::new,
    ),
    open(
        "trace-ratio",
        "OTEL_TRACES_SAMPLER_ARG",
        "Share of the requests without a traceparent that begin a trace, 0 to 1; those with one decide themselves",
        || "0.01".into(),
    ),
];

/// Shards take one half of the cores, fronts the other.
fn fronts() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
