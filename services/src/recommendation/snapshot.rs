//! The counters in a file, with the position up to which each shard's log is in them: what is read
//! after a restart begins there, so nothing counts twice and nothing is left out.
//!
//! A sealed file (`onrush_scoring::sealed`) of an archive. One that is damaged, of another version or of another
//! data directory is refused; what it said can be had from the log.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::fs;
use std::io;
use std::path::Path;

use onrush_scoring::sealed::{self, Kind, SealError};
use rkyv::rancor::Error;
use rkyv::{Archive, Deserialize, Serialize};

use super::counters::Counted;
use super::mix::Model;

const KIND: Kind = Kind { magic: *b"onrush-r", version: 4 };

/// What a file holds.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Snapshot {
    /// Names the data directory whose log it was counted from.
    pub(super) directory: u128,
    /// The last record of each shard that is counted.
    pub(super) cursors: Vec<u64>,
    pub(super) model: Model,
    pub(super) counted: Counted,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error("expected counters, found: {0}")]
    Archive(Error),
    #[error("expected counters of this data directory, found those of another one")]
    Foreign,
}

impl Snapshot {
    /// Reads a file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, SnapshotError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Self::decode(&bytes).map(Some)
    }

    fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let body = KIND.open(bytes)?;
        rkyv::from_bytes::<Self, Error>(body).map_err(SnapshotError::Archive)
    }

    fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let body = rkyv::to_bytes::<Error>(self).map_err(SnapshotError::Archive)?;
        Ok(KIND.seal(&body))
    }

    /// Puts it in place of what is there, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<(), SnapshotError> {
        Ok(sealed::replace(path, &self.encode()?)?)
    }

    /// Refused if it was counted from another log.
    pub(super) fn of(self, directory: u128, shards: u16) -> Result<Self, SnapshotError> {
        match self.directory == directory && self.cursors.len() == usize::from(shards) {
            true => Ok(self),
            false => Err(SnapshotError::Foreign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::counters::{Bounds, Counters};
    use crate::recommendation::purchase::{Lesson, Purchase};

    fn snapshot() -> Snapshot {
        let mut counters = Counters::new(Bounds::RECOMMENDED);
        for number in 0..50u64 {
            let skus = ["tea".parse().unwrap(), format!("sku-{number}").parse().unwrap()];
            let customer = format!("customer-{}", number % 7).parse().unwrap();
            let time_us = 1_700_000_000_000_000 + number * 60_000_000;
            counters.learn(&Lesson::Bought(Purchase {
                customer,
                time_us,
                lines: skus.map(|sku| (sku, 499)).to_vec(),
            }));
        }
        let model = Model { version: 3, ..Model::default() };
        Snapshot { directory: 7, cursors: vec![3, 0, 99], model, counted: counters.counted().clone() }
    }

    #[test]
    fn what_was_written_is_read_and_goes_on_as_if_nothing_had_been() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        assert!(Snapshot::read(&path).unwrap().is_none());
        let written = snapshot();
        written.write(&path).unwrap();
        let read = Snapshot::read(&path).unwrap().unwrap();
        assert_eq!(read, written);
        assert!(read.clone().of(7, 3).is_ok());
        assert!(read.clone().of(8, 3).is_err() && read.of(7, 4).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = snapshot().encode().unwrap();
        for at in (0..bytes.len()).step_by(7).chain(0..32) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(Snapshot::decode(&damaged).is_err(), "a bit of byte {at}");
            assert!(Snapshot::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Snapshot::decode(&longer).is_err());
    }
}
