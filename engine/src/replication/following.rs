//! The follower's side: entries come in.

use super::entry::Entry;
use super::members::NodeId;
use super::message::{Append, AppendResult, Body};
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
            self.say_later(from, self.vote.term, Body::Appended { sent_us, result });
            return Ok(());
        }
        if term == self.vote.term
            && let Some(first) = self.leader.filter(|leader| *leader != from)
        {
            return Err(RaftError::TwoLeaders { term, first, second: from });
        }
        if matches!(self.role, Role::Follower) && term == self.vote.term {
            self.leader = Some(from);
            self.await_leader(now_us);
        } else {
            self.follow(term, Some(from), now_us);
        }
        self.heard_us = now_us;
        let result = self.take_entries(append)?;
        self.say_later(from, self.vote.term, Body::Appended { sent_us, result });
        Ok(())
    }

    fn take_entries(&mut self, append: Append) -> Result<AppendResult, RaftError> {
        let Append { previous, commit, entries, .. } = append;
        let before = self.log.first_index() - 1;
        let differs = self.log.term(previous.index) != Some(previous.term);
        // In front of the oldest entry everything is committed, and so the same everywhere.
        let differs = differs && !(cfg!(planted = "37") && previous.index <= self.log.last().index);
        if differs && previous.index >= before {
            let last = self.log.last().index;
            let hint = match previous.index > last {
                true => last,
                // What is committed is the same everywhere.
                false => self.log.in_front_of_term(previous.index).max(self.commit),
            };
            return Ok(AppendResult::Missing { tested: previous.index, hint });
        }
        let mut matched = previous.index;
        for entry in entries {
            if entry.position().index != matched + 1 {
                // A gap in a message: what is behind it belongs to nothing.
                break;
            }
            matched += 1;
            if matched > before {
                self.take_entry(entry)?;
            }
        }
        self.commit = self.commit.max(commit.min(matched));
        Ok(AppendResult::Matched(matched))
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
        if !cfg!(planted = "40") {
            out.later.retain(|message| !behind(&message.body));
        }
        out.truncate_after = Some(out.truncate_after.map_or(index, |earlier| earlier.min(index)));
        Ok(())
    }
}
