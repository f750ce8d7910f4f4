//! Offline verification: the books of a closed data directory.

use std::path::Path;

use onrush_proto::SlotMap;
use onrush_storage::disk::DirLock;

use crate::audit::{AuditError, AuditReport};
use crate::boot::Boot;
use crate::engine::{CloseError, Engine, OpenError, assemble};
use crate::format::{Format, FormatError};
use crate::handle::EngineHandle;
use crate::host::{Flusher, HostClock};
use crate::options::{ClockOptions, EngineOptions, HostKind};

/// Why a directory could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no formatted directory.
    #[error("expected a data directory in {path}, found none")]
    NotFormatted {
        /// The path.
        path: std::path::PathBuf,
    },
    /// It cannot be opened: in use, damaged, or of another version.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its rows cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// It did not close cleanly.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// Checks every frame of the logs and all books of the rows. Recovers the directory as a start
/// would: a torn tail is cut, unfinished orders over several shards are given up.
///
/// Of a node of a cluster these are the rows that it knows to be committed, and nothing is decided: what shards that are
/// not equally far would have to agree on is counted as open.
pub fn verify(data_dir: &Path) -> Result<AuditReport, VerifyError> {
    let formatted = Format::read(data_dir).map_err(OpenError::from)?;
    let formatted = formatted.ok_or_else(|| VerifyError::NotFormatted { path: data_dir.to_path_buf() })?;
    if formatted.cluster.is_some() {
        return verify_node(data_dir, formatted);
    }
    let options = EngineOptions {
        data_dir: Some(data_dir.to_path_buf()),
        shards: None,
        host: HostKind::Inline,
        clock: standing_still(),
        ..EngineOptions::default()
    };
    let engine = Engine::open(options)?;
    let report = engine.handle().audit()?;
    engine.close()?;
    Ok(report)
}

/// Looking at the books makes nothing expire: time stands where the logs end.
fn standing_still() -> ClockOptions {
    ClockOptions { accept_jump: true, wall_us: || 0, ..ClockOptions::default() }
}

/// The shards of a node without anybody who drives them: what it may write, and when, is its group's affair.
fn verify_node(data_dir: &Path, format: Format) -> Result<AuditReport, VerifyError> {
    let _lock = DirLock::acquire(data_dir).map_err(OpenError::from)?;
    let map = SlotMap::new(format.shards).ok_or(FormatError::ShardCount(format.shards));
    let map = map.map_err(OpenError::from)?;
    let options = EngineOptions { data_dir: Some(data_dir.to_path_buf()), ..EngineOptions::default() };
    let boot = Boot { dir: data_dir, options: &options, format, map };
    let shards = (0..map.shards()).map(|shard| boot.shard(shard)).collect::<Result<Vec<_>, _>>()?;
    let clock = HostClock::start(0, standing_still()).map_err(OpenError::from)?;
    let (core, undriven, flushers) = assemble(shards, &boot, clock, String::new());
    drop(undriven);
    let started = flushers.into_iter().map(Flusher::start).collect::<Result<Vec<_>, _>>();
    let mut flushers = started.map_err(OpenError::Thread)?;
    let report = EngineHandle::new(core).audit_apart();
    for flusher in &mut flushers {
        flusher.close().map_err(CloseError::Flush)?;
    }
    Ok(report?)
}
