//! The leader's side: entries go out, answers come in, entries are committed.

use std::collections::BTreeMap;

use onrush_proto::planted::planted;

use super::entry::{Entry, Position};
use super::members::{Members, NodeId};
use super::message::{Append, AppendResult, Body};
use super::progress::{Pace, Progress};
use super::raft::{Declined, Raft, RaftError, Role, RoleKind};

/// What a leader keeps.
pub(super) struct Leading {
    pub(super) followers: BTreeMap<NodeId, Progress>,
    pub(super) heartbeat_due_us: u64,
    /// The entry with which the term began.
    pub(super) begun_at: u64,
    pub(super) transfer: Option<Transfer>,
    /// What was committed an election timeout ago or longer, and what was at the last look, when.
    long_committed: u64,
    committed_at: (u64, u64),
    /// True once another one was asked to lead: it may be elected whatever was promised to this one.
    asked_another: bool,
}

/// A change of office under way.
pub(super) struct Transfer {
    pub(super) to: NodeId,
    until_us: u64,
    asked: bool,
}

/// When a leader gives the next sign of life: all groups that a node leads give theirs at the same times, so that those to
/// one peer leave, and arrive, together.
fn next_beat_us(now_us: u64, heartbeat_us: u64) -> u64 {
    let every = heartbeat_us.max(1);
    (now_us / every + 1).saturating_mul(every)
}

impl Raft {
    pub(super) fn begin_term(&mut self, now_us: u64) -> Result<(), RaftError> {
        let (id, next) = (self.options.id, self.log.last().index + 1);
        self.leader = Some(id);
        (self.sought, self.outdid) = (0, false);
        let leading = Leading {
            followers: BTreeMap::new(),
            heartbeat_due_us: next_beat_us(now_us, self.options.timing.heartbeat_us),
            begun_at: next,
            long_committed: self.commit,
            committed_at: (self.commit, now_us),
            transfer: None,
            asked_another: false,
        };
        self.role = Role::Leader(Box::new(leading));
        self.meet_members(now_us);
        // Entries of earlier terms are committed with one of this term, never by counting (Ongaro, 3.6.2).
        self.lead_entry(Entry::empty(self.next_info()), now_us)
    }

    /// Followers are those who belong to the group now.
    fn meet_members(&mut self, now_us: u64) {
        let (id, next) = (self.options.id, self.log.last().index + 1);
        let others: Vec<NodeId> = self.log.members().everyone().filter(|node| *node != id).collect();
        let Role::Leader(leading) = &mut self.role else { return };
        leading.followers.retain(|node, _| others.contains(node));
        for node in others {
            leading.followers.entry(node).or_insert_with(|| Progress::new(next, now_us));
        }
    }

    /// Appends an entry of its own and sends it.
    pub(super) fn lead_entry(&mut self, entry: Entry, now_us: u64) -> Result<(), RaftError> {
        let members = self.log.members_index();
        self.log.push(entry.clone())?;
        self.out.append.push(entry);
        if self.log.members_index() != members {
            self.meet_members(now_us);
        }
        self.send_entries(now_us)
    }

    /// True if the group may be changed: the last change is committed, and so is an entry of this term.
    pub(super) fn may_change(&self) -> bool {
        self.is_in_office() && self.commit >= self.log.members_index()
    }

    /// Whether the group can become `next` now.
    ///
    /// # Errors
    /// [`Declined`], and why.
    pub fn check_change(&self, next: &Members) -> Result<(), Declined> {
        let Role::Leader(leading) = &self.role else {
            return Err(Declined::NotLeader { leader: self.leader });
        };
        if let Some(transfer) = &leading.transfer {
            return Err(Declined::HandingOver(transfer.to));
        }
        if !self.may_change() || !self.members().leads_to(next) {
            return Err(Declined::Changing);
        }
        // Under load the present commit is always ahead of a disk that is slower than others.
        let commit = leading.long_committed.max(leading.begun_at);
        let matched = |node: &NodeId| leading.followers.get(node).map_or(0, |follower| follower.matched);
        let is_new = |node: &NodeId| *node != self.options.id && !self.members().is_voter(*node);
        match next.voters().filter(is_new).find(|node| matched(node) < commit) {
            Some(node) => Err(Declined::Behind { node, matched: matched(&node), commit }),
            None => Ok(()),
        }
    }

