//! `onrush topic ls`

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::ArgMatches;
use onrush_grpc::log::v1::{ListTopicsRequest, ListTopicsResponse};

use super::{Client, Failure, refused};

pub(super) async fn run(mut client: Client, matches: &ArgMatches) -> Result<(), Failure> {
    let topic = matches.get_one::<String>("topic").cloned().unwrap_or_default();
    let listed = client.list_topics(ListTopicsRequest { topic }).await.map_err(|status| refused(&status))?;
    io::stdout().write_all(shown(listed.get_ref()).as_bytes()).map_err(Failure::world)
}

fn shown(listed: &ListTopicsResponse) -> String {
    let mut text = String::new();
    for shard in &listed.shards {
        let _ = writeln!(text, "shard {:<4} records {} to {}", shard.shard, shard.first, shard.end);
    }
    for topic in &listed.topics {
        let _ = writeln!(text, "{:<22} {}", topic.topic, topic.kinds.join(", "));
        for group in &topic.groups {
            let members = match &group.members[..] {
                [] => "no members".into(),
                members => members.join(", "),
            };
            let _ = writeln!(text, "  group {:<14} generation {}, {members}", group.group, group.generation);
            for position in &group.positions {
                let rejected = match position.rejected {
                    0 => String::new(),
                    lsn => format!(", event {lsn} rejected {} times", position.tries),
                };
                let _ = writeln!(
                    text,
                    "    shard {:<4} done up to {}, {} behind{rejected}",
                    position.shard, position.lsn, position.lag
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use onrush_grpc::log::v1::{Group, GroupPosition, Shard, Topic};

    use super::*;

    #[test]
    fn topics_are_told_with_groups_and_how_far_they_are() {
        let position = GroupPosition { shard: 0, lsn: 7, lag: 3, rejected: 8, tries: 2 };
        let group = Group {
            group: "books".into(),
            generation: 4,
            members: vec!["a".into()],
            positions: vec![position],
        };
        let listed = ListTopicsResponse {
            shards: vec![Shard { shard: 0, first: 1, end: 10 }],
            topics: vec![Topic {
                topic: "order.created".into(),
                kinds: vec!["order created".into()],
                groups: vec![group],
            }],
        };
        let expected = "shard 0    records 1 to 10\n\
                        order.created          order created\n  \
                        group books          generation 4, a\n    \
                        shard 0    done up to 7, 3 behind, event 8 rejected 2 times\n";
        assert_eq!(shown(&listed), expected);
    }
}
