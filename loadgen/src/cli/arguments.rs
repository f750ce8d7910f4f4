//! Options that one scenario alone has, and those of `compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    Common, Scenario, TargetName, parse_factor, parse_seconds, parse_speed, parse_target, parse_usual,
};

/// Options of `replay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplayArgs {
    /// CSV with columns id, price_cents and, if wanted, name, category, brand (.csv or .csv.zst)
    #[arg(long, value_name = "FILE")]
    pub(crate) products: Option<PathBuf>,
    /// CSV with columns basket, user, product, qty, ts (unix seconds) (.csv or .csv.zst)
    #[arg(long, value_name = "FILE")]
    pub(crate) transactions: Option<PathBuf>,
    /// How many times faster than recorded [default: as fast as fits --duration]
    #[arg(long, value_name = "N", value_parser = parse_speed)]
    pub(crate) speed: Option<f64>,
    /// The UTC day to replay, YYYY-MM-DD [default: the busiest one]
    #[arg(long, value_name = "DATE", conflicts_with = "from")]
    pub(crate) day: Option<String>,
    /// Replay from this time on, unix seconds
    #[arg(long, value_name = "TS")]
    pub(crate) from: Option<i64>,
    /// How many recorded hours
    #[arg(long, value_name = "H", default_value_t = 24.0, value_parser = parse_seconds)]
    pub(crate) hours: f64,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `retries`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RetriesArgs {
    /// Clients wait the whole back-off before a retry, so that they come back in step
    #[arg(long)]
    pub(crate) no_jitter: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `overload`.
#[derive(Args, Clone, Debug)]
pub(crate) struct OverloadArgs {
    /// How many times the measured capacity is offered
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = parse_factor)]
    pub(crate) times: f64,
    /// Share of the measured capacity that is offered before and after
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = parse_usual)]
    pub(crate) usual: f64,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `neighbours`.
#[derive(Args, Clone, Debug)]
pub(crate) struct NeighboursArgs {
    /// Orders per second for the one SKU, in its phases [default: ten times --rate]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) hot_rate: Option<u32>,
    /// Phases, every other one with the one SKU
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub(crate) phases: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `payments`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PaymentsArgs {
    /// How long half of the gateway's calls get no answer, from a quarter of the run on
    #[arg(long, value_name = "SECS", default_value_t = 2.0, value_parser = parse_seconds)]
    pub(crate) brownout_s: f64,
    /// How long none does, from 60 % of the run on
    #[arg(long, value_name = "SECS", default_value_t = 1.0, value_parser = parse_seconds)]
    pub(crate) outage_s: f64,
    /// Median time of a call to the gateway in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) gateway_p50: u32,
    /// 99th percentile of it in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) gateway_p99: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `crash`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CrashArgs {
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) kills: u32,
    /// The server's binary [default: `onrush` beside this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) onrush: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What the buyers of `cluster` speak.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocols {
    /// The native protocol over TCP.
    Native,
    /// gRPC, call by call.
    Grpc,
    /// Half of the buyers each.
    Both,
}

/// What a process has of its own that was begun anew by itself.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Enclosed {
    /// Mounts.
    Mounts,
    /// Mounts and networks.
    Nets,
}

/// Options of `cluster`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// How often the node that leads is killed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) kills: u32,
    /// How often it stands still for two seconds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) pauses: u32,
    /// How often another node stands still for two seconds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) follower_pauses: u32,
    /// How often the office is handed over
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) transfers: u32,
    /// How often all nodes are restarted, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) rolls: u32,
    /// How often the leader is cut off from the others, how often nobody hears it, how often its wires flap, and how often
    /// all wires lose, double, delay and reorder; with --namespaces how often it is cut off from clients too
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) cuts: u32,
    /// How often connections of clients are cut in the middle of what they carry, split and held up, for two seconds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) tears: u32,
    /// How often another node is killed and a bit of its last entry flips
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) flips: u32,
    /// How often another node is killed and one of its files is damaged, by a bit anywhere or by its end: it comes up with
    /// the same rows, or refuses to start and is replaced
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=13))]
    pub(crate) damages: u32,
    /// How often the disk of the third node is full, by turns while it leads and while it follows; needs root or user
    /// namespaces
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) full: u32,
    /// How often each write to the disk of another node takes 100 ms longer, for two seconds; needs strace
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) slow: u32,
    /// How often another node loses its disk, and one with another number takes its place, empty
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=13))]
    pub(crate) replaces: u32,
    /// Where the data of empty nodes lies: a directory on another disk than the temporary one, if what the others feel is
    /// not to be that all share a disk
    #[arg(long, value_name = "DIR")]
    pub(crate) spare_dir: Option<PathBuf>,
    /// Each node in a network namespace of its own: the kernel cuts links. Needs root or user namespaces; without them
    /// relays do, as without this option
    #[arg(long)]
    pub(crate) namespaces: bool,
    /// What this process was begun anew in, by itself
    #[arg(long, hide = true, value_enum)]
    pub(crate) enclosed: Option<Enclosed>,
    /// Shards, all of which one node decides
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: u16,
    /// MiB of log after which a node takes a snapshot, behind which its log is let go of
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) snapshot_mib: u32,
    /// Measure what three nodes take instead, against one that stands alone, in so many rounds in turns
    #[arg(long, value_name = "ROUNDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) capacity: u32,
    /// Seconds that each of them is loaded for
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Buyers, each of which waits for its answer
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) buyers: u32,
    /// What they speak; with --capacity it is the native protocol
    #[arg(long, value_name = "PROTOCOLS", value_enum, default_value_t = Protocols::Both)]
    pub(crate) target: Protocols,
    /// Seed of the troubles and of the buyers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The server's binary [default: `onrush` beside this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) onrush: Option<PathBuf>,
    /// Writes the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// What is compared, the first one being what the others are held against; the scenario's own --target
    /// is not asked
    #[arg(
        long,
        value_name = "TARGETS",
        global = true,
        value_delimiter = ',',
        default_values = ["embedded", "tcp", "grpc"],
        value_parser = parse_target
    )]
    pub(crate) targets: Vec<TargetName>,
    /// Rounds: each target has one turn in each
    #[arg(long, value_name = "N", global = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}
