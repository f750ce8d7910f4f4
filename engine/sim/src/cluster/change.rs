//! Changes of the group: nodes come as learners, get votes, and go; disks are lost for good.

use onrush_engine::replication::{Members, NodeId};

use super::{Node, PLACES, World, place};
use crate::node::CutStore;
use crate::report::Verdict;

impl World {
    fn in_office(&self) -> Option<usize> {
        let leads = |node: &Node| node.live.as_ref().is_some_and(|live| live.replica.holds_office());
        self.nodes.iter().position(leads)
    }

    /// The leader changes the group by a node: one in, one out, or one for another.
    pub(super) fn change(&mut self, at: usize) -> Verdict {
        let Some(leader) = self.in_office() else { return Ok(()) };
        let Some(live) = &self.nodes[leader].live else { return Ok(()) };
        let members = live.replica.raft().members().clone();
        if members.is_changing() || !live.open.is_empty() {
            return Ok(());
        }
        match self.next_group(&members, self.nodes[at].id) {
            Some(next) => self.propose_group(leader, &next),
            None => Ok(()),
        }
    }

    fn next_group(&mut self, members: &Members, node: NodeId) -> Option<Members> {
        let is_there = |node: &NodeId| self.nodes[place(*node)].id == *node;
        let gone: Vec<NodeId> = members.voters().filter(|node| !is_there(node)).collect();
        let mut voters: Vec<NodeId> = members.voters().collect();
        if let Some(learner) = members.learners().find(is_there) {
            let out = match gone.first() {
                Some(gone) => Some(*gone),
                None => self.faults.percent(60).then(|| voters[self.faults.index(voters.len())]),
            };
            voters.retain(|voter| Some(*voter) != out);
            voters.push(learner);
            return members.changing_to(voters, []).ok();
        }
        if !members.contains(node) {
            return members.changing_to(voters, [node]).ok();
        }
        // A group of two, or one that has lost somebody, lets nobody go.
        if voters.len() > 3 && gone.is_empty() && members.is_voter(node) {
            voters.retain(|voter| *voter != node);
            return members.changing_to(voters, []).ok();
        }
        None
    }

    fn propose_group(&mut self, leader: usize, next: &Members) -> Verdict {
        let now_us = self.clock_us(leader);
        let Some(live) = &mut self.nodes[leader].live else { return Ok(()) };
        let changed = live.replica.change_group(&mut live.shard, next, now_us);
        match changed {
            Err(error) => return self.consensus_failed(leader, &error),
            Ok(Err(declined)) => self.tell(|| format!("the group stays: {declined}")),
            Ok(Ok(())) => {
                self.summary.changes += 1;
                self.tell(|| format!("node {leader} changes the group to {next:?}"));
            }
        }
        self.take_output(leader);
        self.check_node(leader)
    }

    /// Both sets of voters have agreed: the set of before goes.
    pub(super) fn finish_change(&mut self, at: usize) -> Verdict {
        let Some(live) = &self.nodes[at].live else { return Ok(()) };
        match live.replica.raft().change_to_finish() {
            Some(next) => self.propose_group(at, &next),
            None => Ok(()),
        }
    }

    /// A node loses its disk, and comes back empty under another number. Only while everybody else has everything:
    /// a group survives the loss of a minority, and no more.
    pub(super) fn replace_disk(&mut self, at: usize) -> Verdict {
        let Some(members) = self.commits.members.clone().filter(|members| !members.is_changing()) else {
            return Ok(());
        };
        let committed = self.commits.len();
        let has_all = |node: &NodeId| {
            let other = &self.nodes[place(*node)];
            let same_group =
                other.live.as_ref().is_some_and(|live| *live.replica.raft().members() == members);
            other.id == *node && same_group && other.on_disk.len() >= committed
        };
        let own = self.nodes[at].id;
        if members.voters().count() < 3
            || self.nodes.iter().any(|node| node.damaged)
            || !members.everyone().filter(|node| *node != own).all(|node| has_all(&node))
        {
            return Ok(());
        }
        self.tell(|| format!("node {at} has lost its disk"));
        self.summary.replaced += 1;
        self.stop(at);
        let seed = self.faults.next();
        let (pace_ppm, number) = (self.nodes[at].pace_ppm, own.0 + PLACES);
        let mut fresh = Node::new(at, seed);
        (fresh.id, fresh.pace_ppm, fresh.store) = (NodeId(number), pace_ppm, CutStore::default());
        fresh.found(&self.plan, &self.members, super::BEGIN_US)?;
        let lost = std::mem::replace(&mut self.nodes[at], fresh);
        self.commits.buried(lost.id, lost.on_disk);
        Ok(())
    }
}
