//! `onrush topic seek`

use std::io::{self, Write as _};

use clap::ArgMatches;
use onrush_grpc::log::v1::{ListTopicsRequest, SeekGroupRequest};

use super::when::When;
use super::{Client, Failure, refused};

pub(super) async fn run(mut client: Client, matches: &ArgMatches) -> Result<(), Failure> {
    let group = matches.get_one::<String>("group").cloned().unwrap_or_default();
    let topic = match matches.get_one::<String>("topic") {
        Some(topic) => topic.clone(),
        None => only_topic(&mut client, &group).await?,
    };
    let (to, shard) = match matches.get_one::<When>("to").cloned() {
        Some(When { place, shard }) => (Some(place), shard),
        None => (None, None),
    };
    let asked = SeekGroupRequest { group, topic, shard, to };
    let moved = client.seek_group(asked).await.map_err(|status| refused(&status))?.into_inner();
    let mut out = io::stdout();
    for position in &moved.positions {
        writeln!(out, "shard {:<4} goes on at {}", position.shard, position.lsn).map_err(Failure::world)?;
    }
    match moved.generation {
        0 => Ok(()),
        generation => writeln!(out, "generation {generation}").map_err(Failure::world),
    }
}

/// The topic of a group that reads one.
async fn only_topic(client: &mut Client, group: &str) -> Result<String, Failure> {
    let listed = client.list_topics(ListTopicsRequest::default()).await.map_err(|status| refused(&status))?;
    let topics = listed.into_inner().topics;
    let reads = topics.iter().filter(|topic| topic.groups.iter().any(|one| one.group == group));
    let names: Vec<&str> = reads.map(|topic| topic.topic.as_str()).collect();
    match names[..] {
        [only] => Ok(only.into()),
        [] => Err(Failure::world(format!("expected a group that reads a topic, found none called {group}"))),
        _ => Err(Failure::world(format!("topic: expected one of {}, found none", names.join(", ")))),
    }
}
