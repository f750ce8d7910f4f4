//! `onrush cluster`: the nodes of a running cluster, and who leads.

mod change;
mod dev;
mod leader;
mod status;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::Failure;
use super::server;

pub(super) fn command() -> Command {
    let node = |name: &'static str| {
        Arg::new(name).value_name("NODE").required(true).value_parser(value_parser!(u64).range(1..))
    };
    Command::new("cluster")
        .about("Looks at a cluster and changes it: asks a node on this machine")
        .subcommand_required(true)
        .arg(server::argument())
        .subcommand(Command::new("status").about("Nodes, and how far each shard's group is"))
        .subcommand(
            Command::new("transfer")
                .about("Has another node lead")
                .arg(node("to").help("The node that shall lead")),
        )
        .subcommand(
            Command::new("add")
                .about("Has a node follow, and gives it a vote when it has caught up")
                .arg(node("node").help("Formatted and started, and among the peers of all nodes")),
        )
        .subcommand(
            Command::new("remove").about("Takes a node's vote; it may be stopped then").arg(node("node")),
        )
        .subcommand(
            Command::new("replace")
                .about("One node for another, in one change of the votes")
                .args([node("node").help("The node that goes"), node("by").help("The node that comes")]),
        )
        .subcommand(dev::command())
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    if let Some(("dev", matches)) = matches.subcommand() {
        return dev::run(matches);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::world)?;
    let node = |matches: &ArgMatches, name| matches.get_one::<u64>(name).copied().unwrap_or_default();
    runtime.block_on(async {
        match matches.subcommand() {
            Some(("transfer", matches)) => change::transfer(matches, node(matches, "to")).await,
            Some(("add", matches)) => change::change(matches, None, Some(node(matches, "node"))).await,
            Some(("remove", matches)) => change::change(matches, Some(node(matches, "node")), None).await,
            Some(("replace", matches)) => {
                change::change(matches, Some(node(matches, "node")), Some(node(matches, "by"))).await
            }
            Some((_, matches)) => status::run(matches).await,
            None => Ok(()),
        }
    })
}
