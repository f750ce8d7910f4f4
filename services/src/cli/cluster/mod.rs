//! `onrush cluster`: the nodes of a running cluster, and who leads.

mod change;
mod dev;
mod leader;
mod status;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::Failure;
use super::server;
use crate::cluster::Place;

const COMER: &str = "Formatted and started; where it listens for the others, unless it is among their peers";

/// A node that comes, and where it listens if the others are to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Comer {
    node: u64,
    address: Option<String>,
}

fn comer(text: &str) -> Result<Comer, String> {
    let (node, address) = match text.split_once('=') {
        Some((node, address)) => (node, Some(address)),
        None => (text, None),
    };
    let node = node.parse().ok().filter(|node| *node > 0);
    let node = node.ok_or_else(|| "expected the number of a node, from 1 on".to_owned())?;
    if let Some(wrong) = address.filter(|address| Place::of(address).is_none()) {
        return Err(format!("expected host:port behind the number, found {wrong:?}"));
    }
    Ok(Comer { node, address: address.map(str::to_owned) })
}

pub(super) fn command() -> Command {
    let node = |name: &'static str| {
        Arg::new(name).value_name("NODE").required(true).value_parser(value_parser!(u64).range(1..))
    };
    let comer =
        |name: &'static str| Arg::new(name).value_name("NODE[=HOST:PORT]").required(true).value_parser(comer);
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
                .arg(comer("node").help(COMER)),
        )
        .subcommand(
            Command::new("remove").about("Takes a node's vote; it may be stopped then").arg(node("node")),
        )
        .subcommand(
            Command::new("replace")
                .about("One node for another, in one change of the votes")
                .args([node("node").help("The node that goes"), comer("by").help(COMER)]),
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
    let comes = |matches: &ArgMatches, name| matches.get_one::<Comer>(name).cloned();
    runtime.block_on(async {
        match matches.subcommand() {
            Some(("transfer", matches)) => change::transfer(matches, node(matches, "to")).await,
            Some(("add", matches)) => change::change(matches, None, comes(matches, "node")).await,
            Some(("remove", matches)) => change::change(matches, Some(node(matches, "node")), None).await,
            Some(("replace", matches)) => {
                change::change(matches, Some(node(matches, "node")), comes(matches, "by")).await
            }
            Some((_, matches)) => status::run(matches).await,
            None => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_is_a_number_and_perhaps_where_it_listens() {
        let read = |text| comer(text).map(|Comer { node, address }| (node, address));
        assert_eq!(read("4"), Ok((4, None)));
        assert_eq!(read("4=10.0.0.4:7200"), Ok((4, Some("10.0.0.4:7200".into()))));
        for bad in ["", "0", "four", "4=", "4=host", "4=host:0", "=host:1"] {
            assert!(read(bad).is_err_and(|error| error.starts_with("expected ")), "{bad:?}");
        }
    }
}
