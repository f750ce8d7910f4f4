//! What is read from a data directory before its shards can work.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onrush_proto::{KeyHasher, ShardId, SlotMap};
use onrush_storage::disk::{DirLock, Disk, RealDisk, SECTOR_BYTES};
use onrush_storage::log::{Log, LogOptions, Prepare, Recovery, VoteFile};
use onrush_storage::store::{self, FjallOptions, FjallStore, Keyspace, MemoryStore, Store};

use crate::engine::OpenError;
use crate::flush::Stored;
use crate::format::{ClusterFormat, Format};
use crate::host::{install, install_newest};
use crate::options::{EngineOptions, StoreKind};
use crate::recover::{LogPosition, RecoverError, Recovered, recover_with_views};
use crate::replication::{Applied, Arrived, EntryLog, MemberFiles, MemberOpenError, found, stored_group};
use crate::shard::ShardOptions;
use crate::views::ShardViews;

/// Bytes of entries that a member keeps in memory for others, per shard.
const RECENT_BYTES_MAX: usize = 64 << 20;

/// The first segment of a group's log holds how the group began, and a seal.
const FOUNDING_BYTES: u64 = 3 * SECTOR_BYTES as u64;

/// Formats an empty directory for a node of a cluster: the groups that it founds, or will follow, are on record before
/// it is opened.
///
/// # Errors
/// [`OpenError`]. What was begun then is to be removed by hand: it is no node yet.
pub(crate) fn format_node(dir: &Path, shards: u16, cluster: ClusterFormat) -> Result<(), OpenError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| OpenError::Directory { path: dir.to_path_buf(), source })?;
    let founders = cluster.founders.clone();
    let format = Format::of_node(dir, shards, cluster)?;
    let _lock = DirLock::acquire(dir)?;
    for shard in 0..shards {
        let path = shard_dir(dir, shard).join("log");
        let disk: Arc<dyn Disk> = Arc::new(open_disk(path)?);
        let options = LogOptions {
            prepare: Prepare::Inline,
            segment_bytes: FOUNDING_BYTES,
            ..LogOptions::new(shard, entropy() as u64)
        };
        let log = Log::open(Arc::clone(&disk), options);
        let (mut log, _) = log.map_err(|source| OpenError::Log { shard, source })?;
        // The same entry at every node: how a group began has no time.
        found(&mut log, &founders, 0).map_err(|source| OpenError::Found { shard, source })?;
        log.seal(0).map_err(|source| OpenError::Found { shard, source })?;
        VoteFile::open(&disk).map_err(|source| OpenError::Vote { shard, source })?;
    }
    // Last: what has a format is whole.
    Ok(format.write(dir)?)
}

fn shard_dir(dir: &Path, shard: u16) -> PathBuf {
    dir.join(format!("shard-{shard:03}"))
}

fn tell_of_cut(shard: u16, found: &Recovery) {
    if let Some(cut) = &found.cut {
        tracing::warn!(shard, ?cut, "cut a torn tail: the last write was not finished");
    }
}

fn open_disk(path: PathBuf) -> Result<RealDisk, OpenError> {
    std::fs::create_dir_all(&path)
        .and_then(|()| RealDisk::open(&path))
        .map_err(|source| OpenError::Directory { path, source })
}

pub(crate) fn entropy() -> u128 {
    // Without a source of randomness the process id has to do: epochs must differ between opens.
    let random = || getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    u128::from(random()) << 64 | u128::from(random())
}

/// A shard that has been read from its directory.
pub(crate) struct Booted {
    pub(crate) recovered: Recovered,
    pub(crate) log: BootedLog,
    pub(crate) time_us: u64,
    pub(crate) store: Box<dyn Store>,
    pub(crate) views: Arc<ShardViews>,
    pub(crate) snapshots: Arc<dyn Disk>,
    pub(crate) durability: String,
}

/// Whose log it is.
pub(crate) enum BootedLog {
    /// This node's.
    Alone(Box<Log>),
    /// A group's.
    Member(Box<BootedMember>),
}

impl BootedLog {
    pub(crate) fn log(&self) -> &Log {
        match self {
            Self::Alone(log) => log,
            Self::Member(member) => &member.files.log,
        }
    }

    /// The last record that counts.
    pub(crate) fn committed(&self) -> u64 {
        match self {
            Self::Alone(log) => log.end_lsn(),
            Self::Member(member) => member.applied.lsn,
        }
    }
}

/// What a member of a group has on disk.
pub(crate) struct BootedMember {
    pub(crate) files: MemberFiles,
    pub(crate) entries: EntryLog,
    pub(crate) applied: Applied,
}

pub(crate) struct Boot<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) options: &'a EngineOptions,
    pub(crate) format: Format,
    pub(crate) map: SlotMap,
}

