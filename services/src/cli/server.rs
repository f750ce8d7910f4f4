//! The running shop that a command speaks to.

use clap::{Arg, ArgMatches};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::Failure;

/// Where a shop is that says nothing else.
const SERVER: &str = "http://127.0.0.1:50051";

/// A connection to a server.
pub(super) type Server = InterceptedService<Channel, Bearer>;

/// Puts the access token into each call, if there is one.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Where it is.
pub(super) fn argument() -> Arg {
    Arg::new("server")
        .long("server")
        .value_name("URL")
        .global(true)
        .help("A port of the shop [environment ONRUSH_SERVER, default http://127.0.0.1:50051]")
}

fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(super) async fn connect(matches: &ArgMatches) -> Result<Server, Failure> {
    let server = matches.get_one::<String>("server").cloned().or_else(|| said("ONRUSH_SERVER"));
    connect_to(&server.unwrap_or_else(|| SERVER.into())).await
}

/// Connects to a URL.
pub(super) async fn connect_to(server: &str) -> Result<Server, Failure> {
    let endpoint = Endpoint::from_shared(server.to_owned());
    let endpoint = endpoint
        .map_err(|error| Failure::world(format!("server: expected a URL, found {server}: {error}")))?;
    let channel = endpoint.connect().await;
    let channel = channel
        .map_err(|error| Failure::world(format!("expected a shop at {server}, found {}", whole(&error))))?;
    let token = said("ONRUSH_TOKEN").map(|token| format!("Bearer {token}").parse());
    let token = token
        .transpose()
        .map_err(|_| Failure::world("ONRUSH_TOKEN: expected an access token, found none"))?;
    Ok(InterceptedService::new(channel, Bearer(token)))
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
pub(super) fn refused(status: &Status) -> Failure {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| format!("{}: ", info.reason)).unwrap_or_default();
    Failure::world(format!("{reason}{}", status.message()))
}