    /// The group to change to, once the change to both is committed: the leader proposes it.
    pub fn change_to_finish(&self) -> Option<Members> {
        let finish = self.log.members().is_changing() && self.may_change();
        finish.then(|| self.log.members().changed())
    }

    pub(super) fn tick_leader(&mut self, now_us: u64) -> Result<(), RaftError> {
        if self.quorum_heard_us(now_us) + self.options.timing.election_us <= now_us && !planted(53) {
            // Others may have elected somebody.
            self.leader = None;
            self.follow(self.vote.term, None, now_us);
            return Ok(());
        }
        let Role::Leader(leading) = &mut self.role else { return Ok(()) };
        leading.transfer.take_if(|transfer| now_us >= transfer.until_us);
        if now_us >= leading.committed_at.1 + self.options.timing.election_us {
            leading.long_committed = leading.committed_at.0;
            leading.committed_at = (self.commit, now_us);
        }
        if now_us >= leading.heartbeat_due_us {
            leading.heartbeat_due_us = next_beat_us(now_us, self.options.timing.heartbeat_us);
            let nodes: Vec<NodeId> = leading.followers.keys().copied().collect();
            for node in nodes {
                self.beat(node, now_us)?;
            }
        }
        Ok(())
    }

    /// When the messages were sent that a quorum has answered; this member answers itself.
    pub(super) fn quorum_heard_us(&self, now_us: u64) -> u64 {
        let Role::Leader(leading) = &self.role else { return 0 };
        let heard = |node: NodeId| leading.followers.get(&node).map_or(0, |follower| follower.heard_us);
        self.members().agreed(|node| if node == self.options.id { now_us } else { heard(node) })
    }

    /// True if at `asked_us`, or later, this member was the leader for certain: what its state said then was not
    /// overtaken by another's. By a lease while it lasts, else by what followers have answered since.
    pub fn led_since(&self, asked_us: u64, now_us: u64) -> bool {
        if !self.is_in_office() {
            return false;
        }
        let heard_us = self.quorum_heard_us(now_us);
        self.lease_end_us(heard_us) > now_us || heard_us >= asked_us || planted(43)
    }

    /// Until when nobody else can lead, for followers that were heard up to then; 0 once another one was asked to.
    fn lease_end_us(&self, heard_us: u64) -> u64 {
        let Role::Leader(leading) = &self.role else { return 0 };
        let timing = &self.options.timing;
        match leading.asked_another && !planted(45) {
            true => 0,
            false => heard_us + timing.election_us.saturating_sub(timing.skew_us),
        }
    }

    /// As of when, by this member's own clock, what it has applied up to `applied` is all that was committed anywhere; 0 if it
    /// does not know. A leader publishes before it answers: what it has acknowledged is there, and until its lease ends nobody
    /// else acknowledges anything.
    pub fn fresh_us(&mut self, applied: u64, now_us: u64) -> u64 {
        let reached_us = self.freshness.reached(applied);
        // A new leader may not have applied yet what others have acknowledged.
        let is_ready = matches!(&self.role, Role::Leader(leading) if applied >= leading.begun_at);
        if !is_ready || !self.is_in_office() {
            return reached_us;
        }
        let heard_us = self.quorum_heard_us(now_us);
        self.lease_end_us(heard_us).max(heard_us)
    }

    /// The others, if it leads: the last entry that is known to be on the disk of each, and for how long nothing that was
    /// sent to it has been answered, in us.
    pub fn followers(&self, now_us: u64) -> Vec<(NodeId, u64, u64)> {
        let Role::Leader(leading) = &self.role else { return Vec::new() };
        let silent = |follower: &Progress| now_us.saturating_sub(follower.heard_us);
        let told = |(node, follower): (&NodeId, &Progress)| (*node, follower.matched, silent(follower));
        leading.followers.iter().map(told).collect()
    }

