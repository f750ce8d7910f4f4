//! Snapshots: what a damaged store, a new replica and log recycling rest on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use onrush_proto::ShardId;
use onrush_proto::planted::planted;
use onrush_storage::disk::Disk;
use onrush_storage::log::{FrameInfo, Log, LogReader};
use onrush_storage::snapshot::{
    SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter, newest_named, newest_verified, prune,
};
use onrush_storage::store::{
    Frozen, KeyOrder, Keyspace, SortedRun, Store, StoreError, StoreReader, WHOLE_RANGE,
};

/// Snapshots kept, all verified.
const KEEP: usize = 2;
/// Rows of one run when a snapshot is installed.
const INSTALL_ROWS: usize = 200_000;

/// Takes snapshots, one at a time: on a thread of their own, or when the owner says so.
pub struct Snapshots {
    shard: ShardId,
    disk: Arc<dyn Disk>,
    every_bytes: u64,
    log_bytes: u64,
    last_bytes: Arc<AtomicU64>,
    oldest_kept: Arc<AtomicU64>,
    /// The first record that consumer groups have a claim to.
    owed: u64,
    running: Option<JoinHandle<()>>,
    /// Frozen and not written yet, if there is no thread to do it.
    waiting: Option<Frozen>,
    by_hand: bool,
    /// Those of an earlier life are to be looked at: the log in front of them has not been let go of.
    unchecked: bool,
    busy: Arc<AtomicBool>,
    /// The log, to look up where in it a snapshot stands.
    log: Option<LogReader>,
}

impl Snapshots {
    /// Snapshots of one shard on `disk`, every `every_bytes` of log, written in the background.
    pub fn new(shard: ShardId, disk: Arc<dyn Disk>, every_bytes: u64) -> Self {
        Self {
            shard,
            disk,
            every_bytes,
            log_bytes: 0,
            last_bytes: Arc::default(),
            oldest_kept: Arc::default(),
            owed: u64::MAX,
            running: None,
            waiting: None,
            by_hand: false,
            unchecked: false,
            busy: Arc::default(),
            log: None,
        }
    }

    /// Each snapshot says where in the log it stands, so that a replica may go on behind it.
    pub fn placed(mut self, log: LogReader) -> Self {
        self.log = Some(log);
        self
    }

    /// Goes on where an earlier life of the shard ended: the next snapshot is due by the log behind the newest
    /// one, not by what comes from now on, and what that life had not let go of is, once its snapshots are found sound. Who
    /// is restarted often would never take one, and never release its log.
    pub fn continuing(mut self, log: &Log) -> Self {
        let newest = newest_named(self.disk.as_ref()).unwrap_or_else(|error| {
            tracing::warn!(shard = self.shard.0, %error, "snapshots cannot be listed");
            None
        });
        let (lsn, bytes) = newest.unwrap_or_default();
        self.log_bytes = log.bytes_behind(lsn);
        self.last_bytes.store(bytes, Ordering::Release);
        // One interval of log is there between two snapshots.
        let in_front = log.bytes_behind(0).saturating_sub(self.log_bytes);
        self.unchecked = in_front / 2 > self.due();
        self
    }

    /// Starts no thread: a snapshot that is due waits for [`write_waiting`](Self::write_waiting).
    pub fn by_hand(self) -> Self {
        Self { by_hand: true, ..self }
    }

    /// Consumer groups have a claim to the log from this record on: if a replica may begin anew from a snapshot, one in front of
    /// it is kept.
    pub(crate) fn owe(&mut self, first: u64) {
        if self.log.is_some() {
            self.owed = first;
        }
    }

    /// Counts log; true if a snapshot is due. One waits for at least its predecessor's size of
    /// log, so all of them together write no more than the log does.
    pub(crate) fn grew(&mut self, log_bytes: u64) -> bool {
        self.log_bytes += log_bytes;
        if std::mem::take(&mut self.unchecked) {
            self.check();
        }
        self.log_bytes >= self.due() && !self.busy.load(Ordering::Acquire)
    }

    fn due(&self) -> u64 {
        self.every_bytes.max(self.last_bytes.load(Ordering::Acquire))
    }

