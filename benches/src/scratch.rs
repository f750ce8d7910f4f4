//! Directories to measure in.

use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempDir;

use crate::Failure;

/// Where directories are made.
#[derive(Clone, Debug, Args)]
pub struct Scratch {
    /// Directory on the disk to measure; the system's directory for temporary files if not given
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

impl Scratch {
    /// A fresh directory, removed when dropped.
    pub fn fresh(&self) -> Result<TempDir, Failure> {
        let parent = self.parent();
        std::fs::create_dir_all(&parent)?;
        Ok(tempfile::Builder::new().prefix("onrush-bench-").tempdir_in(parent)?)
    }

    fn parent(&self) -> PathBuf {
        self.dir.as_deref().map_or_else(std::env::temp_dir, Path::to_path_buf)
    }
}
