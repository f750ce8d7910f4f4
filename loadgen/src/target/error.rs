//! What can go wrong with a target as a whole.

use std::path::PathBuf;

/// Why a target cannot be loaded, or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The directory cannot be had.
    #[error("expected a data directory that can be written, found {dir}: {source}")]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory holds something.
    #[error(
        "expected an empty data directory (the audit counts from zero), found {entries} entries in {dir}"
    )]
    NotEmpty {
        /// Which.
        dir: PathBuf,
        /// How many.
        entries: usize,
    },
    /// The engine does not open.
    #[error("the engine does not open: {0}")]
    Open(#[from] onrush_engine::OpenError),
    /// The engine cannot check its books.
    #[error("the engine's books cannot be checked: {0}")]
    Audit(#[from] onrush_engine::audit::AuditError),
    /// The engine does not close.
    #[error("the engine did not close in good order: {0}")]
    Close(#[from] onrush_engine::CloseError),
}
