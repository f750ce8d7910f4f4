//! Opening and closing an engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_proto::{KeyHasher, ShardId, SlotMap};
use onrush_storage::disk::{DirLock, Disk, LockError};
use onrush_storage::store;

use crate::boot::{Boot, Booted, BootedLog, BootedMember, entropy, format_node};
use crate::flush::Stored;
use crate::format::{ClusterFormat, Format, FormatError};
use crate::handle::{Core, EngineHandle};
#[cfg(all(feature = "glommio", target_os = "linux"))]
use crate::host::GlommioHost;
use crate::host::{
    ClockJump, Desk, Flusher, FlusherHandle, HostClock, HostError, InlineHost, InstallError, MemberParts,
    NO_OFFICE, NodeOffice, Ports, SeatParts, Sink, Snapshots, Station, Tail, TailBounds, ThreadHost, Worker,
};
use crate::options::{EngineOptions, HostKind};
use crate::recover::RecoverError;
use crate::replication::{Raft, RaftOptions, Replica};
use crate::views::Views;

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
    /// A node's log lacks what was there: the node is to be replaced by one with another number.
    #[error(
        "shard {shard}: expected the log of a node up to record {expected}, found it up to {found}: remove the node from its \
         cluster, and add one with another number"
    )]
    LostLog {
        /// The shard.
        shard: u16,
        /// The last record that was there.
        expected: u64,
        /// The last that is.
        found: u64,
    },
    /// A node's promises are gone: it may break them, and is to be replaced by one with another number.
    #[error(
        "shard {shard}: expected the vote of a node, found none: remove the node from its cluster, and add one with another \
         number"
    )]
    LostVote {
        /// The shard.
        shard: u16,
    },
    /// A node's promises cannot be read or written.
    #[error("shard {shard}: {source}")]
    Vote {
        /// The shard.
        shard: u16,
        /// What is wrong.
        source: onrush_storage::log::VoteError,
    },
    /// A node's entries cannot be read.
    #[error("shard {shard}: {source}")]
    Entries {
        /// The shard.
        shard: u16,
        /// What is wrong.
        source: crate::replication::EntryError,
    },
    /// The store of a node does not tell its group.
    #[error("shard {shard}: {source}")]
    Group {
        /// The shard.
        shard: u16,
        /// What is wrong.
        source: crate::replication::StoredGroupError,
    },
    /// A node's log could not be begun anew behind a snapshot that has arrived. It is done again at the next start.
    #[error("shard {shard}: {source}")]
    Begin {
        /// The shard.
        shard: u16,
        /// What is wrong.
        source: onrush_storage::log::BeginError,
    },
    /// How a group begins was not written.
    #[error("shard {shard}: {source}")]
    Found {
        /// The shard.
        shard: u16,
        /// What is wrong.
        source: onrush_storage::log::AppendError,
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
        check_cluster(&dir, &format, &options)?;
        let map = SlotMap::new(format.shards).ok_or(FormatError::ShardCount(format.shards))?;
        let boot = Boot { dir: &dir, options: &options, format, map };
        let shards = (0..map.shards()).map(|shard| boot.shard(shard)).collect::<Result<Vec<_>, _>>()?;
        let durability = shards.first().map(|shard| shard.durability.clone()).unwrap_or_default();
        let last_frame_us = shards.iter().map(|booted| booted.time_us).max().unwrap_or(0);
        let clock = HostClock::start(last_frame_us, options.clock)?;
        let (core, workers, flushers) = assemble(shards, &boot, clock, durability);
        let (handle, host) = start(core, workers, &options)?;
        let flushers =
            flushers.into_iter().map(Flusher::start).collect::<Result<_, _>>().map_err(OpenError::Thread)?;
        Ok(Self { handle, host: Some(host), flushers, _lock: lock, temporary })
    }

    /// Formats an empty directory for a node of a cluster: as [`open`](Self::open) wants it with
    /// [`EngineOptions::cluster`].
    ///
    /// # Errors
    /// [`OpenError`]. What was begun then is to be removed by hand: it is no node yet.
    pub fn format_node(dir: &Path, shards: u16, cluster: ClusterFormat) -> Result<(), OpenError> {
        format_node(dir, shards, cluster)
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

/// A directory is opened as what it was formatted for.
fn check_cluster(dir: &Path, format: &Format, options: &EngineOptions) -> Result<(), OpenError> {
    let path = dir.to_path_buf();
    let (node, alone) = ("a node of a cluster", "an engine of its own");
    match (&format.cluster, &options.cluster) {
        (Some(_), None) => Err(FormatError::Cluster { path, expected: alone, found: node }.into()),
        (None, Some(_)) => Err(FormatError::Cluster { path, expected: node, found: alone }.into()),
        // Nobody would let its time pass.
        (Some(_), Some(_)) if options.host == HostKind::Inline => Err(HostError::InlineNode.into()),
        _ => Ok(()),
    }
}

/// Puts shards, doors and queues together.
pub(crate) fn assemble(
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
            let bounds = TailBounds::of(boot.options.flush.lag_bytes_max);
            let tail = Arc::new(Tail::new(booted.log.committed(), booted.log.log().reader(), bounds));
            let station = Station::new(ShardId(shard as u16), boot.options.inbox_requests_max, tail);
            station.set_ceiling(booted.recovered.shard.store_ceiling());
            // The flusher absorbs again what was replayed.
            station.committed_bytes.store(booted.recovered.replayed_bytes, Ordering::Relaxed);
            Arc::new(station)
        })
        .collect();
    let views = Views::new(shards.iter().map(|booted| Arc::clone(&booted.views)).collect(), boot.map);
    // Members say them when they take office.
    for booted in shards.iter().filter(|_| boot.format.cluster.is_none()) {
        // Claims that a crash may have left unconfirmed stand in front of everything else.
        for (keeper, message) in booted.recovered.shard.reclaims() {
            stations[usize::from(keeper.0)].send_peer(booted.recovered.shard.id(), NO_OFFICE, vec![message]);
        }
    }
    let office = Arc::new(NodeOffice::new(boot.map.shards()));
    let (mut workers, mut flushers) = (Vec::new(), Vec::new());
    for (shard, booted) in shards.into_iter().enumerate() {
        let Booted { recovered, log, store, views, snapshots, .. } = booted;
        let station = Arc::clone(&stations[shard]);
        let flush = boot.options.flush;
        let taken = Snapshots::new(ShardId(shard as u16), Arc::clone(&snapshots), flush.snapshot_bytes);
        let taken = match &log {
            // Others may go on behind one.
            BootedLog::Member(_) => taken.placed(log.log().reader()),
            BootedLog::Alone(_) => taken,
        };
        let taken = taken.continuing(log.log());
        let settings = (flush, taken);
        let seat = SeatParts {
            shard: recovered.shard,
            stored: Stored::new(store.reader()),
            views,
            station: Arc::clone(&station),
            stations: Arc::clone(&stations),
            ports: Arc::clone(&ports),
            clock,
            inputs_max: boot.options.batch_requests_max,
            lag_bytes_max: boot.options.flush.lag_bytes_max,
        };
        workers.push(boot.worker(ShardId(shard as u16), (seat, &office), (log, snapshots)));
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
        clock,
        node: boot.format.cluster.as_ref().map(|cluster| cluster.node),
        flush_controls,
        driver: None,
        durability,
        lag_bytes_max: boot.options.flush.lag_bytes_max,
    };
    (core, workers, flushers)
}

