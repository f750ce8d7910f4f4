//! Topics, who reads them, and how far they are.

use std::collections::BTreeMap;

use onrush_grpc::log::v1::{Group, GroupPosition, ListTopicsResponse, Shard, Topic as Message};
use onrush_proto::{GroupStanding, RecordKind, Refusal, ShardId, Text, Topic};

use super::Stream;
use super::message::words;
use crate::status::Rejection;

/// All that there is of these topics.
pub(super) async fn list(stream: &Stream, topics: &[Topic]) -> Result<ListTopicsResponse, Rejection> {
    let (mut shards, mut groups) = (Vec::new(), BTreeMap::<_, Vec<(ShardId, GroupStanding)>>::new());
    for shard in stream.positions.shards() {
        let (first, end) = (stream.positions.first(shard)?.0, stream.positions.end(shard).0);
        shards.push(Shard { shard: shard.0.into(), first, end });
        let standings = match stream.positions.all(shard).await {
            // What it has can be read, and how its groups stand nobody can say.
            Err(Rejection::Refused(Refusal::Stopped)) => Vec::new(),
            standings => standings?,
        };
        for standing in standings {
            groups.entry((standing.topic, standing.group)).or_default().push((shard, standing));
        }
    }
    let topics = topics.iter().map(|topic| {
        let own = groups.range((*topic as u8, Text::EMPTY)..).take_while(|((of, _), _)| *of == *topic as u8);
        Message {
            topic: topic.name().into(),
            kinds: RecordKind::ALL.into_iter().filter(|kind| kind.is_in(*topic)).map(words).collect(),
            groups: own
                .map(|((_, name), standings)| group(stream, (*name, *topic), &shards, standings))
                .collect(),
        }
    });
    let topics = topics.collect();
    Ok(ListTopicsResponse { shards, topics })
}

fn group(
    stream: &Stream,
    key: (Text<47>, Topic),
    shards: &[Shard],
    standings: &[(ShardId, GroupStanding)],
) -> Group {
    let positions = standings.iter().map(|(shard, standing)| {
        let lsn = standing.lsn.unwrap_or(0);
        // Who committed past an event that was rejected is done with it.
        let tried = standing.tried > lsn;
        let end = shards.get(usize::from(shard.0)).map_or(lsn, |shard| shard.end);
        GroupPosition {
            shard: shard.0.into(),
            lsn,
            lag: end.saturating_sub(lsn),
            rejected: if tried { standing.tried } else { 0 },
            tries: if tried { standing.tries.into() } else { 0 },
        }
    });
    Group {
        group: key.0.to_string(),
        generation: standings.iter().map(|(_, standing)| standing.generation).max().unwrap_or(0),
        members: stream.groups.members(key).iter().map(ToString::to_string).collect(),
        positions: positions.collect(),
    }
}
