//! The command line.

mod arguments;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use onrush_engine::{HostKind, StoreKind};

use crate::machine;
pub(crate) use arguments::{
    ClusterArgs, CompareArgs, CrashArgs, Enclosed, NeighboursArgs, OverloadArgs, PaymentsArgs, Protocols,
    ReplayArgs, RetriesArgs,
};

/// Flash-sale traffic against Onrush, open loop, with an audit at the end. No real money moves.
#[derive(Parser, Debug)]
#[command(name = "loadgen", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What is done.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Action {
    #[command(flatten)]
    Run(Scenario),
    /// Run one scenario on several targets in turns, and hold their figures side by side.
    Compare(CompareArgs),
    /// Three real servers as nodes of a cluster, disturbed under load: killed, stopped, handed over, restarted.
    Cluster(ClusterArgs),
}

#[cfg(test)]
impl Cli {
    /// The scenario, alone or compared.
    pub(crate) fn scenario(&self) -> &Scenario {
        match &self.action {
            Action::Run(scenario) => scenario,
            Action::Compare(args) => &args.scenario,
            Action::Cluster(args) => panic!("expected a scenario, found {args:?}"),
        }
    }
}

const AFTER_HELP: &str = "Exit codes: 0 = the audit passed, 1 = the audit found broken rules, \
2 = bad arguments, bad input or a target that does not open.\n\n\
Examples:\n  loadgen flash-sale\n  loadgen flash-sale --rate 300000 --report sale.html --json sale.json\n  \
loadgen flash-sale --group 512 --pay-within 100 --hot-share 1\n  \
loadgen expiry --hold-s 2 --duration 10\n  loadgen flash-sale --target grpc --rate 5000\n  \
loadgen flash-sale --target tcp --group 512\n  \
loadgen compare flash-sale --targets embedded,tcp,grpc --rate 5000 --rounds 3\n  \
loadgen replay --products products.csv.zst --transactions transactions.csv.zst --day 2017-11-04";

/// What happens.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Scenario {
    /// A hundredfold step of demand at T0 on one hot SKU, then a slow decay.
    FlashSale(Common),
    /// Skewed baskets over a whole catalogue; the hot set moves.
    Catalogue(Common),
    /// Recorded baskets from CSV files, faster than they were.
    Replay(ReplayArgs),
    /// Impatient buyers: double sends, time-outs, retries, reused keys, lost answers.
    Retries(RetriesArgs),
    /// Most buyers never pay: holds expire and their units are sold again.
    Expiry(Common),
    /// A flash sale under several hundred reads per buy.
    Browse(Common),
    /// Hoarders: a third of the arrivals from a fiftieth of the identities, above their limits, with ever new keys.
    Bots(Common),
    /// Several times what the target can take, as measured in the same run, and how it comes back.
    Overload(OverloadArgs),
    /// One SKU takes all on one shard: what the buyers of the other shards feel. Needs two shards.
    Neighbours(NeighboursArgs),
    /// A gateway that declines, says nothing, browns out and goes away.
    Payments(PaymentsArgs),
    /// Three refunds of 40 % at once for each paid order: two go through, the third must not.
    Refunds(Common),
    /// Pushes of the gateway doubled, out of order, late, forged and stale, over HTTP to a whole server.
    Webhooks(Common),
    /// The real server as a process of its own, killed under load again and again.
    Crash(CrashArgs),
}

