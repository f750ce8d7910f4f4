//! The settings: one row each, from which flags, variables, file keys and help are made.

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
}

/// Every setting.
pub const SETTINGS: [Setting; 17] = [
    Setting {
        name: "data-dir",
        env: "DATA_DIR",
        help: "Directory of everything durable",
        default: || "./onrush-data".into(),
    },
    Setting {
        name: "listen",
        env: "LISTEN_ADDR",
        help: "Address to listen on",
        default: || "127.0.0.1".into(),
    },
    Setting {
        name: "services",
        env: "SERVICES",
        help: "Services to serve, separated by commas",
        default: || "product,order,payment".into(),
    },
    Setting {
        name: "product-port",
        env: "PRODUCT_GRPC_PORT",
        help: "Port of the product service",
        default: || "50051".into(),
    },
    Setting {
        name: "order-port",
        env: "ORDER_GRPC_PORT",
        help: "Port of the order service",
        default: || "50052".into(),
    },
    Setting {
        name: "payment-port",
        env: "PAYMENT_GRPC_PORT",
        help: "Port of the payment service",
        default: || "50053".into(),
    },
    Setting {
        name: "shards",
        env: "SHARDS",
        help: "Shards of the data directory, 1 to 256, frozen when it is formatted; auto: as formatted",
        default: || "auto".into(),
    },
    Setting {
        name: "host",
        env: "ENGINE_HOST",
        help: "Who drives the shards: a thread each, inline the threads that call, or glommio (if built with it)",
        default: || "thread".into(),
    },
    Setting { name: "store", env: "STORE", help: "Row store: fjall or memory", default: || "fjall".into() },
    Setting {
        name: "hold-s",
        env: "HOLD_S",
        help: "Seconds an unpaid order holds its stock, where neither order nor SKU say",
        default: || "600".into(),
    },
    Setting {
        name: "clock-jump-max-s",
        env: "CLOCK_JUMP_MAX_S",
        help: "Seconds by which the wall clock may differ from the last record's time at start",
        default: || "2592000".into(),
    },
    Setting {
        name: "accept-clock",
        env: "ACCEPT_CLOCK",
        help: "Starts with the wall clock as it is, however far from the last record's time",
        default: || "false".into(),
    },
    Setting { name: "fronts", env: "FRONTS", help: "Front threads", default: || fronts().to_string() },
    Setting {
        name: "connections-max",
        env: "CONNECTIONS_MAX",
        help: "Most open connections",
        default: || "10000".into(),
    },
    Setting {
        name: "drain-s",
        env: "DRAIN_S",
        help: "Seconds that open calls may take after SIGTERM",
        default: || "10".into(),
    },
    Setting {
        name: "gateway-faults",
        env: "GATEWAY_FAULTS",
        help: "How the simulated gateway misbehaves, e.g. decline=0.1,timeout=0.02,p50_ms=50,p99_ms=500",
        default: String::new,
    },
    Setting {
        name: "log",
        env: "LOG",
        help: "Filter of the log on standard error, e.g. info or onrush_services=debug",
        default: || "warn".into(),
    },
];

/// Shards take one half of the cores, fronts the other.
fn fronts() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
