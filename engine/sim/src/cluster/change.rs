//! Changes of the group: nodes come as learners, get votes, and go; disks are lost for good.

use onrush_engine::replication::{Members, NodeId};

use super::{Member, PLACES, World, place};
use crate::report::Verdict;

impl World {
    /// The node in office changes a group by a node: one in, one out, or one for another. The group of the first shard
    /// goes ahead; while another one is not what that is, it follows.
    pub(super) fn change(&mut self, node: usize) -> Verdict {
        let Some(leader) = self.in_office() else { return Ok(()) };
        let at = self.of_node(leader);
        let group = |at: usize| self.members[at].live.as_ref().map(|live| live.replica.raft().members());
        let groups: Vec<Members> = at.clone().filter_map(|at| group(at).cloned()).collect();
        if groups.len() < self.shards() || groups.iter().any(Members::is_changing) {
            return Ok(());
        }
        let (behind, next) = match groups.iter().position(|group| *group != groups[0]) {
            Some(behind) => {
                let (voters, learners) = (groups[0].voters(), groups[0].learners());
                (behind, groups[behind].changing_to(voters, learners).ok())
            }
            None => (0, self.next_group(&groups[0], self.nodes[node].id)),
        };
        let at = at.start + behind;
        let is_idle = self.members[at].live.as_ref().is_some_and(|live| live.open.is_empty());
        match next.filter(|_| is_idle) {
            Some(next) => self.propose_group(at, &next),
            None => Ok(()),
        }
    }

    fn next_group(&mut self, members: &Members, node: NodeId) -> Option<Members> {
        let is_there = |node: &NodeId| self.nodes[place(*node)].id == *node;
        let gone: Vec<NodeId> = members.voters().filter(|node| !is_there(node)).collect();
        let mut voters: Vec<NodeId> = members.voters().collect();
        let is_new = !members.contains(node);
        // Now and then several nodes learn at once.
        let learner = members.learners().find(is_there).filter(|_| !is_new || self.faults.percent(50));
        if let Some(learner) = learner {
            let out = match gone.first() {
                Some(gone) => Some(*gone),
                None => self.faults.percent(60).then(|| voters[self.faults.index(voters.len())]),
            };
            voters.retain(|voter| Some(*voter) != out);
            voters.push(learner);
            return members.changing_to(voters, []).ok();
        }
        if is_new {
            return members.changing_to(voters, members.learners().chain([node])).ok();
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
        let Some(live) = &mut self.members[leader].live else { return Ok(()) };
        let changed = live.replica.change_group(&mut live.shard, next, now_us);
        match changed {
            Err(error) => return self.consensus_failed(leader, &error),
            Ok(Err(declined)) => self.tell(|| format!("the group stays: {declined}")),
            Ok(Ok(())) => {
                self.summary.changes += 1;
                self.tell(|| format!("{} changes the group to {next:?}", self.name(leader)));
            }
        }
        self.take_output(leader);
        self.check_member(leader)
    }

    /// Both sets of voters have agreed: the set of before goes.
    pub(super) fn finish_change(&mut self, at: usize) -> Verdict {
        let Some(live) = &self.members[at].live else { return Ok(()) };
        match live.replica.raft().change_to_finish() {
            Some(next) => self.propose_group(at, &next),
            None => Ok(()),
        }
    }

    /// A node loses its disks, and comes back empty under another number. Only while everybody else has everything:
    /// groups survive the loss of a minority, and no more.
    pub(super) fn replace_disk(&mut self, node: usize) -> Verdict {
        let first = &self.groups[0].commits.members;
        // While a group changes others differ.
        let same = self.groups.iter().all(|group| group.commits.members == *first);
        let Some(members) = first.clone().filter(|members| same && !members.is_changing()) else {
            return Ok(());
        };
        let own = self.nodes[node].id;
        if members.voters().count() < 3
            || self.members.iter().any(|member| member.damaged)
            || !members.everyone().filter(|node| *node != own).all(|node| self.has_all(node, &members))
        {
            return Ok(());
        }
        self.tell(|| format!("node {node} has lost its disks"));
        self.summary.replaced += 1;
        self.stop(node);
        let id = NodeId(own.0 + PLACES);
        self.nodes[node].id = id;
        for at in self.of_node(node) {
            let shard = self.members[at].shard;
            let mut fresh = Member::new(id, shard, self.faults.next());
            fresh.found(&self.plan, &self.founders, super::BEGIN_US)?;
            let lost = std::mem::replace(&mut self.members[at], fresh);
            self.groups[shard].commits.buried(lost.id, lost.on_disk);
        }
        Ok(())
    }

    /// True if the node runs, has all that is committed in any group, and knows that those are these members.
    fn has_all(&self, node: NodeId, members: &Members) -> bool {
        let at = place(node);
        let has = |at: usize| {
            let (member, group) = (&self.members[at], &self.groups[self.members[at].shard]);
            let same = member.live.as_ref().is_some_and(|live| live.replica.raft().members() == members);
            same && member.on_disk.len() >= group.commits.len()
        };
        self.nodes[at].id == node && self.of_node(at).all(has)
    }
}
