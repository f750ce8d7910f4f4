//! `onrush topic`: what happened in a running shop, who reads it, and how far they are.

mod list;
mod seek;
mod tail;
mod when;

use clap::{Arg, ArgMatches, Command, value_parser};
use onrush_grpc::log::v1::log_service_client::LogServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::Failure;

/// Where a shop is that says nothing else.
const SERVER: &str = "http://127.0.0.1:50051";

/// Speaks to a server.
type Client = LogServiceClient<InterceptedService<Channel, Bearer>>;

/// Puts the access token into each call, if there is one.
#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

pub(super) fn command() -> Command {
    let server = Arg::new("server")
        .long("server")
        .value_name("URL")
        .global(true)
        .help("A port of the shop [environment ONRUSH_SERVER, default http://127.0.0.1:50051]");
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
        .arg(server)
        .subcommand(ls)
        .subcommand(tail)
        .subcommand(seek)
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::world)?;
    runtime.block_on(async {
        let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
        let client = connect(matches).await?;
        match name {
            "ls" => list::run(client, matches).await,
            "tail" => tail::run(client, matches).await,
            _ => seek::run(client, matches).await,
        }
    })
}

async fn connect(matches: &ArgMatches) -> Result<Client, Failure> {
    let said = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let server = matches.get_one::<String>("server").cloned().or_else(|| said("ONRUSH_SERVER"));
    let server = server.unwrap_or_else(|| SERVER.into());
    let endpoint = Endpoint::from_shared(server.clone());
    let endpoint = endpoint
        .map_err(|error| Failure::world(format!("server: expected a URL, found {server}: {error}")))?;
    let channel = endpoint.connect().await;
    let channel = channel
        .map_err(|error| Failure::world(format!("expected a shop at {server}, found {}", whole(&error))))?;
    let token = said("ONRUSH_TOKEN").map(|token| format!("Bearer {token}").parse());
    let token = token
        .transpose()
        .map_err(|_| Failure::world("ONRUSH_TOKEN: expected an access token, found none"))?;
    Ok(LogServiceClient::with_interceptor(channel, Bearer(token)))
}

/// An error with what caused it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// What the server said, by its reason.
fn refused(status: &Status) -> Failure {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| format!("{}: ", info.reason)).unwrap_or_default();
    Failure::world(format!("{reason}{}", status.message()))
}