    /// Reads the snapshots of an earlier life.
    fn check(&mut self) {
        self.busy.store(true, Ordering::Release);
        let (shard, disk, owed) = (self.shard, Arc::clone(&self.disk), self.owed);
        let (oldest, busy) = (Arc::clone(&self.oldest_kept), Arc::clone(&self.busy));
        let check = move || {
            match prune(disk.as_ref(), KEEP, owed) {
                Ok(pruned) => tell_oldest(&oldest, &pruned.kept),
                Err(error) => tracing::warn!(shard = shard.0, %error, "snapshots cannot be checked"),
            }
            busy.store(false, Ordering::Release);
        };
        if self.by_hand { check() } else { self.spawn(check) }
    }

    fn spawn(&mut self, work: impl FnOnce() + Send + 'static) {
        match thread::Builder::new().name(format!("snapshot-{:03}", self.shard.0)).spawn(work) {
            Ok(thread) => self.running = Some(thread),
            Err(error) => {
                tracing::warn!(shard = self.shard.0, %error, "snapshot not started");
                self.busy.store(false, Ordering::Release);
            }
        }
    }

    /// The position of the oldest of the verified snapshots that are kept; 0 while there are fewer than two.
    pub(crate) fn oldest_kept(&self) -> u64 {
        self.oldest_kept.load(Ordering::Acquire)
    }

    /// Takes a snapshot of a frozen store.
    pub(crate) fn take(&mut self, frozen: Frozen) {
        self.finish();
        self.log_bytes = 0;
        self.busy.store(true, Ordering::Release);
        if self.by_hand {
            self.waiting = Some(frozen);
            return;
        }
        let write = self.writing(frozen);
        self.spawn(write);
    }

