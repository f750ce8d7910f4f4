//! Opening and closing an engine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_proto::{KeyHasher, ShardId, SlotMap};
use onrush_storage::disk::{DirLock, Disk, LockError, RealDisk};
use onrush_storage::log::{Log, LogOptions, Prepare};
use onrush_storage::store::{self, FjallOptions, FjallStore, MemoryStore, Store};

use crate::flush::Stored;
use crate::format::{Format, FormatError};
use crate::handle::{Core, EngineHandle};
#[cfg(all(feature = "glommio", target_os = "linux"))]
use crate::host::GlommioHost;
use crate::host::{
    ClockJump, Desk, Flusher, FlusherHandle, HostClock, HostError, InlineHost, InstallError, Ports, Sink,
    Snapshots, Station, TAIL_BYTES_MAX, Tail, ThreadHost, Worker, WorkerParts, install_newest,
};
use crate::options::{EngineOptions, HostKind, StoreKind};
use crate::recover::{LogPosition, RecoverError, Recovered, recover_with_views};
use crate::shard::ShardOptions;
use crate::views::{ShardViews, Views};

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error("cannot use data directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The directory's format does not fit.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A shard's log cannot be trusted or used.
    #[error("shard {shard}: {source}")]
    Log {
        /// The shard.
        shard: u16,
        /// What is wrong with it.
        source: onrush_storage::log::OpenError,
    },
    /// A shard's store cannot be used.
    #[error("shard {shard}: {source}")]
    Store {
        /// The shard.
        shard: u16,
        /// What is wrong with it.
        source: store::OpenError,
    },
    /// A shard could not be rebuilt from store and log.
    #[error("shard {shard}: {source}")]
    Recover {
        /// The shard.
        shard: u16,
        /// What is wrong.
        source: RecoverError,
    },
    /// A snapshot could not be installed.
    #[error("shard {shard}: {source}")]
    Install {
        /// The shard.
        shard: u16,
        /// What is wrong with it.
        source: InstallError,
    },
    /// The host cannot drive shards here.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The wall clock is too far from the last record.
    #[error(transparent)]
    Clock(#[from] ClockJump),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Why an engine did not close cleanly. What was acknowledged is on disk all the same.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// A store could not be brought up to date; the next start replays the log.
    #[error("a store was not flushed: {0}")]
    Flush(String),
}

enum Host {
    Inline(Arc<InlineHost>),
    Thread(ThreadHost),
    #[cfg(all(feature = "glommio", target_os = "linux"))]
    Glommio(GlommioHost),
}

/// An open engine. Dropping it closes it without telling what went wrong.
pub struct Engine {
    handle: EngineHandle,
    host: Option<Host>,
    flushers: Vec<FlusherHandle>,
    _lock: DirLock,
    /// Removed when the engine is closed.
    temporary: Option<PathBuf>,
}

impl Engine {
    /// Opens a data directory, or formats it first.
    pub fn open(options: EngineOptions) -> Result<Self, OpenError> {
        let (dir, temporary) = match &options.data_dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let dir = std::env::temp_dir().join(format!("onrush-{:032x}", entropy()));
                (dir.clone(), Some(dir))
            }
        };
        std::fs::create_dir_all(&dir).map_err(|source| OpenError::Directory { path: dir.clone(), source })?;
        let lock = DirLock::acquire(&dir)?;
        let format = Format::open(&dir, options.shards)?;
        let map = SlotMap::new(format.shards).ok_or(FormatError::ShardCount(format.shards))?;
        let boot = Boot { dir: &dir, options: &options, format, map };
        let shards = (0..format.shards).map(|shard| boot.shard(shard)).collect::<Result<Vec<_>, _>>()?;
        let durability = shards.first().map(|shard| shard.durability.clone()).unwrap_or_default();
        let last_frame_us = shards.iter().map(|booted| booted.time_us).max().unwrap_or(0);
        let clock = HostClock::start(last_frame_us, options.clock)?;
        let (core, workers, flushers) = assemble(shards, &boot, clock, durability);
        let (handle, host) = start(core, workers, &options)?;
        let flushers =
            flushers.into_iter().map(Flusher::start).collect::<Result<_, _>>().map_err(OpenError::Thread)?;
        Ok(Self { handle, host: Some(host), flushers, _lock: lock, temporary })
    }

    /// A handle to speak to it.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Finishes what has reached the shards, seals the logs, brings the stores up to date.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.shut()
    }

    fn shut(&mut self) -> Result<(), CloseError> {
        match self.host.take() {
            Some(Host::Inline(host)) => host.close(),
            Some(Host::Thread(mut host)) => host.close(),
            #[cfg(all(feature = "glommio", target_os = "linux"))]
            Some(Host::Glommio(mut host)) => host.close(),
            None => return Ok(()),
        }
        let mut failed = None;
        for flusher in &mut self.flushers {
            failed = flusher.close().err().or(failed);
        }
        if let Some(dir) = self.temporary.take() {
            // What is left of a temporary directory is the operating system's to remove.
            let _ = std::fs::remove_dir_all(dir);
        }
        failed.map_or(Ok(()), |error| Err(CloseError::Flush(error)))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "engine did not close cleanly");
        }
    }
}