impl Boot<'_> {
    fn shard_dir(&self, shard: u16) -> PathBuf {
        shard_dir(self.dir, shard)
    }

    pub(crate) fn shard_options(&self, shard: u16) -> ShardOptions {
        let mut options = ShardOptions::new(ShardId(shard), self.map, KeyHasher::new(self.format.secret));
        options.default_hold_us = self.options.default_hold_us;
        options.batch_inputs_max = self.options.batch_requests_max;
        options.open_orders_max = self.options.open_orders_max;
        options.limits = self.options.limits;
        options.replicated = self.format.cluster.is_some();
        // A frame never outgrows a segment: the last command of a turn may be a large one.
        options.frame_bytes_max = (self.options.segment_bytes / 4).min(8 << 20) as usize;
        options
    }

    fn disk(&self, shard: u16, room: &str) -> Result<RealDisk, OpenError> {
        open_disk(self.shard_dir(shard).join(room))
    }

    fn store(&self, shard: u16) -> Result<Box<dyn Store>, OpenError> {
        if self.options.store == StoreKind::Memory {
            return Ok(Box::new(MemoryStore::new()));
        }
        let dir = self.shard_dir(shard).join("store");
        let opened = match FjallStore::open(&dir, FjallOptions::default()) {
            Err(store::OpenError::Damaged { .. }) => {
                tracing::warn!(shard, "store damaged: rebuilding it from snapshot and log");
                self.drop_store(shard)?;
                FjallStore::open(&dir, FjallOptions::default())
            }
            opened => opened,
        };
        opened
            .map(|store| Box::new(store) as Box<dyn Store>)
            .map_err(|source| OpenError::Store { shard, source })
    }

    /// Stands while a store is filled from a snapshot. Half filled, it may look like one that the log continues.
    fn filling(&self, shard: u16) -> PathBuf {
        self.shard_dir(shard).join("store-is-being-filled")
    }

    fn filled(&self, shard: u16) -> Result<(), OpenError> {
        let mark = self.filling(shard);
        std::fs::remove_file(&mark).map_err(|source| OpenError::Directory { path: mark, source })
    }

    /// The store is derived: log and snapshots have what it had.
    fn drop_store(&self, shard: u16) -> Result<(), OpenError> {
        let path = self.shard_dir(shard).join("store");
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(OpenError::Directory { path, source })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn shard(&self, shard: u16) -> Result<Booted, OpenError> {
        let disk = self.disk(shard, "log")?;
        let durability = disk.durability().to_string();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let snapshots: Arc<dyn Disk> = Arc::new(self.disk(shard, "snapshots")?);
        if self.filling(shard).exists() {
            tracing::warn!(shard, "the store was being filled when the process ended: beginning anew");
            self.drop_store(shard)?;
            self.filled(shard)?;
        }
        if self.format.cluster.is_some() {
            let arrived = Arrived::on(snapshots.as_ref());
            let arrived = arrived.map_err(|source| OpenError::Install { shard, source: source.into() })?;
            arrived.map_or(Ok(()), |arrived| self.begin_anew(shard, (&disk, snapshots.as_ref()), arrived))?;
        }
        let mut store = self.store(shard)?;
        let (log, position, time_us) = match self.format.cluster.is_some() {
            true => self.member(shard, &disk, (&mut store, snapshots.as_ref()))?,
            false => self.alone(shard, disk)?,
        };
        let mut recovered = self.recover(shard, store.as_ref(), log.log(), position);
        if matches!(&recovered, Err(source) if source.wants_rebuild()) && self.format.cluster.is_none() {
            store = self.rebuild(shard, store, snapshots.as_ref())?;
            recovered = self.recover(shard, store.as_ref(), log.log(), position);
        }
        let (recovered, views) = recovered.map_err(|source| OpenError::Recover { shard, source })?;
        Ok(Booted { recovered, log, time_us, store, views, snapshots, durability })
    }

    fn log_options(&self, shard: u16) -> LogOptions {
        LogOptions {
            segment_bytes: self.options.segment_bytes,
            prepare: Prepare::Background,
            ..LogOptions::new(shard, entropy() as u64)
        }
    }

    /// A shard whose log is this node's alone.
    fn alone(&self, shard: u16, disk: Arc<dyn Disk>) -> Result<(BootedLog, LogPosition, u64), OpenError> {
        let opened = Log::open(disk, self.log_options(shard));
        let (log, found) = opened.map_err(|source| OpenError::Log { shard, source })?;
        tell_of_cut(shard, &found);
        let time_us = found.last_time_us;
        let position = LogPosition { first_lsn: log.first_lsn(), end_lsn: log.end_lsn(), time_us };
        Ok((BootedLog::Alone(Box::new(log)), position, time_us))
    }

    /// A member that lacked what its leader had released begins anew, from the snapshot that has arrived instead.
    fn begin_anew(
        &self,
        shard: u16,
        (log, snapshots): (&Arc<dyn Disk>, &dyn Disk),
        arrived: Arrived,
    ) -> Result<(), OpenError> {
        let front = arrived.front();
        tracing::info!(shard, record = front.next_lsn - 1, "a snapshot has arrived: beginning anew from it");
        self.drop_store(shard)?;
        let options = LogOptions { prepare: Prepare::Inline, ..self.log_options(shard) };
        let begun = Log::begin(Arc::clone(log), options, front);
        begun.map_err(|source| OpenError::Begin { shard, source })?;
        let mut store = self.store(shard)?;
        let installed = install(arrived.snapshot(), store.as_mut());
        let installed =
            installed.and_then(|_| Ok(store.close()?)).and_then(|()| Ok(arrived.done(snapshots)?));
        installed.map_err(|source| OpenError::Install { shard, source })
    }

    /// A member of a group. What its store has is what it knows to be committed.
    fn member(
        &self,
        shard: u16,
        disk: &Arc<dyn Disk>,
        (store, snapshots): (&mut Box<dyn Store>, &dyn Disk),
    ) -> Result<(BootedLog, LogPosition, u64), OpenError> {
        if !VoteFile::exists(disk.as_ref()).map_err(|source| OpenError::Vote { shard, source })? {
            return Err(OpenError::LostVote { shard });
        }
        let (files, found) = match MemberFiles::open(disk, self.log_options(shard)) {
            Ok(opened) => opened,
            Err(MemberOpenError::Vote(source)) => return Err(OpenError::Vote { shard, source }),
            Err(MemberOpenError::Log(source)) => return Err(OpenError::Log { shard, source }),
        };
        tell_of_cut(shard, &found);
        let log = &files.log;
        let reached =
            |store: &dyn Store| store.applied(Keyspace::History).min(store.applied(Keyspace::Current));
        if reached(store.as_ref()) + 1 < log.first_lsn() {
            *store =
                self.rebuild(shard, std::mem::replace(store, Box::new(MemoryStore::new())), snapshots)?;
        }
        // A node that has lost what it promised may break it: it comes back under another number.
        let end_lsn = store.applied(Keyspace::History).max(store.applied(Keyspace::Current));
        if log.end_index() == 0 || log.end_lsn() < end_lsn {
            return Err(OpenError::LostLog { shard, expected: end_lsn.max(1), found: log.end_lsn() });
        }
        let read = |source| OpenError::Entries { shard, source };
        let group = stored_group(&Stored::new(store.reader()));
        let group = group.map_err(|source| OpenError::Group { shard, source })?;
        let founders = || self.format.cluster.as_ref().map(|cluster| cluster.founders.clone());
        let group = group.or_else(founders).unwrap_or_default();
        let entries = EntryLog::open(log.reader(), group, RECENT_BYTES_MAX).map_err(read)?;
        let applied = Applied::in_store(log.reader(), entries.front(), end_lsn);
        let applied = applied.map_err(|source| read(source.into()))?;
        let first_lsn = log.first_lsn();
        let position = LogPosition { first_lsn, end_lsn, time_us: applied.time_us };
        let member = BootedMember { files, entries, applied };
        Ok((BootedLog::Member(Box::new(member)), position, found.last_time_us))
    }

    fn recover(
        &self,
        shard: u16,
        store: &dyn Store,
        log: &Log,
        position: LogPosition,
    ) -> Result<(Recovered, Arc<ShardViews>), RecoverError> {
        recover_with_views(self.shard_options(shard), store, log.reader(), position)
    }

    /// Begins the store anew, from the newest snapshot if there is one.
    fn rebuild(
        &self,
        shard: u16,
        old: Box<dyn Store>,
        snapshots: &dyn Disk,
    ) -> Result<Box<dyn Store>, OpenError> {
        tracing::warn!(shard, "rebuilding the store from snapshot and log");
        drop(old);
        let (mark, dir) = (self.filling(shard), self.shard_dir(shard));
        let marked = std::fs::write(&mark, []).and_then(|()| File::open(&dir)?.sync_all());
        marked.map_err(|source| OpenError::Directory { path: mark, source })?;
        self.drop_store(shard)?;
        let mut store = self.store(shard)?;
        let installed = install_newest(snapshots, store.as_mut())
            .map_err(|source| OpenError::Install { shard, source })?;
        self.filled(shard)?;
        for (name, error) in &installed.damaged {
            tracing::warn!(shard, name, %error, "snapshot damaged");
        }
        Ok(store)
    }
}
