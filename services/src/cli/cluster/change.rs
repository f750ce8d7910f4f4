//! `onrush cluster transfer`, `add`, `remove` and `replace`.

use std::io::{self, Write as _};

use clap::ArgMatches;
use onrush_grpc::admin::v1::{
    ChangeMembersRequest, GetClusterResponse, HandOverRequest, PlaceNodeRequest, ShardGroup,
};
use tonic_types::StatusExt as _;

use super::Comer;
use super::leader::{PAUSE, leading, look};
use crate::cli::Failure;
use crate::cli::server::refused;

/// The first shard: all are decided where this one is led (docs/replication.md).
const FIRST: u32 = 0;
/// Looks at a change before it is given up: a node that catches up may take its time.
const LOOKS_MAX: u32 = 12_000;
/// How often it is asked to put a node on record: the office may change meanwhile.
const PLACING_MAX: u32 = 200;
/// Looks at an office that is handed over.
const HANDING_OVER_MAX: u32 = 200;

fn tell(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::world)
}

/// Another node leads.
pub(super) async fn transfer(matches: &ArgMatches, to: u64) -> Result<(), Failure> {
    for asked in 0..HANDING_OVER_MAX {
        let (mut client, group) = leading(matches, FIRST).await?;
        if group.leader == to {
            return tell(&format!("node {to} leads in term {}\n", group.term));
        }
        if !group.voters.contains(&to) {
            return Err(Failure::wrong(format!(
                "node: expected one of the voters {:?}, found {to}",
                group.voters
            )));
        }
        // It may not be taken: then nobody else leads either, and it is asked again.
        if asked % 20 == 0 {
            let asked = client.hand_over(HandOverRequest { shard: FIRST, node: to }).await;
            if let Err(status) = asked.as_ref().map(drop).filter_declined() {
                return Err(refused(status));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::world(format!("expected node {to} to lead, found that it does not take the office")))
}

/// What is declined now may be done in a moment: another change is under way, or the office was lost.
trait FilterDeclined {
    fn filter_declined(self) -> Self;
}

impl FilterDeclined for Result<(), &tonic::Status> {
    fn filter_declined(self) -> Self {
        self.or_else(|status| {
            let details = status.get_error_details();
            let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
            if ["GROUP_DECLINED", "NOT_LEADER"].contains(&reason.as_str()) { Ok(()) } else { Err(status) }
        })
    }
}

/// One node goes, or one comes, or both, in the groups of all shards, one after the other: who comes follows first.
pub(super) async fn change(
    matches: &ArgMatches,
    gone: Option<u64>,
    come: Option<Comer>,
) -> Result<(), Failure> {
    let cluster = look(&mut leading(matches, FIRST).await?.0).await?;
    check(&cluster, gone, come.as_ref())?;
    if let Some(Comer { node, address: Some(address) }) = &come {
        place(matches, *node, address).await?;
    }
    let come = come.map(|comer| comer.node);
    for shard in cluster.groups.iter().map(|group| group.shard) {
        change_group(matches, shard, (gone, come)).await?;
    }
    match gone {
        // Where it was is nobody's affair any more.
        Some(gone) => place(matches, gone, "").await,
        None => Ok(()),
    }
}

/// Refuses what was certainly not meant, before anything is changed. `cluster` is as the node sees it that leads.
fn check(cluster: &GetClusterResponse, gone: Option<u64>, come: Option<&Comer>) -> Result<(), Failure> {
    if let Some(comer) = come {
        check_comer(cluster, comer)?;
    }
    let Some(gone) = gone else { return Ok(()) };
    if come.is_some_and(|comer| comer.node == gone) {
        return Err(Failure::wrong(format!(
            "by: expected another node than the one that goes, found {gone}"
        )));
    }
    let has_it = |group: &ShardGroup| {
        [&group.voters, &group.outgoing, &group.learners].iter().any(|nodes| nodes.contains(&gone))
    };
    let is_known = cluster.nodes.iter().any(|known| known.node == gone) || cluster.groups.iter().any(has_it);
    // A replacement that is given again may have been all done: then nobody knows any more who is gone.
    let has_come =
        come.is_some_and(|comer| cluster.groups.iter().all(|group| group.voters.contains(&comer.node)));
    if is_known || has_come {
        return Ok(());
    }
    let known: Vec<u64> = cluster.nodes.iter().map(|known| known.node).collect();
    Err(Failure::wrong(format!("node: expected one of the nodes {known:?}, found {gone}")))
}

/// A number is never given twice: a second process under it would not know what the first one promised.
fn check_comer(cluster: &GetClusterResponse, comer: &Comer) -> Result<(), Failure> {
    let node = comer.node;
    match (cluster.nodes.iter().find(|known| known.node == node), &comer.address) {
        (None, None) => Err(Failure::wrong(format!(
            "node: expected one among the peers of the nodes, or {node}=HOST:PORT, found {node}"
        ))),
        (Some(known), Some(address)) if known.connected && known.address != *address => {
            Err(Failure::wrong(format!(
                "node: expected a number that is free, or that of a node that was stopped to move to {address}, \
                 found {node}, which is connected at {}",
                known.address
            )))
        }
        _ => Ok(()),
    }
}

/// Puts on record where a node listens; without an address, strikes it off.
async fn place(matches: &ArgMatches, node: u64, address: &str) -> Result<(), Failure> {
    for _ in 0..PLACING_MAX {
        let (mut client, _) = leading(matches, FIRST).await?;
        let asked = client.place_node(PlaceNodeRequest { node, address: address.to_owned() }).await;
        match asked.as_ref().map(drop) {
            Ok(()) => return Ok(()),
            asked => asked.filter_declined().map_err(refused)?,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::world(format!("expected node {node} on record, found nobody who decides")))
}

async fn change_group(
    matches: &ArgMatches,
    shard: u32,
    (gone, come): (Option<u64>, Option<u64>),
) -> Result<(), Failure> {
    let mut told = String::new();
    for _ in 0..LOOKS_MAX {
        let (mut client, group) = leading(matches, shard).await?;
        let Some(next) = step(&group, gone, come) else {
            return tell(&format!("voters of shard {shard}: {}\n", list(&group.voters)));
        };
        let stage = match (come, group.learners.is_empty()) {
            (Some(node), _) if !group.voters.contains(&node) && group.learners.contains(&node) => {
                format!("node {node} catches up in shard {shard}\n")
            }
            _ => String::new(),
        };
        if stage != told {
            tell(&stage)?;
            told = stage;
        }
        if group.outgoing.is_empty() {
            let asked = client.change_members(next).await;
            if let Err(status) = asked.as_ref().map(drop).filter_declined() {
                return Err(refused(status));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::world(
        "expected the change of the group to end, found it under way: a node may be unreachable",
    ))
}

/// What is to be asked next; `None` if it is as it shall be.
fn step(group: &ShardGroup, gone: Option<u64>, come: Option<u64>) -> Option<ChangeMembersRequest> {
    let mut voters: Vec<u64> = group.voters.iter().copied().filter(|node| Some(*node) != gone).collect();
    let mut learners: Vec<u64> = group.learners.iter().copied().filter(|node| Some(*node) != gone).collect();
    if let Some(node) = come.filter(|node| !voters.contains(node)) {
        if group.learners.contains(&node) {
            // It is declined until it has caught up.
            learners.retain(|learner| *learner != node);
            voters.push(node);
            voters.sort_unstable();
        } else {
            // Nobody loses a vote before the other one has it.
            voters.clone_from(&group.voters);
            learners.push(node);
            learners.sort_unstable();
        }
    }
    let there = voters == group.voters && learners == group.learners && group.outgoing.is_empty();
    (!there).then_some(ChangeMembersRequest { shard: group.shard, voters, learners })
}

fn list(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use onrush_grpc::admin::v1::ClusterNode;

    use super::*;

    /// Nodes 1 and 2 have votes, 3 follows; 2 and 4 are known, 2 is connected.
    fn refused(gone: Option<u64>, come: Option<(u64, Option<&str>)>) -> Option<String> {
        let known = |node, connected| ClusterNode {
            node,
            address: format!("h{node}:7200"),
            connected,
            ..ClusterNode::default()
        };
        let group = ShardGroup { voters: vec![1, 2], learners: vec![3], ..ShardGroup::default() };
        let nodes = vec![known(2, true), known(4, false)];
        let cluster = GetClusterResponse { node: 2, nodes, groups: vec![group] };
        let come = come.map(|(node, address)| Comer { node, address: address.map(str::to_owned) });
        check(&cluster, gone, come.as_ref()).err().map(|failure| failure.message)
    }

    #[test]
    fn what_was_not_meant_is_refused_and_what_is_given_again_is_not() {
        for known in [1, 2, 3, 4] {
            assert_eq!(refused(Some(known), None), None);
        }
        assert_eq!(refused(Some(9), None).unwrap(), "node: expected one of the nodes [2, 4], found 9");
        assert_eq!(
            refused(Some(9), Some((5, Some("h5:7200")))).unwrap(),
            "node: expected one of the nodes [2, 4], found 9"
        );
        assert_eq!(refused(Some(9), Some((2, None))), None, "node 2 has come, so node 9 may be gone");
        assert!(refused(Some(2), Some((2, None))).unwrap().starts_with("by: expected another node"));
        assert_eq!(refused(None, Some((5, Some("h5:7200")))), None);
        assert!(refused(None, Some((5, None))).unwrap().contains("or 5=HOST:PORT, found 5"));
        let taken = refused(None, Some((2, Some("elsewhere:7200")))).unwrap();
        assert!(taken.contains("expected a number that is free"), "{taken}");
        assert!(taken.ends_with("found 2, which is connected at h2:7200"), "{taken}");
        for again in [(2, Some("h2:7200")), (2, None), (4, Some("elsewhere:7200"))] {
            assert_eq!(refused(None, Some(again)), None, "{again:?}");
        }
    }

    fn asked(
        voters: &[u64],
        learners: &[u64],
        gone: Option<u64>,
        come: Option<u64>,
    ) -> Option<(Vec<u64>, Vec<u64>)> {
        let group = ShardGroup { voters: voters.into(), learners: learners.into(), ..ShardGroup::default() };
        step(&group, gone, come).map(|next| (next.voters, next.learners))
    }

    #[test]
    fn who_comes_follows_first_and_who_goes_keeps_its_vote_so_long() {
        assert_eq!(asked(&[1, 2, 3], &[], None, Some(4)), Some((vec![1, 2, 3], vec![4])));
        assert_eq!(asked(&[1, 2, 3], &[4], None, Some(4)), Some((vec![1, 2, 3, 4], vec![])));
        assert_eq!(asked(&[1, 2, 3, 4], &[], None, Some(4)), None);
        assert_eq!(asked(&[1, 2, 3], &[], Some(2), Some(4)), Some((vec![1, 2, 3], vec![4])));
        assert_eq!(asked(&[1, 2, 3], &[4], Some(2), Some(4)), Some((vec![1, 3, 4], vec![])));
        assert_eq!(asked(&[1, 3, 4], &[], Some(2), Some(4)), None);
        assert_eq!(asked(&[1, 2, 3], &[], Some(3), None), Some((vec![1, 2], vec![])));
    }
}
