//! What a member has on disk: its log, and what it has promised.

use std::io;
use std::sync::Arc;

use onrush_storage::disk::Disk;
use onrush_storage::log::{
    AppendError, FrameInfo, Front, Log, LogOptions, LogReader, OpenError, ReadError, Recovery, TruncateError,
    Vote, VoteError, VoteFile,
};

use super::entry::Entry;
use super::raft::Output;

/// The log of a member and its vote.
pub struct MemberFiles {
    /// The log.
    pub log: Log,
    /// The vote.
    pub votes: VoteFile,
}

/// Why what a member has cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MemberOpenError {
    /// Its promises.
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// Its log.
    #[error(transparent)]
    Log(#[from] OpenError),
}

/// Why what a member owes its disk is not there. It must stop.
#[derive(Debug, thiserror::Error)]
pub enum MemberWriteError {
    /// An entry was not written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A promise was not written.
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// Entries that another leader does not have were not taken back.
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    /// An entry does not stand where its leader put it.
    #[error("expected the entry {expected:?} in the log, found it as {found:?}")]
    Elsewhere {
        /// What the leader says.
        expected: FrameInfo,
        /// Where the log would put it.
        found: FrameInfo,
    },
}

impl MemberFiles {
    /// What a disk has. A member whose last entry was found damaged, rather than torn, may have lost what it has acknowledged,
    /// and says so whenever it votes, until it has caught up: that is on record before the log is mended.
    ///
    /// # Errors
    /// [`MemberOpenError`].
    pub fn open(disk: &Arc<dyn Disk>, options: LogOptions) -> Result<(Self, Recovery), MemberOpenError> {
        let mut votes = VoteFile::open(disk)?;
        let mut unsaved = None;
        let opened = Log::open_mending(Arc::clone(disk), options, &mut |cut| {
            // Nothing more of this term: what was lost may be of it, and its leader counts on what it was told.
            let vote = Vote { term: votes.vote().term + 1, voted_for: None, barred: true };
            let saved = if cut.was_whole { votes.save(vote) } else { Ok(()) };
            saved.map_err(|error| {
                let source = io::Error::other(error.to_string());
                unsaved = Some(error);
                OpenError::Write { file: cut.file.clone(), source }
            })
        });
        if let Some(unsaved) = unsaved {
            return Err(unsaved.into());
        }
        let (log, found) = opened?;
        Ok((Self { log, votes }, found))
    }

    /// Makes an output durable: promise, cut, entries, in this order.
    ///
    /// # Errors
    /// [`MemberWriteError`]: what is on disk is known again after the next opening only.
    pub fn write(&mut self, output: &Output) -> Result<(), MemberWriteError> {
        if let Some(vote) = output.vote {
            self.votes.save(vote)?;
        }
        if let Some(index) = output.truncate_after {
            self.log.truncate_after(index)?;
        }
        self.check(&output.append)?;
        // What came together is written together: a member that is behind catches up.
        self.log.append_run(output.append.iter().map(|entry| entry.frame().view()))?;
        Ok(())
    }

    /// Every entry is to stand where its leader put it.
    fn check(&self, entries: &[Entry]) -> Result<(), MemberWriteError> {
        let (mut first_lsn, mut index) = (self.log.end_lsn() + 1, self.log.end_index() + 1);
        for entry in entries {
            let expected = entry.info();
            let found = FrameInfo { first_lsn, index, ..expected };
            if found != expected {
                return Err(MemberWriteError::Elsewhere { expected, found });
            }
            (first_lsn, index) = (expected.next_lsn(), index + 1);
        }
        Ok(())
    }
}

/// Where the shard of a member stands: the last entry that it has applied, the last record of it, and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The entry's index.
    pub index: u64,
    /// The last record.
    pub lsn: u64,
    /// Its shard time in us.
    pub time_us: u64,
}

impl Applied {
    /// What a store has applied that has everything up to `lsn`: what is in a store is committed. Behind that entry there
    /// may be some without records, which change nothing. `front` is what is in front of the log.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn in_store(mut reader: LogReader, front: Front, lsn: u64) -> Result<Self, ReadError> {
        let mut applied = Self { index: front.index, lsn, time_us: front.time_us };
        if lsn < front.next_lsn {
            return Ok(applied);
        }
        reader.seek(lsn)?;
        while let Some(frame) = reader.next_frame()? {
            let info = frame.info();
            if info.next_lsn() > lsn + 1 {
                break;
            }
            if info.record_count > 0 && !info.is_seal() {
                (applied.index, applied.time_us) = (info.index, info.time_us);
            }
        }
        Ok(applied)
    }

    /// An entry follows.
    pub fn pass(&mut self, info: FrameInfo) {
        *self = Self { index: info.index, lsn: info.next_lsn() - 1, time_us: info.time_us };
    }
}