impl Scenario {
    /// The name on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::FlashSale(_) => "flash-sale",
            Self::Catalogue(_) => "catalogue",
            Self::Replay(_) => "replay",
            Self::Retries(_) => "retries",
            Self::Expiry(_) => "expiry",
            Self::Browse(_) => "browse",
            Self::Bots(_) => "bots",
            Self::Overload(_) => "overload",
            Self::Neighbours(_) => "neighbours",
            Self::Payments(_) => "payments",
            Self::Refunds(_) => "refunds",
            Self::Webhooks(_) => "webhooks",
            Self::Crash(_) => "crash",
        }
    }

    /// The options that all scenarios share.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::FlashSale(common)
            | Self::Catalogue(common)
            | Self::Expiry(common)
            | Self::Browse(common)
            | Self::Bots(common)
            | Self::Refunds(common)
            | Self::Webhooks(common) => common,
            Self::Replay(args) => &args.common,
            Self::Retries(args) => &args.common,
            Self::Overload(args) => &args.common,
            Self::Neighbours(args) => &args.common,
            Self::Payments(args) => &args.common,
            Self::Crash(args) => &args.common,
        }
    }

    /// What is loaded.
    pub(crate) fn target(&self) -> TargetName {
        let default = match self {
            Self::Webhooks(_) => TargetName::Grpc,
            Self::Crash(_) => TargetName::Tcp,
            _ => TargetName::Embedded,
        };
        self.common().target.clone().unwrap_or(default)
    }

    /// The same, to be changed.
    pub(crate) fn common_mut(&mut self) -> &mut Common {
        match self {
            Self::FlashSale(common)
            | Self::Catalogue(common)
            | Self::Expiry(common)
            | Self::Browse(common)
            | Self::Bots(common)
            | Self::Refunds(common)
            | Self::Webhooks(common) => common,
            Self::Replay(args) => &mut args.common,
            Self::Retries(args) => &mut args.common,
            Self::Overload(args) => &mut args.common,
            Self::Neighbours(args) => &mut args.common,
            Self::Payments(args) => &mut args.common,
            Self::Crash(args) => &mut args.common,
        }
    }
}

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// What is loaded: `embedded` (an engine in this process), `grpc`, `grpc-stream`, `tcp` or `quic` (a whole server in
    /// this process, over gRPC call by call, over a session, or over its native protocol) or the address of a running
    /// server: that of its order service, such as http://127.0.0.1:50052, or its native one, such as
    /// tcp://127.0.0.1:50060 or quic://127.0.0.1:50060 [default: embedded; webhooks: grpc; crash: tcp]
    #[arg(long, value_parser = parse_target)]
    pub(crate) target: Option<TargetName>,
    /// With tcp://host:port or quic://host:port: its order service, which answers for the audit [default: port 50052
    /// of the same host]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) order_target: Option<String>,
    /// With quic://host:port: a file with the server's certificate (PEM) [default: the system's authorities say]
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// With an address: its product service [default: port 50051 of the same host]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) product_target: Option<String>,
    /// With an address: its payment service [default: port 50053 of the same host]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) payment_target: Option<String>,
    /// Over gRPC: threads of the client
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) client_threads: u16,
    /// Connections: over gRPC per service and client thread, natively in all [default: 4 over gRPC, 1 natively]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) connections: Option<u16>,
    /// Most requests under way at a time; more wait at the client [default: 1024 over gRPC, with --group N: N;
    /// 65536 natively]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) in_flight: Option<u32>,
    /// Shards of the engine [default: 1; neighbours: 2]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Option<u16>,
    /// What drives the shards [default: thread, inline on one core]
    #[arg(long, value_enum)]
    pub(crate) host: Option<HostName>,
    /// Where rows are kept
    #[arg(long, value_enum, default_value_t = StoreName::Fjall)]
    pub(crate) store: StoreName,
    /// Length of the schedule in seconds [default: 10; expiry: four holds; overload, neighbours: 12; payments: 8]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds)]
    pub(crate) duration: Option<f64>,
    /// The same seed gives the same arrivals, baskets and habits
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Peak of offered orders per second [default: by scenario]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// Units of each hot item (catalogue, replay: of each item) [default: by scenario]
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=1_000_000_000_000))]
    pub(crate) stock: Option<i64>,
    /// Items in the catalogue [default: by scenario]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) skus: Option<u32>,
    /// Most units of a hot item per customer; 0 = no limit
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) limit: u32,
    /// Share of buys on the hot items
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub(crate) hot_share: Option<f64>,
    /// How long an unpaid order keeps its units, in seconds [default: 600; expiry: 30]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds)]
    pub(crate) hold_s: Option<f64>,
    /// Closed loop for capacity: groups of N orders are always under way (over gRPC: N orders in all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) group: Option<u32>,
    /// With --group: how many groups are under way
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=64), requires = "group")]
    pub(crate) groups: u32,
    /// With --group: pay each accepted order this many milliseconds later
    #[arg(long, value_name = "MS", requires = "group")]
    pub(crate) pay_within: Option<u64>,
    /// Where the engine keeps its data; must be empty [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Leave the temporary directory in place
    #[arg(long)]
    pub(crate) keep: bool,
    /// Write a self-contained HTML report
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write the figures for machines
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write percentile files for HdrHistogram tools
    #[arg(long, value_name = "DIR")]
    pub(crate) hgrm: Option<PathBuf>,
    /// No progress and no table; findings of a failed audit are still shown
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Common {
    /// Seconds of the schedule.
    pub(crate) fn duration_s(&self) -> f64 {
        self.duration.unwrap_or(10.0)
    }

    /// The engine's host: on one core a thread of its own would only cost hops.
    pub(crate) fn host(&self) -> HostKind {
        match self.host {
            Some(HostName::Inline) => HostKind::Inline,
            Some(HostName::Thread) => HostKind::Thread,
            Some(HostName::Glommio) => HostKind::Glommio,
            None if machine::cores() == 1 => HostKind::Inline,
            None => HostKind::Thread,
        }
    }

    /// The engine's store.
    pub(crate) fn store(&self) -> StoreKind {
        match self.store {
            StoreName::Fjall => StoreKind::Fjall,
            StoreName::Memory => StoreKind::Memory,
        }
    }
}