    /// Followers that need what was released here, if it leads: a snapshot helps them.
    pub fn lacking(&self) -> Vec<NodeId> {
        let Role::Leader(leading) = &self.role else { return Vec::new() };
        let lacks = |(_, follower): &(&NodeId, &Progress)| follower.pace == Pace::Snapshot;
        leading.followers.iter().filter(lacks).map(|(node, _)| *node).collect()
    }

    /// Asks the followers whether this member still leads, without waiting for the next sign of life: for what
    /// [`led_since`](Self::led_since) is to tell soon and no lease does.
    ///
    /// # Errors
    /// If entries cannot be read.
    pub fn ask_followers(&mut self, now_us: u64) -> Result<(), RaftError> {
        let Role::Leader(leading) = &mut self.role else { return Ok(()) };
        leading.heartbeat_due_us = now_us;
        self.tick_leader(now_us)
    }

    /// Hands the office to another voter, once it has every entry. Nothing is begun meanwhile.
    ///
    /// # Errors
    /// [`Declined`] if it is not to lead, or the other one cannot.
    pub fn hand_over(&mut self, to: NodeId, now_us: u64) -> Result<(), Declined> {
        let is_voter = self.members().is_voter(to);
        let until_us = now_us + self.options.timing.election_us;
        let Role::Leader(leading) = &mut self.role else {
            return Err(Declined::NotLeader { leader: self.leader });
        };
        if !is_voter || to == self.options.id {
            return Err(Declined::NoVoter(to));
        }
        leading.transfer = Some(Transfer { to, until_us, asked: false });
        self.finish_hand_over();
        Ok(())
    }

    /// True while the office is being handed over: nothing is begun.
    pub fn is_handing_over(&self) -> bool {
        self.heir().is_some()
    }

