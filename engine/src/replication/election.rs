//! Elections: polls, ballots, votes.
//!
//! A member whose last entry was found damaged may have lost what it had acknowledged: it is *barred* until it has caught up with a
//! leader. A candidate wins by a quorum of those who are not, or by all voters, barred or not: so one damaged log elects nobody
//! who lacks what a quorum had.

use std::collections::BTreeMap;

use onrush_proto::planted::planted;
use onrush_storage::log::Vote;

use super::members::NodeId;
use super::message::{Ballot, Body};
use super::raft::{Answer, Candidate, Raft, RaftError, Role};

impl Raft {
    /// No leader is heard: asks whether an election would be won.
    pub(super) fn seek_election(&mut self, now_us: u64) -> Result<(), RaftError> {
        self.sought = self.sought.saturating_add(1);
        self.await_leader(now_us);
        if self.may_campaign() {
            self.campaign(true, false, now_us)?;
        }
        Ok(())
    }

    /// True if it has a vote, or has one until what takes it away is committed: it may be the only one with that entry, and
    /// nobody else whom its former peers would elect (Ongaro, 4.2.2). True as well if somebody who counts it as a voter has asked
    /// for its vote and lacks what it has: where others are barred it may be the only one whom all would elect. Who is for it
    /// counts by its own log's group in any case.
    fn may_campaign(&self) -> bool {
        let (log, id) = (&self.log, self.options.id);
        let was_voter = || log.members_before().is_some_and(|before| before.is_voter(id));
        log.members().is_voter(id) || (log.members_index() > self.commit && was_voter()) || self.outdid
    }

    /// The leader wants this member to lead.
    pub(super) fn take_office(&mut self, term: u64, now_us: u64) -> Result<(), RaftError> {
        let follows = matches!(self.role, Role::Follower) && term == self.vote.term;
        if follows && self.members().is_voter(self.options.id) {
            self.campaign(false, true, now_us)?;
        }
        Ok(())
    }

    fn campaign(&mut self, poll: bool, asked: bool, now_us: u64) -> Result<(), RaftError> {
        let id = self.options.id;
        if !poll {
            self.promise(Vote { term: self.vote.term + 1, voted_for: Some(id.0), ..self.vote });
            self.await_leader(now_us);
        }
        self.leader = None;
        let votes = BTreeMap::from([(id, Answer::of(true, self.vote.barred))]);
        self.role = Role::Candidate(Candidate { poll, asked, votes });
        if self.has_won() {
            return self.won(now_us);
        }
        let term = self.vote.term + u64::from(poll);
        let ballot = Ballot { last: self.log.last(), poll, asked };
        let voter = |node: &NodeId| *node != id && self.members().is_voter(*node);
        let voters: Vec<NodeId> = self.members().everyone().filter(voter).collect();
        for node in voters {
            // Behind the vote for itself.
            self.say_later(node, term, Body::Ballot(ballot));
        }
        Ok(())
    }

    fn has_won(&self) -> bool {
        let Role::Candidate(candidate) = &self.role else { return false };
        let answer = |node| candidate.votes.get(&node).copied().unwrap_or(Answer::Against);
        let everybody = self.members().voters().chain(self.members().outgoing());
        self.members().is_quorum(|node| answer(node) == Answer::For)
            || everybody.into_iter().all(|node| answer(node) != Answer::Against)
    }

    fn has_lost(&self) -> bool {
        let Role::Candidate(candidate) = &self.role else { return false };
        !self.members().is_quorum(|node| candidate.votes.get(&node) != Some(&Answer::Against))
    }

    fn won(&mut self, now_us: u64) -> Result<(), RaftError> {
        match &self.role {
            Role::Candidate(Candidate { poll: true, asked, .. }) => self.campaign(false, *asked, now_us),
            _ => self.begin_term(now_us),
        }
    }

    /// Somebody asks for a vote.
    pub(super) fn ballot(&mut self, from: NodeId, term: u64, ballot: Ballot, now_us: u64) {
        if !ballot.asked && self.hears_a_leader(now_us) {
            // As long as there is a leader, whoever does not hear it cannot turn it out.
            return;
        }
        let granted_term = term;
        if !ballot.poll && term > self.vote.term {
            self.follow(term, None, now_us);
        }
        let is_complete = ballot.last >= self.log.last() || planted(36);
        self.outdid |= !is_complete;
        let granted = match ballot.poll {
            true => term > self.vote.term && is_complete,
            false => term == self.vote.term && is_complete && self.may_vote_for(from),
        };
        if granted && !ballot.poll {
            if self.vote.voted_for.is_none() {
                self.promise(Vote { term, voted_for: Some(from.0), ..self.vote });
            }
            self.await_leader(now_us);
        }
        let term = if granted { granted_term } else { self.vote.term };
        self.say_later(from, term, Body::Vote { poll: ballot.poll, granted, barred: self.vote.barred });
    }

    fn may_vote_for(&self, node: NodeId) -> bool {
        let free = matches!(self.role, Role::Follower) && self.leader.is_none();
        match self.vote.voted_for {
            Some(voted_for) => voted_for == node.0,
            None => free,
        }
    }

    /// True if a leader was heard so lately that nobody else may lead.
    fn hears_a_leader(&self, now_us: u64) -> bool {
        if planted(46) {
            return false;
        }
        match &self.role {
            Role::Leader(_) => self.quorum_heard_us(now_us) + self.options.timing.election_us > now_us,
            _ => self.heard_us + self.options.timing.election_us > now_us,
        }
    }

    /// A vote has come.
    pub(super) fn voted(
        &mut self,
        from: NodeId,
        term: u64,
        (poll, answer): (bool, Answer),
        now_us: u64,
    ) -> Result<(), RaftError> {
        let granted = answer != Answer::Against;
        // Whoever grants a poll names the term that it was asked about, and is not in it.
        if term > self.vote.term && !(poll && granted) {
            self.follow(term, None, now_us);
            return Ok(());
        }
        let expected = self.vote.term + u64::from(poll && granted);
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        if candidate.poll != poll || term != expected {
            return Ok(());
        }
        if !self.log.members().is_voter(from) {
            return Ok(());
        }
        candidate.votes.insert(from, answer);
        if self.has_won() {
            return self.won(now_us);
        }
        if self.has_lost() {
            self.follow(self.vote.term, None, now_us);
        }
        Ok(())
    }
}
