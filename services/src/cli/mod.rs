//! The command line: `serve`, `check-config`, `format`, `cluster`, `verify`, `model`, `topic`.

mod check_config;
mod cluster;
mod format;
mod model;
mod serve;
mod server;
mod topic;
mod verify;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use crate::config::{ConfigError, Resolved, SETTINGS, Sources, read_file};
use crate::logging::Log;

/// A run that ended badly: one line, and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
    /// True once the process's log has it.
    told: bool,
}

impl Failure {
    /// The world said no: exit code 1.
    fn world(error: impl fmt::Display) -> Self {
        Self { message: one_line(&error.to_string()), code: 1, told: false }
    }

    /// The arguments, the environment or the file are wrong: exit code 2.
    fn usage(error: &ConfigError) -> Self {
        Self { message: one_line(&error.to_string()), code: 2, told: false }
    }

    /// An argument is wrong: exit code 2.
    fn wrong(error: impl fmt::Display) -> Self {
        Self { code: 2, ..Self::world(error) }
    }

    /// The same, in the log.
    fn told(self, log: &Log) -> Self {
        log.fail(&self.message);
        Self { told: true, ..self }
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Runs the command line and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(with_default(arguments.into_iter().collect())) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version come here too, with exit code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match matches.subcommand() {
        Some(("check-config", matches)) => resolve(matches).and_then(|found| check_config::run(&found)),
        Some(("format", matches)) => format::run(matches),
        Some(("cluster", matches)) => cluster::run(matches),
        Some(("verify", matches)) => verify::run(matches),
        Some(("model", matches)) => model::run(matches),
        Some(("topic", matches)) => topic::run(matches),
        Some((_, matches)) => resolve(matches).and_then(|found| serve::run(&found)),
        None => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.told {
                let _ = writeln!(io::stderr(), "onrush: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// `onrush` alone, or with flags only, means `onrush serve`.
fn with_default(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let first = arguments.get(1).map(|first| first.to_string_lossy().into_owned());
    let named = first.is_some_and(|first| {
        !first.starts_with('-') || ["-h", "--help", "-V", "--version"].contains(&first.as_str())
    });
    if !named {
        arguments.insert(1.min(arguments.len()), "serve".into());
    }
    arguments
}

fn command() -> Command {
    let verify = Command::new("verify").about("Checks the books of a stopped data directory").arg(
        Arg::new("data-dir")
            .long("data-dir")
            .value_name("DIR")
            .help("Directory to check [environment DATA_DIR, default ./onrush-data]"),
    );
    Command::new("onrush")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The data plane of a shop in a flash sale")
        .after_help("Without a command: serve. Flags go before the environment, that before --config FILE.")
        .subcommand_required(true)
        .subcommand(Command::new("serve").about("Serves the shop").args(setting_args()))
        .subcommand(
            Command::new("check-config")
                .about("Prints every value and where it came from")
                .args(setting_args()),
        )
        .subcommand(format::command())
        .subcommand(cluster::command())
        .subcommand(verify)
        .subcommand(model::command())
        .subcommand(topic::command())
}

fn setting_args() -> Vec<Arg> {
    let file = Arg::new("config").long("config").value_name("FILE").help("TOML file, one key per setting");
    let settings = SETTINGS.iter().filter(|setting| !setting.secret).map(|setting| {
        let default = (setting.default)();
        let default = if default.is_empty() { "none".to_owned() } else { default };
        let flag = Arg::new(setting.name).long(setting.name).value_name("VALUE");
        // A switch may stand alone.
        let flag = match default == "false" {
            true => flag.num_args(0..=1).require_equals(true).default_missing_value("true"),
            false => flag,
        };
        flag.help(format!("{} [environment {}, default {default}]", setting.help, setting.env))
    });
    std::iter::once(file).chain(settings).collect()
}

fn resolve(matches: &ArgMatches) -> Result<Resolved, Failure> {
    let file = match matches.get_one::<String>("config") {
        Some(path) => read_file(&PathBuf::from(path)).map_err(|error| Failure::usage(&error))?,
        None => Default::default(),
    };
    let sources = Sources {
        flag: &|name| matches.try_get_one::<String>(name).ok().flatten().cloned(),
        env: &|name| std::env::var(name).ok(),
        file: &|name| file.get(name).cloned(),
    };
    sources.resolve().map_err(|error| Failure::usage(&error))
}