    /// Whom it is handing its office to.
    pub fn heir(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(leading) => leading.transfer.as_ref().map(|transfer| transfer.to),
            _ => None,
        }
    }

    fn finish_hand_over(&mut self) {
        let last = self.log.last().index;
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(transfer) = &mut leading.transfer else { return };
        let is_there = leading.followers.get(&transfer.to).is_some_and(|follower| follower.matched == last);
        if is_there && !transfer.asked {
            transfer.asked = true;
            leading.asked_another = true;
            let to = transfer.to;
            self.say_now(to, Body::TakeOffice);
        }
    }

    /// Sends every follower what it lacks, as far as there is room.
    fn send_entries(&mut self, now_us: u64) -> Result<(), RaftError> {
        let Role::Leader(leading) = &self.role else { return Ok(()) };
        let nodes: Vec<NodeId> = leading.followers.keys().copied().collect();
        nodes.into_iter().try_for_each(|node| self.send_to(node, now_us))
    }

    fn send_to(&mut self, node: NodeId, now_us: u64) -> Result<(), RaftError> {
        loop {
            let last = self.log.last().index;
            let room = self.options.in_flight_bytes_max;
            let Some(follower) = self.follower(node) else { return Ok(()) };
            if follower.next > last || !follower.has_room(room) {
                return Ok(());
            }
            if !self.send_some(node, self.options.message_bytes_max, now_us)? {
                return Ok(());
            }
        }
    }

    /// A sign of life. Its answer tells where the logs are equal, so that entries need not be sent again with each: a
    /// follower that is slow to answer would only get more to do.
    fn beat(&mut self, node: NodeId, now_us: u64) -> Result<(), RaftError> {
        self.send_some(node, 0, now_us).map(drop)
    }

    /// Sends entries from a follower's next one on; with no bytes to spend, none. False if it needs a snapshot.
    fn send_some(&mut self, node: NodeId, bytes_max: usize, now_us: u64) -> Result<bool, RaftError> {
        let Some(follower) = self.follower(node) else { return Ok(false) };
        let mut next = follower.next;
        if follower.pace == Pace::Snapshot {
            next = self.log.last().index + 1;
        }
        let Some(term) = self.log.term(next - 1) else {
            if let Some(follower) = self.follower(node) {
                follower.pace = Pace::Snapshot;
            }
            return Ok(false);
        };
        let entries = match bytes_max {
            0 => Vec::new(),
            bytes_max => self.log.read(next, u64::MAX, bytes_max)?,
        };
        let bytes = entries.iter().map(Entry::bytes).sum();
        let sent = entries.last().map(|entry| entry.position().index);
        let previous = Position { term, index: next - 1 };
        // For certain it leads by its lease: nobody else has committed anything behind `commit`.
        let said_us = self.follower(node).map_or(0, |follower| follower.said_us);
        let as_of_us = if self.led_since(u64::MAX, now_us) { said_us } else { 0 };
        let append = Append { previous, commit: self.commit, sent_us: now_us, as_of_us, entries };
        self.say_now(node, Body::Append(append));
        let Some(follower) = self.follower(node) else { return Ok(false) };
        match (follower.pace, sent) {
            (Pace::Stream, None) => {}
            (_, sent) => follower.sent(sent.unwrap_or(next - 1), bytes),
        }
        Ok(true)
    }

    fn follower(&mut self, node: NodeId) -> Option<&mut Progress> {
        let Role::Leader(leading) = &mut self.role else { return None };
        leading.followers.get_mut(&node)
    }

    pub(super) fn appended(
        &mut self,
        from: NodeId,
        term: u64,
        (sent_us, said_us, result): (u64, u64, AppendResult),
        now_us: u64,
    ) -> Result<(), RaftError> {
        if term > self.vote.term {
            self.follow(term, None, now_us);
            return Ok(());
        }
        if term < self.vote.term {
            return Ok(());
        }
        let (last, front) = (self.log.last().index, self.log.front().index);
        let Some(follower) = self.follower(from) else { return Ok(()) };
        // Nobody has answered what was not sent yet, or what was never in the log.
        follower.heard_us = follower.heard_us.max(sent_us.min(now_us));
        // As it said last: after a restart its clock may be behind what it was.
        follower.said_us = said_us;
        match result {
            AppendResult::Matched(index) if index <= last => {
                follower.matched(index);
                self.advance_commit(now_us)?;
                if self.role() == RoleKind::Leader {
                    self.finish_hand_over();
                    self.send_to(from, now_us)?;
                }
            }
            // It may have what stands in front of this log: it hints at the front of a term of its own, or at what it knows to be
            // committed, and a snapshot up to an entry that it has is of no use to it.
            AppendResult::Missing { tested, hint } if hint < front && front < tested => {
                if follower.missing(tested, front) {
                    self.beat(from, now_us)?;
                }
            }
            AppendResult::Missing { tested, hint } if tested <= last => {
                if follower.missing(tested, hint) {
                    self.send_to(from, now_us)?;
                }
            }
            AppendResult::Matched(_) | AppendResult::Missing { .. } | AppendResult::Heard => {}
        }
        Ok(())
    }

    /// Commits what a quorum has on disk, if the last of it is of this term.
    pub(super) fn advance_commit(&mut self, now_us: u64) -> Result<(), RaftError> {
        let Role::Leader(leading) = &self.role else { return Ok(()) };
        let durable = self.log.durable();
        let matched = |node: NodeId| leading.followers.get(&node).map_or(0, |follower| follower.matched);
        let agreed =
            self.members().agreed(|node| if node == self.options.id { durable } else { matched(node) });
        let agreed = if planted(38) { durable } else { agreed };
        let is_ours = self.log.term(agreed) == Some(self.vote.term) || planted(35);
        if agreed <= self.commit || !is_ours {
            return Ok(());
        }
        self.commit = agreed;
        // Whoever is not of the group any more leads it no longer.
        let settled = self.commit >= self.log.members_index() && !self.members().is_changing();
        if settled && !self.members().is_voter(self.options.id) {
            let nodes: Vec<NodeId> = self.members().everyone().collect();
            for node in nodes {
                self.beat(node, now_us)?;
            }
            self.leader = None;
            self.follow(self.vote.term, None, now_us);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::next_beat_us;

    #[test]
    fn signs_of_life_of_all_groups_leave_at_the_same_times_and_never_late() {
        for (now, next) in [(0, 50), (1, 50), (49, 50), (50, 100), (149, 150), (u64::MAX, u64::MAX)] {
            assert_eq!(next_beat_us(now, 50), next, "at {now}");
        }
        assert_eq!(next_beat_us(7, 0), 8, "time goes on without a pause as well");
    }
}
