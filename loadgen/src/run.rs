//! One run from the command line to the exit code.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Action, Cli, Common, Scenario};
use crate::cluster::{self, ClusterError};
use crate::compare::{self, CompareError};
use crate::conduct::{ConductError, conduct};
use crate::report::{self, Summary};

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Conduct(#[from] ConductError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("expected to write {file}: {source}")]
    Write { file: PathBuf, source: std::io::Error },
}

/// Parses the arguments, runs, reports. Exit codes: 0 = the audit passed, 1 = it did not, 2 = there
/// was nothing to audit.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with code 0.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let passed = match &cli.action {
        Action::Run(scenario) => run(scenario),
        Action::Compare(args) => compare::run(args),
        Action::Cluster(args) => cluster::run(args),
    };
    match passed {
        Ok(passed) => exit_code(passed),
        Err(error) => {
            say(&format!("loadgen: {error}"));
            ExitCode::from(2)
        }
    }
}

/// 0 if the audit passed, else 1.
fn exit_code(passed: bool) -> ExitCode {
    ExitCode::from(u8::from(!passed))
}

/// Runs one scenario; true if its audit passed.
fn run(scenario: &Scenario) -> Result<bool, RunError> {
    let common = scenario.common();
    check_outputs(common)?;
    introduce(common);
    let summary = conduct(scenario)?;
    write_outputs(common, &summary)?;
    if !common.quiet {
        print(&report::table(&summary));
    } else if !summary.findings.ok() {
        print(&report::findings(&summary.findings));
    }
    Ok(summary.findings.ok())
}

/// What everybody should know who watches.
pub(crate) fn introduce(common: &Common) {
    if !common.quiet {
        say("Onrush load generator: simulated buyers and a simulated gateway. No real money moves.");
    }
}

/// Output files are made before the run: a typing error must not cost one.
pub(crate) fn check_outputs(common: &Common) -> Result<(), RunError> {
    for file in [&common.report, &common.json].into_iter().flatten() {
        fs::File::create(file).map_err(|source| RunError::Write { file: file.clone(), source })?;
    }
    if let Some(dir) = &common.hgrm {
        fs::create_dir_all(dir).map_err(|source| RunError::Write { file: dir.clone(), source })?;
    }
    Ok(())
}

/// Writes a file of results.
pub(crate) fn write(file: PathBuf, text: String) -> Result<(), RunError> {
    fs::write(&file, text).map_err(|source| RunError::Write { file, source })
}

fn write_outputs(common: &Common, summary: &Summary) -> Result<(), RunError> {
    if let Some(file) = &common.json {
        write(file.clone(), report::json(summary))?;
    }
    if let Some(file) = &common.report {
        write(file.clone(), report::html(summary))?;
    }
    if let Some(dir) = &common.hgrm {
        for (name, text) in report::hgrm(summary) {
            write(dir.join(name), text)?;
        }
    }
    Ok(())
}

/// A line for people, on stderr.
pub(crate) fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    let clear = if stderr.is_terminal() { "\r\x1b[2K" } else { "" };
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(stderr, "{clear}{line}");
}

/// The result, on stdout.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_audit_is_exit_code_1() {
        let text = |passed| format!("{:?}", exit_code(passed));
        assert_eq!(text(true), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(text(false), format!("{:?}", ExitCode::from(1)));
    }
}