fn entropy() -> u128 {
    // Without a source of randomness the process id has to do: epochs must differ between opens.
    let random = || getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    u128::from(random()) << 64 | u128::from(random())
}

/// A shard that has been read from its directory.
struct Booted {
    recovered: Recovered,
    log: Log,
    time_us: u64,
    store: Box<dyn Store>,
    views: Arc<ShardViews>,
    snapshots: Arc<dyn Disk>,
    durability: String,
}

struct Boot<'a> {
    dir: &'a Path,
    options: &'a EngineOptions,
    format: Format,
    map: SlotMap,
}

impl Boot<'_> {
    fn shard_dir(&self, shard: u16) -> PathBuf {
        self.dir.join(format!("shard-{shard:03}"))
    }

    fn shard_options(&self, shard: u16) -> ShardOptions {
        let mut options = ShardOptions::new(ShardId(shard), self.map, KeyHasher::new(self.format.secret));
        options.default_hold_us = self.options.default_hold_us;
        options.batch_inputs_max = self.options.batch_requests_max;
        options.open_orders_max = self.options.open_orders_max;
        options.limits = self.options.limits;
        // A frame never outgrows a segment: the last command of a turn may be a large one.
        options.frame_bytes_max = (self.options.segment_bytes / 4).min(8 << 20) as usize;
        options
    }

    fn disk(&self, shard: u16, room: &str) -> Result<RealDisk, OpenError> {
        let path = self.shard_dir(shard).join(room);
        std::fs::create_dir_all(&path)
            .and_then(|()| RealDisk::open(&path))
            .map_err(|source| OpenError::Directory { path, source })
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

    fn shard(&self, shard: u16) -> Result<Booted, OpenError> {
        let disk = self.disk(shard, "log")?;
        let durability = disk.durability().to_string();
        let options = LogOptions {
            segment_bytes: self.options.segment_bytes,
            prepare: Prepare::Background,
            ..LogOptions::new(shard, entropy() as u64)
        };
        let (log, found) =
            Log::open(Arc::new(disk), options).map_err(|source| OpenError::Log { shard, source })?;
        if let Some(cut) = &found.cut {
            tracing::warn!(shard, ?cut, "cut a torn tail: the last write was not finished");
        }
        let snapshots: Arc<dyn Disk> = Arc::new(self.disk(shard, "snapshots")?);
        let position =
            LogPosition { first_lsn: log.first_lsn(), end_lsn: log.end_lsn(), time_us: found.last_time_us };
        if self.filling(shard).exists() {
            tracing::warn!(shard, "the store was being filled when the process ended: beginning anew");
            self.drop_store(shard)?;
            self.filled(shard)?;
        }
        let mut store = self.store(shard)?;
        let mut recovered = self.recover(shard, store.as_ref(), &log, position);
        if matches!(&recovered, Err(source) if source.wants_rebuild()) {
            store = self.rebuild(shard, store, snapshots.as_ref())?;
            recovered = self.recover(shard, store.as_ref(), &log, position);
        }
        let (recovered, views) = recovered.map_err(|source| OpenError::Recover { shard, source })?;
        Ok(Booted { recovered, log, time_us: found.last_time_us, store, views, snapshots, durability })
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

/// Puts shards, doors and queues together.
fn assemble(
    shards: Vec<Booted>,
    boot: &Boot<'_>,
    clock: HostClock,
    durability: String,
) -> (Core, Vec<Worker>, Vec<Flusher>) {
    let (ports, desk) = (Arc::new(Ports::default()), Arc::new(Desk::default()));
    let desk_port = ports.open(Sink::Desk(Arc::clone(&desk)));
    let stations: Arc<[Arc<Station>]> = shards
        .iter()
        .enumerate()
        .map(|(shard, booted)| {
            let tail = Arc::new(Tail::new(booted.log.end_lsn(), booted.log.reader(), TAIL_BYTES_MAX));
            let station = Station::new(ShardId(shard as u16), boot.options.inbox_requests_max, tail);
            station.set_ceiling(booted.recovered.shard.store_ceiling());
            // The flusher absorbs again what was replayed.
            station.committed_bytes.store(booted.recovered.replayed_bytes, Ordering::Relaxed);
            Arc::new(station)
        })
        .collect();
    let views = Views::new(shards.iter().map(|booted| Arc::clone(&booted.views)).collect(), boot.map);
    for booted in &shards {
        // Claims that a crash may have left unconfirmed stand in front of everything else.
        for (keeper, message) in booted.recovered.shard.reclaims() {
            stations[usize::from(keeper.0)].send_peer(booted.recovered.shard.id(), vec![message]);
        }
    }
    let (mut workers, mut flushers) = (Vec::new(), Vec::new());
    for (shard, booted) in shards.into_iter().enumerate() {
        let Booted { recovered, log, store, views, snapshots, .. } = booted;
        let station = Arc::clone(&stations[shard]);
        let flush = boot.options.flush;
        let snapshots = Snapshots::new(ShardId(shard as u16), snapshots, flush.snapshot_bytes);
        let settings = (flush, snapshots.continuing(&log));
        workers.push(Worker::new(WorkerParts {
            shard: recovered.shard,
            log,
            stored: Stored::new(store.reader()),
            views,
            station: Arc::clone(&station),
            stations: Arc::clone(&stations),
            ports: Arc::clone(&ports),
            clock,
            inputs_max: boot.options.batch_requests_max,
            lag_bytes_max: boot.options.flush.lag_bytes_max,
        }));
        flushers.push(Flusher::new(station, recovered.replayed_from, recovered.absorber, store, settings));
    }
    let hasher = KeyHasher::new(boot.format.secret);
    let flush_controls = flushers.iter().map(Flusher::controls).collect();
    let core = Core {
        map: boot.map,
        hasher,
        stations,
        ports,
        desk,
        desk_port,
        views,
        flush_controls,
        driver: None,
        durability,
        lag_bytes_max: boot.options.flush.lag_bytes_max,
    };
    (core, workers, flushers)
}

fn start(
    mut core: Core,
    workers: Vec<Worker>,
    options: &EngineOptions,
) -> Result<(EngineHandle, Host), OpenError> {
    let host = match options.host {
        HostKind::Inline => {
            let host = Arc::new(InlineHost::new(workers));
            core.driver = Some(Arc::clone(&host));
            Host::Inline(host)
        }
        HostKind::Thread => {
            let stations = Arc::clone(&core.stations);
            Host::Thread(ThreadHost::start(workers, stations).map_err(OpenError::Thread)?)
        }
        #[cfg(all(feature = "glommio", target_os = "linux"))]
        HostKind::Glommio => {
            let stations = Arc::clone(&core.stations);
            Host::Glommio(GlommioHost::start(workers, stations)?)
        }
        #[cfg(not(all(feature = "glommio", target_os = "linux")))]
        HostKind::Glommio => return Err(HostError::NotBuilt.into()),
    };
    Ok((EngineHandle::new(core), host))
}
