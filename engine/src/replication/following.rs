//! The follower's side: entries come in.

use onrush_proto::planted::planted;
use onrush_storage::log::FLAG_MEMBERS;

use super::entry::{Entry, Position};
use super::members::NodeId;
use super::message::{Append, AppendResult, Body, Message};
use super::raft::{Raft, RaftError, Role};

impl Raft {
    pub(super) fn append(
        &mut self,
        from: NodeId,
        term: u64,
        append: Append,
        now_us: u64,
    ) -> Result<(), RaftError> {
        let sent_us = append.sent_us;
        if term < self.vote.term {
            // The sender learns that its term is over.
            let result = AppendResult::Missing { tested: append.previous.index, hint: self.log.last().index };
            self.say_later(from, self.vote.term, Body::Appended { sent_us, said_us: now_us, result });
            return Ok(());
        }
        if term == self.vote.term
            && let Some(first) = self.leader.filter(|leader| *leader != from)
        {
            return Err(RaftError::TwoLeaders { term, first, second: from });
        }
        (self.sought, self.outdid) = (0, false);
        if matches!(self.role, Role::Follower) && term == self.vote.term {
            self.leader = Some(from);
            self.await_leader(now_us);
        } else {
            self.follow(term, Some(from), now_us);
        }
        self.heard_us = now_us;
        if append.entries.is_empty() && self.is_busy_writing() {
            self.out.now.push(Message {
                from: self.options.id,
                to: from,
                term: self.vote.term,
                body: Body::Appended { sent_us, said_us: now_us, result: AppendResult::Heard },
            });
        }
        let (commit, as_of_us) = (append.commit, append.as_of_us);
        if let Some(result) = self.take_entries(append)? {
            self.freshness.learn(commit, as_of_us, now_us);
            self.say_later(from, self.vote.term, Body::Appended { sent_us, said_us: now_us, result });
        }
        Ok(())
    }

    /// True while entries are on their way to the disk, and its promise of this term is there for certain, which is in
    /// front of each entry of the term: a leader need not wait to learn that it is followed.
    fn is_busy_writing(&self) -> bool {
        let durable = self.log.durable();
        durable < self.log.last().index && self.log.term(durable) == Some(self.vote.term)
    }

    /// True if a snapshot that its leader offers, up to the committed entry `last`, may take the place of this member's log:
    /// nothing that it has acknowledged, and anybody counts on, is lost with it. What it holds of a committed entry, and in
    /// front of it, is in the snapshot; if it holds another entry in that place, all from there on was never committed.
    pub fn lacks(&self, last: Position) -> bool {
        let has = last.index <= self.commit || self.log.term(last.index) == Some(last.term);
        matches!(self.role, Role::Follower) && (!has || planted(48))
    }

    /// `None` for a message that no leader sends.
    fn take_entries(&mut self, append: Append) -> Result<Option<AppendResult>, RaftError> {
        let Append { previous, commit, entries, .. } = append;
        let before = self.log.first_index() - 1;
        let differs = self.log.term(previous.index) != Some(previous.term);
        // In front of the oldest entry everything is committed, and so the same everywhere.
        let differs = differs && !(planted(37) && previous.index <= self.log.last().index);
        if differs && previous.index >= before {
            let last = self.log.last().index;
            let hint = match previous.index > last {
                true => last,
                // What is committed is the same everywhere.
                false => self.log.in_front_of_term(previous.index).max(self.commit),
            };
            return Ok(Some(AppendResult::Missing { tested: previous.index, hint }));
        }
        if !self.is_sound(previous, &entries)? {
            return Ok(None);
        }
        let mut matched = previous.index;
        for entry in entries {
            matched += 1;
            if matched > before {
                self.take_entry(entry)?;
            }
        }
        self.commit = self.commit.max(commit.min(matched));
        self.catch_up();
        // What is behind it here may be another leader's.
        let equal = if planted(40) { self.log.last().index } else { matched };
        Ok(Some(AppendResult::Matched(equal)))
    }

    /// True if entries continue each other and the log, as those of a leader do: nothing is taken, and nothing taken
    /// back, for a message that lies.
    fn is_sound(&self, previous: Position, entries: &[Entry]) -> Result<bool, RaftError> {
        let mut before = previous;
        let mut next_lsn = None;
        for entry in entries {
            let (position, info) = (entry.position(), entry.info());
            let follows = position.index == before.index + 1
                && (before.term..=self.vote.term).contains(&position.term)
                && info.flags & !FLAG_MEMBERS == 0
                && entry.members().is_ok();
            let is_here = self.log.term(position.index) == Some(position.term);
            if next_lsn.is_none() && !is_here {
                next_lsn = self.next_lsn_behind(before.index)?;
            }
            if !follows || next_lsn.is_some_and(|lsn| lsn != info.first_lsn) {
                return Ok(false);
            }
            next_lsn = next_lsn.map(|_| info.next_lsn());
            before = position;
        }
        Ok(true)
    }

    /// The Lsn behind an entry of the log, or behind its front; `None` in front of that.
    fn next_lsn_behind(&self, index: u64) -> Result<Option<u64>, RaftError> {
        if index == self.log.last().index {
            return Ok(Some(self.log.next_lsn()));
        }
        let front = self.log.front();
        if index <= front.index {
            return Ok((index == front.index).then_some(front.next_lsn));
        }
        let entries = self.log.read(index, index, 0)?;
        Ok(entries.first().map(|entry| entry.info().next_lsn()))
    }

    fn take_entry(&mut self, entry: Entry) -> Result<(), RaftError> {
        let position = entry.position();
        match self.log.term(position.index) {
            Some(term) if term == position.term => return Ok(()),
            Some(ours) => {
                if position.index <= self.commit {
                    let (index, theirs) = (position.index, position.term);
                    return Err(RaftError::CommittedReplaced { index, ours, theirs });
                }
                self.truncate_after(position.index - 1)?;
            }
            None => {}
        }
        self.log.push(entry.clone())?;
        self.out.append.push(entry);
        Ok(())
    }

    fn truncate_after(&mut self, index: u64) -> Result<(), RaftError> {
        self.log.truncate_after(index)?;
        let out = &mut self.out;
        out.append.retain(|entry| entry.position().index <= index);
        // Nobody is told any more that what is taken back is here.
        let behind = |body: &Body| matches!(body, Body::Appended { result: AppendResult::Matched(matched), .. } if *matched > index);
        out.later.retain(|message| !behind(&message.body));
        out.truncate_after = Some(out.truncate_after.map_or(index, |earlier| earlier.min(index)));
        Ok(())
    }
}
