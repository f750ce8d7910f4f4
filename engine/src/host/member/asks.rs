//! What is asked of a member from outside its shard: how its group is, and that its office or its group change.

use super::{Member, MemberError};
use crate::cluster::{GroupAsk, GroupStatus};
use crate::replication::{Declined, NodeId};

impl Member {
    /// Answers whoever asks about the group, or wants it changed.
    pub(super) fn answer_asks(&mut self) -> Result<bool, MemberError> {
        let mut any = false;
        while let Some(ask) = self.seat.station.asked() {
            any = true;
            // Who asked may have given up.
            match ask {
                GroupAsk::Status(answer) => answer.send(self.status()).unwrap_or_default(),
                GroupAsk::HandOver(to, answer) => answer.send(self.hand_over(to)).unwrap_or_default(),
                GroupAsk::Leave(answer) => answer.send(self.leave()).unwrap_or_default(),
                GroupAsk::Change(next, answer) => {
                    self.propose()?;
                    let changed = self.change_group(&next)?;
                    answer.send(changed).unwrap_or_default();
                }
            }
        }
        Ok(any)
    }

    pub(super) fn hand_over(&mut self, to: NodeId) -> Result<(), Declined> {
        let handed = self.replica.raft_mut().hand_over(to, self.clock.now_us());
        self.take_output();
        handed
    }

    /// Hands over to where the first shard is led or going, else to whoever was heard lately and has most.
    pub(super) fn leave(&mut self) -> Result<(), Declined> {
        let raft = self.replica.raft();
        if raft.is_handing_over() {
            return Ok(());
        }
        let first = self.first_elsewhere().filter(|first| raft.members().is_voter(*first));
        let heir = first.or_else(|| self.best_heir());
        let heir = heir.ok_or(Declined::NotLeader { leader: raft.leader() })?;
        self.hand_over(heir)
    }

    fn best_heir(&self) -> Option<NodeId> {
        let raft = self.replica.raft();
        let followers = raft.followers(self.clock.now_us());
        let voters = followers.into_iter().filter(|(node, ..)| raft.members().is_voter(*node));
        let best = voters.max_by_key(|(_, matched, silent_us)| (*silent_us < self.election_us, *matched));
        best.map(|(heir, ..)| heir)
    }

    fn status(&self) -> GroupStatus {
        let raft = self.replica.raft();
        GroupStatus {
            shard: self.seat.station.id,
            node: raft.id(),
            role: raft.role(),
            leader: raft.leader(),
            in_office: self.replica.holds_office(),
            term: raft.term(),
            last: raft.log().last().index,
            committed: raft.commit(),
            applied: self.replica.applied(),
            members: raft.members().clone(),
            followers: raft.followers(self.clock.now_us()),
        }
    }

    /// True if somebody else could take its office at once.
    pub(super) fn has_heir(&self) -> bool {
        let raft = self.replica.raft();
        let could = |(node, _, silent_us): (NodeId, u64, u64)| {
            raft.members().is_voter(node) && silent_us < self.election_us
        };
        raft.followers(self.clock.now_us()).into_iter().any(could)
    }
}
