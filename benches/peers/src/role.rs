//! Servers of our own that are this program again, as a process of its own: what they are built from is what measures them.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use onrush_benches::Failure;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Launch, Process};
use crate::stage::Stage;

/// A server of our own.
pub(crate) struct Role {
    pub(crate) process: Process,
    /// What it has printed once it was ready.
    printed: String,
    /// Removed behind the process.
    dir: TempDir,
}

impl Role {
    /// Starts one that announces itself under its own name.
    pub(crate) fn start(name: &'static str, stage: &Stage<'_>) -> Result<Self, Failure> {
        let dir = stage.fresh()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("role").arg(name).env_clear().current_dir(dir.path());
        Self::launch(name, command, dir, name)
    }

    /// Starts a command that is ready once it prints a line that begins with `last`.
    pub(crate) fn launch(
        name: &'static str,
        command: Command,
        dir: TempDir,
        last: &str,
    ) -> Result<Self, Failure> {
        let mut process = Process::start(Launch { name, command, dir: dir.path(), stop: Signal::KILL })?;
        let printed = process.wait_for(|log| {
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole.lines().any(|line| line.starts_with(last)).then(|| whole.to_owned())
        })?;
        Ok(Self { process, printed, dir })
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has printed once it was ready.
    pub(crate) fn printed(&self) -> &str {
        &self.printed
    }

    /// The address behind a word that begins a line.
    pub(crate) fn address(&self, word: &str) -> Result<String, Failure> {
        let words = self.printed.lines().map(|line| line.split_whitespace());
        let found =
            words.into_iter().find_map(|mut words| (words.next() == Some(word)).then(|| words.next()));
        let address = found.flatten().map(str::to_owned);
        address.ok_or_else(|| Failure::unexpected(format!("an address of {word}"), &self.printed))
    }
}

/// Prints where a server listens.
pub(crate) fn announce(name: &str, address: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{name} {address}")?;
    Ok(out.flush()?)
}
