//! Offline verification: the books of a closed data directory.

use std::path::Path;

use crate::audit::{AuditError, AuditReport};
use crate::engine::{CloseError, Engine, OpenError};
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
pub fn verify(data_dir: &Path) -> Result<AuditReport, VerifyError> {
    let formatted = crate::format::Format::read(data_dir).map_err(OpenError::from)?;
    if formatted.is_none() {
        return Err(VerifyError::NotFormatted { path: data_dir.to_path_buf() });
    }
    let options = EngineOptions {
        data_dir: Some(data_dir.to_path_buf()),
        shards: None,
        host: HostKind::Inline,
        // Looking at the books makes nothing expire: time stands where the logs end.
        clock: ClockOptions { accept_jump: true, wall_us: || 0, ..ClockOptions::default() },
        ..EngineOptions::default()
    };
    let engine = Engine::open(options)?;
    let report = engine.handle().audit()?;
    engine.close()?;
    Ok(report)
}
