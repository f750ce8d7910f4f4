//! Beginning a log anew, behind what a snapshot holds: what a replica does that lacks what all others have released.

use std::io;
use std::sync::Arc;

use super::append::{AppendError, Log};
use super::frame::FLAG_SEAL;
use super::frame_buf::FrameBuf;
use super::options::LogOptions;
use super::recovery::OpenError;
use super::segment::{is_spare, sequence_of};
use crate::disk::Disk;

/// What stands in front of a log's first frame, and is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Front {
    /// The Lsn of the first record to come.
    pub next_lsn: u64,
    /// The index of the frame in front.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its shard time in us.
    pub time_us: u64,
}

/// Why a log could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// What was there could not be removed, or the new log not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its first frame was not written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Log {
    /// Begins a log behind `front`, in place of whatever log the directory holds. Its first frame is a seal, which
    /// has the index, term and time of the frame in front.
    ///
    /// A crash on the way leaves no log that is to be believed: the caller has a mark on record until this returns,
    /// and begins again.
    ///
    /// # Errors
    /// [`BeginError`]; the directory is then to be begun again.
    pub fn begin(disk: Arc<dyn Disk>, options: LogOptions, front: Front) -> Result<Self, BeginError> {
        let failed = |file: String| move |source: io::Error| OpenError::Write { file, source };
        let names = disk.list().map_err(failed(".".to_owned()))?;
        for name in names.into_iter().filter(|name| sequence_of(name).is_some() || is_spare(name)) {
            disk.remove(&name).map_err(failed(name.clone()))?;
        }
        let (mut log, _) = Self::open(disk, LogOptions { first_lsn: front.next_lsn, ..options })?;
        (log.chain.index, log.chain.term, log.chain.time_us) = (front.index, front.term, front.time_us);
        log.set_term(front.term);
        log.append_kind(&mut FrameBuf::new(), front.time_us, FLAG_SEAL)?;
        Ok(log)
    }
}
