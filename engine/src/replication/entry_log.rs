//! The replicated log as consensus sees it: the newest entries in memory, older ones in the log's files.

use std::collections::VecDeque;

use onrush_storage::log::{Front, LogReader, ReadError};

use super::entry::{Entry, Position};
use super::group_record::GroupRecordError;
use super::members::Members;

/// Why an entry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The log's files could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An entry says that it is about the group, and is not.
    #[error("entry {index}: {source}")]
    Members {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        source: GroupRecordError,
    },
    /// The files hold another entry than the one that was appended there.
    #[error("expected entry {expected} in the log's files, found {found}")]
    Gap {
        /// The index asked for.
        expected: u64,
        /// The index that came.
        found: u64,
    },
}

/// All entries that can be read, and what is known of each without reading it.
pub struct EntryLog {
    /// What is in front of the oldest entry.
    front: Front,
    /// The last entry; the one in front of the oldest if there is none.
    last: Position,
    /// The Lsn and the shard time that the next entry continues.
    next_lsn: u64,
    time_us: u64,
    /// Where each term begins: index and term, in rising order.
    terms: Vec<(u64, u64)>,
    /// Who belongs to the group from which index on. The first one holds from the log's beginning.
    members: Vec<(u64, Members)>,
    /// The newest entries, all that are not durable among them.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    recent_bytes_max: usize,
    /// The last entry that is on disk.
    durable: u64,
    files: Option<LogReader>,
}

impl EntryLog {
    /// A log without entries. `members` is the group that it begins with, `recent_bytes_max` how much stays in memory.
    pub fn new(members: Members, recent_bytes_max: usize) -> Self {
        Self {
            front: Front { next_lsn: 1, ..Front::default() },
            last: Position::default(),
            next_lsn: 1,
            time_us: 0,
            terms: Vec::new(),
            members: vec![(0, members)],
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_bytes_max,
            durable: 0,
            files: None,
        }
    }

    /// What a log's files hold. `members` is the group as the store has it, or as it was founded: it holds unless an
    /// entry says otherwise.
    ///
    /// # Errors
    /// If the files cannot be read, or an entry about the group is none.
    pub fn open(mut files: LogReader, members: Members, recent_bytes_max: usize) -> Result<Self, EntryError> {
        let mut log = Self::new(members, recent_bytes_max);
        if let Some(front) = front_of(&mut files.another())? {
            log.begin_behind(front);
        }
        while let Some(frame) = files.next_frame()? {
            let info = frame.info();
            if info.is_seal() {
                continue;
            }
            log.push(Entry::from(frame.to_frame()))?;
            log.durable = info.index;
            log.trim();
        }
        log.files = Some(files.another());
        Ok(log)
    }

    fn begin_behind(&mut self, front: Front) {
        (self.front, self.next_lsn, self.time_us) = (front, front.next_lsn, front.time_us);
        (self.last, self.durable) = (self.before(), front.index);
    }

