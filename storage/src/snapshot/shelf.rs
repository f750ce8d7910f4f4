//! The snapshots on one disk: which is the newest to trust, and which may go.

use super::{
    SnapshotError, SnapshotReader,
    format::{file_name, is_unfinished, parse_name},
};
use crate::disk::Disk;

/// The newest snapshot that verified, and the newer ones that did not.
pub struct Newest {
    /// The newest snapshot whose every byte is right; `None` if there is none.
    pub reader: Option<SnapshotReader>,
    /// Newer snapshots that failed, newest first, each with the reason.
    pub damaged: Vec<(String, SnapshotError)>,
}

/// What [`prune`] left and what it removed.
#[derive(Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Lsn of the kept snapshots, newest first, all verified.
    pub kept: Vec<u64>,
    /// Names of the removed files.
    pub removed: Vec<String>,
}

/// Lsn and bytes of the newest snapshot by its name, verified or not; `None` if there is none.
///
/// # Errors
/// The disk cannot be listed, or the file not opened.
pub fn newest_named(disk: &dyn Disk) -> Result<Option<(u64, u64)>, SnapshotError> {
    let names = list(disk)?;
    let Some(name) = newest_first(&names).into_iter().next() else { return Ok(None) };
    let bytes = disk.open(name).and_then(|file| file.len()).map_err(SnapshotError::io(name))?;
    Ok(parse_name(name).map(|lsn| (lsn, bytes)))
}

/// Lsn of all snapshots by their names, newest first, verified or not.
///
/// # Errors
/// The disk cannot be listed.
pub fn named(disk: &dyn Disk) -> Result<Vec<u64>, SnapshotError> {
    let names = list(disk)?;
    Ok(newest_first(&names).into_iter().filter_map(parse_name).collect())
}

/// Opens the snapshot of this Lsn: header and footer are checked.
///
/// # Errors
/// There is none, or it is damaged there.
pub fn open_named(disk: &dyn Disk, lsn: u64) -> Result<SnapshotReader, SnapshotError> {
    SnapshotReader::open(disk, &file_name(lsn, "snap"))
}

/// Gives a snapshot that came from elsewhere the name of one of this Lsn, durably.
///
/// # Errors
/// The disk said so.
pub fn take_in(disk: &dyn Disk, from: &str, lsn: u64) -> Result<(), SnapshotError> {
    disk.rename(from, &file_name(lsn, "snap")).map_err(SnapshotError::io(from))
}

/// Tries the snapshots of the disk, newest first, and returns the first that verifies.
pub fn newest_verified(disk: &dyn Disk) -> Result<Newest, SnapshotError> {
    let mut damaged = Vec::new();
    for name in newest_first(&list(disk)?) {
        match open_verified(disk, name) {
            Ok(reader) => return Ok(Newest { reader: Some(reader), damaged }),
            Err(error) => damaged.push((name.to_owned(), error)),
        }
    }
    Ok(Newest { reader: None, damaged })
}

/// Keeps the newest `keep` verified snapshots (two are the rule) and, if none of them is in front of record `needed`, the newest
/// that is; removes every other older or damaged one and every unfinished file.
///
/// Nothing is removed unless `keep` verified, so a disk that reads badly today loses nothing. Must
/// not run while a snapshot is being written.
pub fn prune(disk: &dyn Disk, keep: usize, needed: u64) -> Result<Pruned, SnapshotError> {
    // What is kept is what the log is released for: it must be there after a power loss.
    disk.sync_entries().map_err(SnapshotError::io("the directory of snapshots"))?;
    let names = list(disk)?;
    let mut pruned = Pruned { kept: Vec::new(), removed: Vec::new() };
    let mut doomed: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_unfinished(name)).collect();
    for name in newest_first(&names) {
        let in_front = |lsn: u64| lsn < needed;
        let wanted = pruned.kept.len() < keep
            || (parse_name(name).is_some_and(in_front) && !pruned.kept.iter().copied().any(in_front));
        let verified = wanted.then(|| open_verified(disk, name));
        match verified {
            Some(Ok(reader)) => pruned.kept.push(reader.header().lsn),
            Some(Err(_)) | None => doomed.push(name),
        }
    }
    if pruned.kept.len() < keep {
        doomed.retain(|name| is_unfinished(name));
    }
    for name in doomed {
        disk.remove(name).map_err(SnapshotError::io(name))?;
        pruned.removed.push(name.to_owned());
    }
    Ok(pruned)
}

fn open_verified(disk: &dyn Disk, name: &str) -> Result<SnapshotReader, SnapshotError> {
    let reader = SnapshotReader::open(disk, name)?;
    reader.verify()?;
    Ok(reader)
}

fn list(disk: &dyn Disk) -> Result<Vec<String>, SnapshotError> {
    disk.list().map_err(SnapshotError::io("the directory of snapshots"))
}

fn newest_first(names: &[String]) -> Vec<&str> {
    let mut found: Vec<_> =
        names.iter().filter_map(|name| Some((parse_name(name)?, name.as_str()))).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, name)| name).collect()
}
