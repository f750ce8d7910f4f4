//! `onrush format`: a data directory for a node of a cluster.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use onrush_engine::Engine;
use onrush_engine::format::{ClusterFormat, ClusterKey};
use onrush_engine::replication::{Members, NodeId};

use super::Failure;

/// What stands for a key that is yet to be made.
const NEW: &str = "new";
/// Where the key may stand instead of among the arguments, which everybody on the machine can read.
const KEY_VARIABLE: &str = "CLUSTER_KEY";

pub(super) fn command() -> Command {
    Command::new("format").about("Makes a data directory for a node of a cluster").args([
        Arg::new("cluster").long("cluster").value_name("KEY").help(
            "The cluster's key, the same at all nodes: new makes one and prints it [environment CLUSTER_KEY]",
        ),
        Arg::new("node")
            .long("node")
            .value_name("N")
            .required(true)
            .value_parser(value_parser!(u64).range(1..))
            .help("This node's number: never given twice in a cluster"),
        Arg::new("founders")
            .long("founders")
            .value_name("N,N,..")
            .value_delimiter(',')
            .required(true)
            .value_parser(value_parser!(u64).range(1..))
            .help(
                "The nodes that found the cluster, the same at all of them; one that is added later is none",
            ),
        Arg::new("shards")
            .long("shards")
            .value_name("N")
            .default_value("1")
            .value_parser(value_parser!(u16).range(1..=256))
            .help("Shards of the cluster"),
        Arg::new("data-dir")
            .long("data-dir")
            .value_name("DIR")
            .help("Directory, empty or not there [environment DATA_DIR, default ./onrush-data]"),
    ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let given = matches.get_one::<String>("cluster").cloned().or_else(|| std::env::var(KEY_VARIABLE).ok());
    let (key, is_new) = match given.as_deref() {
        Some(NEW) => (ClusterKey::fresh().map_err(Failure::world)?, true),
        Some(text) => (text.parse().map_err(Failure::wrong)?, false),
        None => return Err(Failure::wrong("--cluster: expected a key, or new for a new one, found none")),
    };
    let founders = founders(matches)?;
    let node = NodeId(matches.get_one::<u64>("node").copied().unwrap_or_default());
    let shards = matches.get_one::<u16>("shards").copied().unwrap_or(1);
    let dir = matches.get_one::<String>("data-dir").cloned();
    let dir = dir.or_else(|| std::env::var("DATA_DIR").ok()).unwrap_or_else(|| "./onrush-data".into());
    let dir = PathBuf::from(dir);
    Engine::format_node(&dir, shards, ClusterFormat { node, founders, key }).map_err(Failure::world)?;
    let mut told = format!("{} formatted for {node}\n", dir.display());
    if is_new {
        told.push_str(&format!("cluster key {}\n", key.to_hex()));
    }
    io::stdout().write_all(told.as_bytes()).map_err(Failure::world)
}

/// Who founds the cluster. Named twice, one was likely to be another: founders have to be the same at all nodes.
fn founders(matches: &ArgMatches) -> Result<Members, Failure> {
    let given: Vec<u64> = matches.get_many::<u64>("founders").into_iter().flatten().copied().collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = given.iter().find(|node| !seen.insert(**node)) {
        return Err(Failure::wrong(format!("--founders: expected each node once, found {twice} twice")));
    }
    Members::of(given.into_iter().map(NodeId)).map_err(Failure::wrong)
}
