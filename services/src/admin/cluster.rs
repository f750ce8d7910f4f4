//! What is asked of a node about its cluster.

use std::sync::Arc;

use onrush_engine::replication::{Declined, Members, NodeId, RoleKind};
use onrush_engine::{EngineHandle, GroupError, GroupStatus};
use onrush_grpc::admin::v1::{
    ChangeMembersRequest, ClusterNode, FollowerProgress, GetClusterResponse, HandOverRequest,
    PlaceNodeRequest, ShardGroup,
};
use onrush_net::peer::RefusedBy;
use onrush_proto::frame::{ADDRESS_BYTES_MAX, NODES_MAX};
use onrush_proto::{Refusal, Request, ShardId};

use crate::backend::Backend;
use crate::cluster::{Node, Place};
use crate::documents;
use crate::field::{self, FieldError};
use crate::status::{Denial, Rejection};

use super::off_front;

/// The node and its engine.
pub(super) fn of(
    node: Option<&Arc<Node>>,
    backend: &Backend,
) -> Result<(Arc<Node>, EngineHandle), Rejection> {
    match (node, backend) {
        (Some(node), Backend::Local { engine, .. }) => Ok((Arc::clone(node), engine.clone())),
        _ => Err(rejected(&GroupError::Alone)),
    }
}

pub(super) fn seen(node: &Node, engine: &EngineHandle) -> Result<GetClusterResponse, Rejection> {
    let shards = (0..engine.slot_map().shards()).map(ShardId);
    let groups = shards.map(|shard| Ok(group(&engine.group(shard).map_err(|error| rejected(&error))?)));
    Ok(GetClusterResponse {
        node: node.number(),
        nodes: nodes(node),
        groups: groups.collect::<Result<_, Rejection>>()?,
    })
}

fn nodes(node: &Node) -> Vec<ClusterNode> {
    let status = node.peers().unwrap_or_default();
    let one = |(number, address): (&u64, &String)| {
        let peer = status.peers.get(number);
        let refused = peer.and_then(|peer| peer.refused.as_ref()).map(|refused| match refused.by {
            RefusedBy::Us => format!("refused here: {}", refused.refusal),
            RefusedBy::Them => format!("refused there: {}", refused.refusal),
        });
        ClusterNode {
            node: *number,
            address: address.clone(),
            advertised: node.advertised_by(*number),
            connected: *number == node.number() || peer.is_some_and(|peer| peer.connected),
            dropped: peer.map_or(0, |peer| peer.dropped.messages),
            refused: refused.unwrap_or_default(),
        }
    };
    node.addresses().iter().map(one).collect()
}

/// Puts on record where a node listens, or strikes it off.
pub(super) async fn place(
    node: &Node,
    engine: EngineHandle,
    backend: &Backend,
    asked: PlaceNodeRequest,
) -> Result<(), Rejection> {
    let PlaceNodeRequest { node: placed, address } = asked;
    if placed == 0 {
        return Err(FieldError::invalid("node", "the number of a node, from 1 on", "0").into());
    }
    let key = Place::key(placed)?;
    let record = async |place| {
        backend.accept(Request::unkeyed(documents::put(key, &place, None, None)?)).await.map(drop)
    };
    if address.is_empty() {
        if let Some(shard) = off_front(move || member_of(&engine, NodeId(placed))).await?? {
            let found = format!("{placed}, which is in the group of shard {shard}");
            return Err(FieldError::invalid("node", "one that is in no group", found).into());
        }
        return record(Place::struck_off()).await;
    }
    let place = Place::of(&address).ok_or_else(|| {
        let expected = format!("host:port, {ADDRESS_BYTES_MAX} bytes at most");
        FieldError::invalid("address", expected, field::shown(&address))
    })?;
    let others = node.addresses().keys().filter(|known| **known != placed).count();
    if others >= NODES_MAX {
        return Err(FieldError::invalid("node", format!("one of {NODES_MAX} at most"), "one more").into());
    }
    record(place).await
}

/// The first shard whose group a node is in.
fn member_of(engine: &EngineHandle, node: NodeId) -> Result<Option<u16>, Rejection> {
    for shard in (0..engine.slot_map().shards()).map(ShardId) {
        let members = engine.group(shard).map_err(|error| rejected(&error))?.members;
        if members.everyone().any(|member| member == node) {
            return Ok(Some(shard.0));
        }
    }
    Ok(None)
}

fn group(status: &GroupStatus) -> ShardGroup {
    let numbers = |nodes: &mut dyn Iterator<Item = NodeId>| nodes.map(|node| node.0).collect();
    let follower = |(node, matched, silent_us): &(NodeId, u64, u64)| FollowerProgress {
        node: node.0,
        matched: *matched,
        silent_us: *silent_us,
    };
    let role = match status.role {
        RoleKind::Follower => "follower",
        RoleKind::Candidate => "candidate",
        RoleKind::Leader => "leader",
    };
    ShardGroup {
        shard: status.shard.0.into(),
        role: role.into(),
        leader: status.leader.map_or(0, |leader| leader.0),
        in_office: status.in_office,
        term: status.term,
        last: status.last,
        committed: status.committed,
        applied: status.applied,
        voters: numbers(&mut status.members.voters()),
        outgoing: numbers(&mut status.members.outgoing()),
        learners: numbers(&mut status.members.learners()),
        followers: status.followers.iter().map(follower).collect(),
    }
}

pub(super) fn hand_over(engine: &EngineHandle, asked: &HandOverRequest) -> Result<(), Rejection> {
    engine.hand_over(shard(asked.shard)?, NodeId(asked.node)).map_err(|error| rejected(&error))
}

pub(super) fn change(engine: &EngineHandle, asked: ChangeMembersRequest) -> Result<(), Rejection> {
    let shard = shard(asked.shard)?;
    let members = engine.group(shard).map_err(|error| rejected(&error))?.members;
    let nodes = |nodes: Vec<u64>| nodes.into_iter().map(NodeId);
    let next = members.changing_to(nodes(asked.voters), nodes(asked.learners));
    let next: Members =
        next.map_err(|error| FieldError::invalid("voters", "nodes that can be a group", error.to_string()))?;
    engine.change_group(shard, next).map_err(|error| rejected(&error))
}

fn shard(number: u32) -> Result<ShardId, Rejection> {
    let shard = u16::try_from(number).map(ShardId);
    Ok(shard.map_err(|_| FieldError::invalid("shard", "a shard, 0 to 255", number.to_string()))?)
}

fn rejected(error: &GroupError) -> Rejection {
    match error {
        GroupError::Declined(Declined::NotLeader { leader }) => {
            Refusal::NotLeader { leader: leader.map_or(0, |leader| leader.0) }.into()
        }
        GroupError::Declined(declined) => Denial::new("GROUP_DECLINED", declined.to_string()).into(),
        GroupError::Alone => Denial::new("NO_CLUSTER", error.to_string()).into(),
        GroupError::NoShard { shards, found } => {
            FieldError::invalid("shard", format!("a shard below {shards}"), found.to_string()).into()
        }
        GroupError::Stopped => Refusal::Stopped.into(),
    }
}
