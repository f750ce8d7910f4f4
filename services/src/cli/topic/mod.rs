//! `onrush topic`: what happened in a running shop, who reads it, and how far they are.

mod list;
mod seek;
mod tail;
mod when;

use clap::{Arg, ArgMatches, Command, value_parser};
use onrush_grpc::log::v1::log_service_client::LogServiceClient;

use super::Failure;
use super::server::{self, Server, refused};

/// Speaks to a server.
type Client = LogServiceClient<Server>;

pub(super) fn command() -> Command {
    let ls = Command::new("ls")
        .about("Topics, their groups and how far each is")
        .arg(Arg::new("topic").value_name("TOPIC").help("Only this one"));
    let tail = Command::new("tail").about("Prints events as they are committed, a line of JSON each").args([
        Arg::new("topic").value_name("TOPIC").required(true).help("Such as order.created"),
        Arg::new("from")
            .long("from")
            .value_name("PLACE")
            .value_parser(when::parse)
            .help("beginning, end, a time such as 2026-11-27T08:00:00Z, or SHARD:LSN [default: end; of a group where it is]"),
        Arg::new("group")
            .long("group")
            .value_name("GROUP")
            .help("Reads as a member of this group, and moves it past what was printed"),
        Arg::new("count")
            .long("count")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help("Ends after so many events"),
    ]);
    let seek = Command::new("seek").about("Moves a group, forth or back").args([
        Arg::new("group").value_name("GROUP").required(true),
        Arg::new("topic").long("topic").value_name("TOPIC").help("Needed if the group reads several"),
        Arg::new("to").long("to").value_name("PLACE").required(true).value_parser(when::parse).help(
            "beginning, end, a time such as 2026-11-27T08:00:00Z, or SHARD:LSN for the event read next",
        ),
    ]);
    Command::new("topic")
        .about("Shows what happened in a running shop, and who reads it")
        .after_help("The environment variable ONRUSH_TOKEN holds the access token, where the shop wants one.")
        .subcommand_required(true)
        .arg(server::argument())
        .subcommand(ls)
        .subcommand(tail)
        .subcommand(seek)
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::world)?;
    runtime.block_on(async {
        let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
        let client = LogServiceClient::new(server::connect(matches).await?);
        match name {
            "ls" => list::run(client, matches).await,
            "tail" => tail::run(client, matches).await,
            _ => seek::run(client, matches).await,
        }
    })
}
