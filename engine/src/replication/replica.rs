//! A member of a group with what its shard has decided: batches wait here until a quorum has them.

use std::collections::VecDeque;

use onrush_proto::planted::planted;
use onrush_storage::log::FLAG_MEMBERS;

use super::entry::Entry;
use super::members::Members;
use super::raft::{Declined, Output, Raft, RaftError, RoleKind};
use crate::shard::{Effects, Shard};

/// What may leave, in the order of the log.
pub enum Release {
    /// A batch that was decided here is committed: its rows are published, its answers leave.
    Own(Box<Effects>, Entry),
    /// An entry that another leader decided is committed: its facts are applied.
    Foreign(Entry),
    /// A batch without records: what it says rests on what is in front of it, which is committed, and on
    /// this member having led when it was decided, which is certain.
    Said(Box<Effects>),
}

/// A batch on its way.
struct Waiting {
    /// The entry that it is, or rests on.
    index: u64,
    term: u64,
    /// True if it is the entry.
    is_entry: bool,
    decided_us: u64,
    batch: Box<Effects>,
}

/// Bytes of committed entries that are read together.
const AHEAD_BYTES: usize = 1 << 20;

/// A member, what it has applied, and what waits.
pub struct Replica {
    raft: Raft,
    applied: u64,
    waiting: VecDeque<Waiting>,
    /// Committed entries that were read and not applied yet: what is committed stays as it is.
    ahead: VecDeque<Entry>,
    /// The term in which the shard decides here.
    office: Option<u64>,
}

impl Replica {
    /// A member whose shard has applied the entries up to `applied`.
    pub fn new(raft: Raft, applied: u64) -> Self {
        Self { raft, applied, waiting: VecDeque::new(), ahead: VecDeque::new(), office: None }
    }

    /// The member.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The member, for time, messages and what was written.
    pub fn raft_mut(&mut self) -> &mut Raft {
        &mut self.raft
    }

    /// What is to be written and sent.
    pub fn take_output(&mut self) -> Output {
        self.raft.take_output()
    }

    /// The last entry that the shard has applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Batches that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True if the shard could decide here: this member leads, the shard has applied everything that other leaders have
    /// committed, and nothing of an office before is on its way.
    pub fn is_ready(&self) -> bool {
        self.office.is_none()
            && self.waiting.is_empty()
            && self.raft.is_in_office()
            && (self.applied == self.raft.log().last().index || planted(41))
    }

    /// From here on the shard decides here, if it can. True if it does.
    pub fn take_office(&mut self) -> bool {
        if self.is_ready() {
            self.office = Some(self.raft.term());
        }
        self.holds_office()
    }

    /// Gives the office up, though this member may lead on. What is on its way may still happen, and comes back as
    /// another leader's would: as from [`deposed`](Self::deposed).
    pub fn resign(&mut self) -> Vec<Effects> {
        self.office = None;
        self.abandon()
    }

    /// True while the shard decides here.
    pub fn holds_office(&self) -> bool {
        self.office == Some(self.raft.term()) && self.raft.role() == RoleKind::Leader
    }

    /// True if the office is lost in which the shard has decided: what it decided may never have happened. Its
    /// memory is to be rebuilt from what was [`applied`](Self::applied), and everybody who waits is told that the outcome
    /// is unknown: those are in what this hands over, once.
    pub fn deposed(&mut self) -> Option<Vec<Effects>> {
        if self.office.is_none() || self.holds_office() {
            return None;
        }
        Some(self.resign())
    }

    /// Gives up everything that waits: nothing is released any more.
    pub fn abandon(&mut self) -> Vec<Effects> {
        self.waiting.drain(..).map(|waiting| *waiting.batch).collect()
    }

    /// Sends a decided batch on its way.
    ///
    /// # Errors
    /// The batch, and why it was not begun; outside of that, a member that must stop.
    pub fn propose(
        &mut self,
        batch: Effects,
        flags: u16,
        now_us: u64,
    ) -> Result<Result<(), (Box<Effects>, Declined)>, RaftError> {
        let batch = Box::new(batch);
        if !self.holds_office() {
            let leader = self.raft.leader();
            return Ok(Err((batch, Declined::NotLeader { leader })));
        }
        let is_entry = !batch.frame.is_empty();
        let mut index = self.raft.log().last().index;
        if is_entry {
            match self.raft.propose(&batch.frame, batch.time_us, flags, now_us)? {
                Ok(position) => index = position.index,
                Err(declined) => return Ok(Err((batch, declined))),
            }
        }
        if !is_entry && !self.raft.led_since(now_us, now_us) {
            self.raft.ask_followers(now_us)?;
        }
        let term = self.raft.term();
        self.waiting.push_back(Waiting { index, term, is_entry, decided_us: now_us, batch });
        Ok(Ok(()))
    }

    /// Sends a change of the group on its way: in a batch of its own, which the shard records in front of everything
    /// that it decides from now on. `open` must be empty.
    ///
    /// # Errors
    /// [`Declined`], and nothing was recorded; outside of that, a member that must stop.
    pub fn change_group(
        &mut self,
        shard: &mut Shard,
        next: &Members,
        now_us: u64,
    ) -> Result<Result<(), Declined>, RaftError> {
        if !self.holds_office() {
            return Ok(Err(Declined::NotLeader { leader: self.raft.leader() }));
        }
        if let Err(declined) = self.raft.check_change(next) {
            return Ok(Err(declined));
        }
        let mut batch = Effects::default();
        shard.record_group(next, now_us, &mut batch);
        Ok(self.propose(batch, FLAG_MEMBERS, now_us)?.map_err(|(_, declined)| declined))
    }

    fn may_say(&self, said: &Waiting, now_us: u64) -> bool {
        said.term == self.raft.term() && self.raft.led_since(said.decided_us, now_us)
    }

    /// True if [`release`](Self::release) has something.
    pub fn may_release(&self, now_us: u64) -> bool {
        match self.waiting.front().filter(|first| !first.is_entry && first.index <= self.applied) {
            Some(said) => self.may_say(said, now_us),
            None => self.applied < self.raft.applicable(),
        }
    }

    /// The next thing that may leave.
    ///
    /// # Errors
    /// A member that must stop.
    pub fn release(&mut self, now_us: u64) -> Result<Option<Release>, RaftError> {
        if let Some(first) = self.waiting.front()
            && !first.is_entry
            && first.index <= self.applied
        {
            if !self.may_say(first, now_us) {
                return Ok(None);
            }
            return Ok(self.waiting.pop_front().map(|said| Release::Said(said.batch)));
        }
        let index = self.applied + 1;
        if index > self.raft.applicable() {
            return Ok(None);
        }
        let Some(entry) = self.committed(index)? else { return Ok(None) };
        self.applied = index;
        let is_own = |own: &Waiting| own.is_entry && (own.index, own.term) == (index, entry.position().term);
        if self.waiting.front().is_some_and(is_own)
            && let Some(own) = self.waiting.pop_front()
        {
            return Ok(Some(Release::Own(own.batch, entry)));
        }
        Ok(Some(Release::Foreign(entry)))
    }

    /// A committed entry. A member that was away has them in its files alone, where looking one up costs as much as reading
    /// very many: so they are read together.
    fn committed(&mut self, index: u64) -> Result<Option<Entry>, RaftError> {
        if self.ahead.front().is_none_or(|next| next.position().index != index) {
            self.ahead = self.raft.log().read(index, self.raft.applicable(), AHEAD_BYTES)?.into();
        }
        Ok(self.ahead.pop_front())
    }
}