    /// What writes a snapshot and tells how it went.
    fn writing(&self, frozen: Frozen) -> impl FnOnce() + Send + 'static {
        let (shard, disk, owed) = (self.shard, Arc::clone(&self.disk), self.owed);
        let (last_bytes, oldest, busy) =
            (Arc::clone(&self.last_bytes), Arc::clone(&self.oldest_kept), Arc::clone(&self.busy));
        let log = self.log.as_ref().map(LogReader::another);
        move || {
            match write_and_prune(shard, (&disk, owed), &frozen, log) {
                Ok((bytes, kept)) => {
                    last_bytes.store(bytes, Ordering::Release);
                    tell_oldest(&oldest, &kept);
                }
                // The log keeps what the snapshot would have replaced; the next one may succeed.
                Err(error) => tracing::warn!(shard = shard.0, %error, "snapshot failed"),
            }
            busy.store(false, Ordering::Release);
        }
    }

    /// Writes the snapshot that waits; true if there was one.
    pub(crate) fn write_waiting(&mut self) -> bool {
        let waiting = self.waiting.take().map(|frozen| self.writing(frozen));
        let any = waiting.is_some();
        waiting.into_iter().for_each(|write| write());
        any
    }

    /// Waits for the snapshot that is being written.
    pub(crate) fn finish(&mut self) {
        self.write_waiting();
        if let Some(thread) = self.running.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The log is kept from the oldest of those that are sound, if they are as many as are kept.
fn tell_oldest(oldest: &AtomicU64, kept: &[u64]) {
    if kept.len() >= KEEP {
        let floor = if planted(20) { kept.first() } else { kept.iter().min() };
        oldest.store(floor.copied().unwrap_or(0), Ordering::Release);
    }
}

fn section(keyspace: Keyspace) -> u8 {
    keyspace as u8
}

fn write_and_prune(
    shard: ShardId,
    (disk, owed): (&Arc<dyn Disk>, u64),
    frozen: &Frozen,
    log: Option<LogReader>,
) -> Result<(u64, Vec<u64>), TakeError> {
    let lsn = frozen.history_applied.min(frozen.current_applied) + u64::from(planted(19));
    let state_hash = rows_hash(frozen.reader.as_ref())?;
    let FrameInfo { index, term, time_us, .. } =
        log.and_then(|log| frame_that_ends(log, lsn)).unwrap_or_default();
    let index = index + u64::from(planted(49) && index > 0);
    let header = SnapshotHeader { shard: shard.0, lsn, term, time_us, index, state_hash };
    let mut writer = SnapshotWriter::create(Arc::clone(disk), header)?;
    for keyspace in Keyspace::ALL {
        let mut failed = None;
        each_row(frozen.reader.as_ref(), keyspace, &mut |key, value| match writer.push(
            section(keyspace),
            key,
            value,
        ) {
            Ok(()) => std::ops::ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                std::ops::ControlFlow::Break(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    let summary = writer.finish()?;
    let pruned = prune(disk.as_ref(), KEEP, owed)?;
    Ok((summary.bytes, pruned.kept))
}

/// The frame that ends with this record; `None` if none does, or it cannot be read: then nobody goes on behind this
/// snapshot.
fn frame_that_ends(mut log: LogReader, lsn: u64) -> Option<FrameInfo> {
    log.seek(lsn).ok()?;
    let info = log.next_frame().ok()??.info();
    (info.record_count > 0 && info.next_lsn() == lsn + 1).then_some(info)
}

type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> std::ops::ControlFlow<()> + 'a;

fn each_row(reader: &dyn StoreReader, keyspace: Keyspace, visit: &mut Visit<'_>) -> Result<(), StoreError> {
    reader.scan(keyspace, WHOLE_RANGE, KeyOrder::Ascending, visit)
}

/// A hash over all rows in order: equal stores have equal hashes.
fn rows_hash(reader: &dyn StoreReader) -> Result<u128, StoreError> {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for keyspace in Keyspace::ALL {
        hasher.update(&[section(keyspace)]);
        each_row(reader, keyspace, &mut |key, value| {
            hasher.update(&(key.len() as u32).to_le_bytes());
            hasher.update(key);
            hasher.update(&(value.len() as u32).to_le_bytes());
            hasher.update(value);
            std::ops::ControlFlow::Continue(())
        })?;
    }
    Ok(hasher.digest128())
}

/// Why a snapshot could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The snapshot could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store would not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows are not those that were written.
    #[error("expected rows with the hash {expected:032x} in snapshot {lsn}, found {found:032x}")]
    Hash {
        /// The snapshot's position.
        lsn: u64,
        /// The header's hash.
        expected: u128,
        /// That of the installed rows.
        found: u128,
    },
}

/// What [`install_newest`] found.
#[derive(Debug)]
pub struct Installed {
    /// The installed snapshot's position; `None` if there is none to trust.
    pub lsn: Option<u64>,
    /// Newer snapshots that did not verify, each with the reason.
    pub damaged: Vec<(String, SnapshotError)>,
}

/// Fills an empty store from the newest snapshot that verifies, if there is one.
///
/// # Errors
/// The snapshots cannot be listed, or the rows are not taken as they were written.
pub fn install_newest(snapshots: &dyn Disk, store: &mut dyn Store) -> Result<Installed, InstallError> {
    let newest = newest_verified(snapshots)?;
    let lsn = newest.reader.map(|snapshot| install(&snapshot, store)).transpose()?;
    Ok(Installed { lsn, damaged: newest.damaged })
}

/// Fills an empty store from a snapshot. Returns the snapshot's position. A crash on the way
/// leaves a store whose applied index the log cannot continue, so it is filled anew.
///
/// # Errors
/// [`InstallError`]; the store is then to be filled anew.
pub fn install(snapshot: &SnapshotReader, store: &mut dyn Store) -> Result<u64, InstallError> {
    let header = *snapshot.header();
    let mut builders = Keyspace::ALL.map(|_| SortedRun::builder());
    let mut steps = [0u64; 2];
    let mut failed = None;
    snapshot.rows(|section, key, value| {
        let Some(at) = Keyspace::ALL.iter().position(|keyspace| *keyspace as u8 == section) else { return };
        builders[at].push(key, Some(value));
        // The steps stay below the snapshot's own position, which comes last.
        let room = steps[at] + 1 < header.lsn;
        if builders[at].len() >= INSTALL_ROWS && room && failed.is_none() {
            steps[at] += 1;
            failed = store.ingest(Keyspace::ALL[at], &builders[at].finish(), steps[at]).err();
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    for (at, keyspace) in Keyspace::ALL.into_iter().enumerate() {
        store.ingest(keyspace, &builders[at].finish(), header.lsn)?;
    }
    let found = rows_hash(store.reader().as_ref())?;
    if found != header.state_hash {
        return Err(InstallError::Hash { lsn: header.lsn, expected: header.state_hash, found });
    }
    Ok(header.lsn)
}
