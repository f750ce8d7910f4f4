//! What a case finds when it is measured: time, servers, a place on the disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use onrush_benches::Failure;
use tempfile::TempDir;

use crate::client::Span;
use crate::servers::Servers;

/// Where and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub(crate) span: Span,
    pub(crate) servers: &'a Servers,
    /// Directory of the run.
    pub(crate) dir: &'a Path,
}

impl Stage<'_> {
    /// A fresh directory, removed when dropped. Others than us may look into it: a server may be somebody else.
    pub(crate) fn fresh(&self) -> Result<TempDir, Failure> {
        let dir = tempfile::Builder::new().prefix("case-").tempdir_in(self.dir)?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        Ok(dir)
    }
}