    /// Forgets what the log's files have let go of.
    ///
    /// # Errors
    /// If the oldest frame cannot be read.
    pub fn released(&mut self) -> Result<(), EntryError> {
        let Some(files) = &self.files else { return Ok(()) };
        let Some(front) = front_of(&mut files.another())? else { return Ok(()) };
        self.front = front;
        // Of each what still holds for the oldest entry stays.
        let before = |first: &u64| *first <= front.index + 1;
        let gone = self.terms.partition_point(|(first, _)| before(first)).saturating_sub(1);
        self.terms.drain(..gone);
        let gone = self.members.partition_point(|(first, _)| before(first)).saturating_sub(1);
        self.members.drain(..gone);
        while self.recent.front().is_some_and(|entry| entry.position().index <= front.index) {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |entry| entry.bytes());
        }
        Ok(())
    }

    /// What is in front of the oldest entry.
    pub fn front(&self) -> Front {
        self.front
    }

    fn before(&self) -> Position {
        Position { term: self.front.term, index: self.front.index }
    }

    /// The last entry.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The Lsn of the next entry's first record.
    pub fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// The shard time of the last entry in us.
    pub fn time_us(&self) -> u64 {
        self.time_us
    }

    /// The index of the oldest entry that can be read.
    pub fn first_index(&self) -> u64 {
        self.front.index + 1
    }

    /// The last entry that is on disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Who belongs to the group, by the last entry that says so, committed or not.
    pub fn members(&self) -> &Members {
        &self.members[self.members.len() - 1].1
    }

    /// Who belonged to it before that entry; `None` if that is not known here.
    pub fn members_before(&self) -> Option<&Members> {
        self.members.len().checked_sub(2).map(|at| &self.members[at].1)
    }

    /// The entry that said who belongs to the group; 0 if it was begun so.
    pub fn members_index(&self) -> u64 {
        self.members[self.members.len() - 1].0
    }

    /// The term of an entry; `None` if it is not there.
    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.front.index {
            return Some(self.front.term);
        }
        if index < self.front.index || index > self.last.index {
            return None;
        }
        let after = self.terms.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).map(|at| self.terms[at].1)
    }

    /// The last entry in front of the term that `index` belongs to: where a leader looks next whose log differs
    /// at `index`.
    pub fn in_front_of_term(&self, index: u64) -> u64 {
        let after = self.terms.partition_point(|(first, _)| *first <= index.min(self.last.index));
        let first = after.checked_sub(1).map_or(self.first_index(), |at| self.terms[at].0);
        first.saturating_sub(1).max(self.front.index)
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// If it says that it is about the group, and is not.
    ///
    /// # Panics
    /// If it is not the next one: only what was checked against the last entry comes here.
    pub fn push(&mut self, entry: Entry) -> Result<(), EntryError> {
        let (position, info) = (entry.position(), entry.info());
        assert_eq!(position.index, self.last.index + 1, "entries come in order");
        let members =
            entry.members().map_err(|source| EntryError::Members { index: position.index, source })?;
        if let Some(members) = members {
            self.members.push((position.index, members));
        }
        if self.terms.last().is_none_or(|(_, term)| *term != position.term) {
            self.terms.push((position.index, position.term));
        }
        self.last = position;
        self.next_lsn = info.next_lsn();
        self.time_us = info.time_us;
        self.recent_bytes += entry.bytes();
        self.recent.push_back(entry);
        Ok(())
    }

    /// Forgets the entries behind `index`.
    ///
    /// # Errors
    /// If the entry that is the last one then cannot be read.
    pub fn truncate_after(&mut self, index: u64) -> Result<(), EntryError> {
        if index >= self.last.index {
            return Ok(());
        }
        let end = match index == self.front.index {
            true => None,
            false => self.read(index, index, 0)?.pop(),
        };
        while self.recent.back().is_some_and(|entry| entry.position().index > index) {
            self.recent_bytes -= self.recent.pop_back().map_or(0, |entry| entry.bytes());
        }
        self.terms.retain(|(first, _)| *first <= index);
        self.members.retain(|(first, _)| *first <= index);
        self.durable = self.durable.min(index);
        self.last = end.as_ref().map_or(self.before(), Entry::position);
        self.next_lsn = end.as_ref().map_or(self.front.next_lsn, |entry| entry.info().next_lsn());
        self.time_us = end.as_ref().map_or(self.front.time_us, |entry| entry.info().time_us);
        Ok(())
    }

    /// Everything up to `index` is on disk.
    pub fn persisted(&mut self, index: u64) {
        self.durable = self.durable.max(index.min(self.last.index));
    }

    /// Lets go of entries in memory beyond its bound, as far as they are on disk.
    pub fn trim(&mut self) {
        while self.recent_bytes > self.recent_bytes_max
            && self.recent.front().is_some_and(|entry| entry.position().index <= self.durable)
        {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |entry| entry.bytes());
        }
    }

    /// The entries `from..=to`, or as many as fit `bytes_max`, one at least.
    ///
    /// # Errors
    /// If they are in the files alone and cannot be read there.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, EntryError> {
        let mut entries: Vec<Entry> = Vec::new();
        let to = to.min(self.last.index);
        let mut bytes = 0;
        let mut next = from;
        let first = self.recent.front().map_or(u64::MAX, |entry| entry.position().index);
        if next < first
            && let Some(files) = &self.files
        {
            let mut reader = files.another();
            reader.seek_index(next)?;
            while next <= to && next < first && (bytes == 0 || bytes < bytes_max) {
                let Some(frame) = reader.next_frame()? else { break };
                let info = frame.info();
                if info.is_seal() {
                    continue;
                }
                if info.index != next {
                    return Err(EntryError::Gap { expected: next, found: info.index });
                }
                bytes += frame.bytes().len();
                entries.push(Entry::from(frame.to_frame()));
                next += 1;
            }
        }
        if next >= first {
            let skip = (next - first) as usize;
            for entry in self.recent.iter().skip(skip) {
                if entry.position().index > to || (bytes > 0 && bytes + entry.bytes() > bytes_max) {
                    break;
                }
                bytes += entry.bytes();
                entries.push(entry.clone());
            }
        }
        if entries.is_empty() && from <= to {
            return Err(EntryError::Gap { expected: from, found: first.min(self.last.index) });
        }
        Ok(entries)
    }
}

/// What is in front of the oldest frame of a log's files; `None` if there is no frame. Its time is that of the oldest
/// frame, which for a seal is the same.
fn front_of(files: &mut LogReader) -> Result<Option<Front>, ReadError> {
    let term = files.term_in_front();
    let Some(info) = files.next_frame()?.map(|frame| frame.info()) else { return Ok(None) };
    // A seal has the index of the frame in front of it.
    let index = info.index - u64::from(!info.is_seal());
    let time_us = if index == 0 { 0 } else { info.time_us };
    Ok(Some(Front { next_lsn: info.first_lsn, index, term, time_us }))
}
