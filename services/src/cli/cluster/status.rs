//! `onrush cluster status`

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::ArgMatches;
use onrush_grpc::admin::v1::{GetClusterResponse, ShardGroup};

use super::leader::{leading, look, named};
use crate::cli::Failure;

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut cluster = look(&mut named(matches).await?).await?;
    for group in cluster.groups.iter_mut().filter(|group| group.leader != 0 && !group.in_office) {
        // How far the others are, and whether the shop is decided, knows the one that leads. Without its word there is what
        // this one knows; the word on other shards is not waited for as well.
        let Ok((_, seen)) = leading(matches, group.shard).await else { break };
        (group.followers, group.in_office) = (seen.followers, true);
    }
    io::stdout().write_all(shown(&cluster).as_bytes()).map_err(Failure::world)
}

fn shown(cluster: &GetClusterResponse) -> String {
    let mut text = String::new();
    for node in &cluster.nodes {
        let how = match (node.node == cluster.node, node.connected) {
            (true, _) => "answers",
            (false, true) => "connected",
            (false, false) => "not connected",
        };
        let _ = write!(text, "node {:<4} {how:<14} {}", node.node, node.address);
        if !node.advertised.is_empty() {
            let _ = write!(text, "  {}", node.advertised);
        }
        if node.dropped > 0 {
            let _ = write!(text, "  {} messages dropped", node.dropped);
        }
        if !node.refused.is_empty() {
            let _ = write!(text, "  {}", node.refused);
        }
        text.push('\n');
    }
    cluster.groups.iter().for_each(|group| show_group(&mut text, group));
    text
}

fn show_group(text: &mut String, group: &ShardGroup) {
    let ShardGroup { shard, role, leader, term, last, committed, applied, .. } = group;
    let leader = match leader {
        0 => "nobody leads".to_owned(),
        node => format!("node {node} leads"),
    };
    let decides = if group.leader == 0 || group.in_office { "" } else { ", but is not known to decide" };
    let _ = writeln!(
        text,
        "shard {shard:<3} {leader} in term {term}{decides}; {role} here, entries to {last}, committed {committed}, applied {applied}"
    );
    let sets = [("voters", &group.voters), ("of before", &group.outgoing), ("learners", &group.learners)];
    for (name, nodes) in sets.into_iter().filter(|(_, nodes)| !nodes.is_empty()) {
        let nodes: Vec<String> = nodes.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "  {name} {}", nodes.join(", "));
    }
    for follower in &group.followers {
        let behind = last.saturating_sub(follower.matched);
        let silent_ms = follower.silent_us / 1_000;
        let _ =
            writeln!(text, "  node {} is {behind} entries behind, silent for {silent_ms} ms", follower.node);
    }
}

#[cfg(test)]
mod tests {
    use onrush_grpc::admin::v1::{ClusterNode, FollowerProgress};

    use super::*;

    #[test]
    fn nodes_and_groups_are_told_in_lines() {
        let node = |node, connected, refused: &str| ClusterNode {
            node,
            address: format!("h{node}:7200"),
            advertised: if node == 1 { "order=h1:50052".into() } else { String::new() },
            connected,
            dropped: 0,
            refused: refused.into(),
        };
        let group = ShardGroup {
            shard: 0,
            role: "leader".into(),
            leader: 1,
            in_office: true,
            term: 3,
            last: 9,
            committed: 8,
            applied: 7,
            voters: vec![1, 2],
            outgoing: vec![],
            learners: vec![3],
            followers: vec![FollowerProgress { node: 2, matched: 8, silent_us: 2_500 }],
        };
        let nodes = vec![node(1, true, ""), node(2, true, ""), node(3, false, "refused there: proof")];
        let expected = "node 1    answers        h1:7200  order=h1:50052\n\
                        node 2    connected      h2:7200\n\
                        node 3    not connected  h3:7200  refused there: proof\n\
                        shard 0   node 1 leads in term 3; leader here, entries to 9, committed 8, applied 7\n  \
                        voters 1, 2\n  learners 3\n  node 2 is 1 entries behind, silent for 2 ms\n";
        assert_eq!(shown(&GetClusterResponse { node: 1, nodes, groups: vec![group] }), expected);
    }

    #[test]
    fn who_leads_and_does_not_decide_is_told_apart() {
        let told = |leader, in_office| {
            let group =
                ShardGroup { leader, in_office, term: 3, role: "leader".into(), ..Default::default() };
            let text = shown(&GetClusterResponse { node: 1, nodes: vec![], groups: vec![group] });
            text.split_once(';').unwrap().0.to_owned()
        };
        assert_eq!(told(0, false), "shard 0   nobody leads in term 3");
        assert_eq!(told(1, true), "shard 0   node 1 leads in term 3");
        assert_eq!(told(1, false), "shard 0   node 1 leads in term 3, but is not known to decide");
    }
}