impl TargetName {
    /// As it stands on the command line.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Embedded => "embedded".into(),
            Self::Grpc => "grpc".into(),
            Self::GrpcStream => "grpc-stream".into(),
            Self::Tcp => "tcp".into(),
            Self::Quic => "quic".into(),
            Self::Address(address) => address.clone(),
            Self::TcpAddress(place) => format!("tcp://{place}"),
            Self::QuicAddress(place) => format!("quic://{place}"),
        }
    }

    /// True for what stands at an address: nobody but its owner chooses its gateway or its shards.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Address(_) | Self::TcpAddress(_) | Self::QuicAddress(_))
    }
}

/// What is loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TargetName {
    /// An engine in this process.
    Embedded,
    /// A server in this process.
    Grpc,
    /// A server in this process, by batches over a session of gRPC.
    GrpcStream,
    /// A running server: the address of its order service.
    Address(String),
    /// A server in this process, over its native protocol.
    Tcp,
    /// A running server: `host:port` of its native protocol.
    TcpAddress(String),
    /// A server in this process, over its native protocol by QUIC.
    Quic,
    /// A running server: `host:port` of its native protocol over QUIC.
    QuicAddress(String),
}

/// What drives the shards.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HostName {
    /// The generator's own thread.
    Inline,
    /// A thread per shard.
    Thread,
    /// An io_uring executor per core; needs a build with `--features glommio`.
    Glommio,
}

/// Where rows are kept.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreName {
    /// On disk.
    Fjall,
    /// In memory.
    Memory,
}

fn parse_target(text: &str) -> Result<TargetName, String> {
    match text {
        "embedded" => Ok(TargetName::Embedded),
        "grpc" => Ok(TargetName::Grpc),
        "grpc-stream" => Ok(TargetName::GrpcStream),
        "tcp" => Ok(TargetName::Tcp),
        "quic" => Ok(TargetName::Quic),
        other => {
            let expected = "expected embedded, grpc, grpc-stream, tcp, quic, http://host:port, tcp://host:port or quic://host:port";
            let native =
                |scheme| other.strip_prefix(scheme).filter(|place| is_place(place)).map(str::to_owned);
            native("tcp://")
                .map(TargetName::TcpAddress)
                .or_else(|| native("quic://").map(TargetName::QuicAddress))
                .or_else(|| parse_address(other).ok().map(TargetName::Address))
                .ok_or_else(|| format!("{expected}, found {other}"))
        }
    }
}

/// True for `host:port`, or several with commas between them.
fn is_place(text: &str) -> bool {
    let port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    text.split(',').all(|place| place.rsplit_once(':').is_some_and(port))
}

fn parse_address(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").filter(|rest| !rest.is_empty() && !rest.contains('/'));
    rest.map(|_| text.to_owned()).ok_or_else(|| format!("expected http://host:port, found {text}"))
}

fn parse_number(text: &str, expected: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && fits(*number));
    number.ok_or_else(|| format!("expected {expected}, found {text}"))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    parse_number(text, "a number from 0.1 to 86400", |number| (0.1..=86_400.0).contains(&number))
}

fn parse_share(text: &str) -> Result<f64, String> {
    parse_number(text, "a share from 0 to 1", |number| (0.0..=1.0).contains(&number))
}

fn parse_factor(text: &str) -> Result<f64, String> {
    parse_number(text, "a factor from 1.1 to 100", |number| (1.1..=100.0).contains(&number))
}

fn parse_usual(text: &str) -> Result<f64, String> {
    parse_number(text, "a share from 0.01 to 1", |number| (0.01..=1.0).contains(&number))
}

fn parse_speed(text: &str) -> Result<f64, String> {
    parse_number(text, "a factor above 0", |number| number > 0.0 && number <= 1e9)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_scenario_has_defaults() {
        let cli = Cli::try_parse_from(["loadgen", "flash-sale"]).unwrap();
        let common = cli.scenario().common();
        assert_eq!(
            (cli.scenario().name(), common.shards, common.seed, common.limit),
            ("flash-sale", None, 1, 2)
        );
        assert!((common.duration_s() - 10.0).abs() < f64::EPSILON);
    }

    #[test]
    fn wrong_values_name_what_was_expected() {
        for (args, expected) in [
            (vec!["flash-sale", "--duration", "0"], "expected a number from 0.1 to 86400, found 0"),
            (vec!["flash-sale", "--hot-share", "1.5"], "expected a share from 0 to 1, found 1.5"),
            (
                vec!["flash-sale", "--target", "mars"],
                "expected embedded, grpc, grpc-stream, tcp, quic, http://host:port, tcp://host:port or quic://host:port, found mars",
            ),
            (vec!["flash-sale", "--target", "tcp://mars"], "found tcp://mars"),
            (vec!["flash-sale", "--shards", "0"], "0 is not in 1..=256"),
            (vec!["flash-sale", "--pay-within", "5"], "--group"),
        ] {
            let error = Cli::try_parse_from([&["loadgen"], args.as_slice()].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