impl Boot<'_> {
    /// Who drives a shard, by whose log it has.
    fn worker(
        &self,
        shard: ShardId,
        (seat, office): (SeatParts, &Arc<NodeOffice>),
        (log, snapshots): (BootedLog, Arc<dyn Disk>),
    ) -> Worker {
        let (member, cluster, options) = match (log, &self.format.cluster, &self.options.cluster) {
            (BootedLog::Member(member), Some(cluster), Some(options)) => (*member, cluster, options),
            (BootedLog::Member(member), ..) => return Worker::alone(seat, member.files.log),
            (BootedLog::Alone(log), ..) => return Worker::alone(seat, *log),
        };
        let BootedMember { files, entries, applied } = member;
        let raft = RaftOptions { timing: options.timing, ..RaftOptions::new(cluster.node, entropy() as u64) };
        // How the group was founded is committed from the beginning.
        let commit = applied.index.max(1);
        let raft = Raft::new(raft, files.votes.vote(), entries, commit, seat.clock.now_us());
        let member = MemberParts {
            replica: Replica::new(raft, applied.index),
            files,
            applied,
            post: Arc::clone(&options.post),
            snapshots,
            shard_options: self.shard_options(shard.0),
            election_us: options.timing.election_us,
            office: Arc::clone(office),
        };
        Worker::member(seat, member)
    }
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
