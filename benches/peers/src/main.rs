//! `onrush-peers`: Onrush and what a user would pick instead, side by side in one run.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]
#![allow(clippy::print_stderr, reason = "it says how far it is, and why it could not measure")]

mod cases;
mod client;
mod interrupt;
mod limits;
mod marked;
mod nats;
mod onrush;
mod postgres;
mod process;
mod redis;
mod report;
mod role;
mod round;
mod run;
mod servers;
mod stage;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use onrush_benches::scratch::Scratch;
use onrush_benches::{Failure, machine};
use onrush_storage::disk::RealDisk;

use client::Span;
use marked::Marked;
use run::Outcome;
use servers::{Places, Servers};
use stage::Stage;

/// Onrush and what a user would pick instead, side by side in one run. Nothing is installed: servers that are not here
/// are named
#[derive(Debug, Parser)]
#[command(name = "onrush-peers", version)]
struct Args {
    /// Rounds; all cases alternate within each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Measured seconds of each case per round, 0.01 to 3600
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds in front of them that do not count
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm: f64,
    /// Only cases whose names hold this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Prints the names of all cases, and what is missing for them
    #[arg(long)]
    list: bool,
    /// Also writes the tables between `<!-- peers -->` and `<!-- /peers -->` of this file, if nothing failed
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    scratch: Scratch,
}

fn seconds(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|seconds| (0.01..=3_600.0).contains(seconds));
    found.ok_or_else(|| "expected seconds, 0.01 to 3600".into())
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let done = match (words.next().as_deref(), words.next().as_deref()) {
        // Our own servers are this program again.
        (Some("serve"), _) => return onrush_services::cli::run(std::env::args_os()),
        (Some("role"), Some("echo")) => limits::echo_role(),
        (Some("role"), Some("bare")) => limits::bare_role(),
        _ => compare(&Args::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("onrush-peers: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints, writes.
fn compare(args: &Args) -> Result<(), Failure> {
    let chosen = run::chosen(&args.only)?;
    let servers = Servers::find(&args.places);
    let dir = args.scratch.fresh()?;
    // A server may be another user.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let span =
        Span { warm: Duration::from_secs_f64(args.warm), measured: Duration::from_secs_f64(args.seconds) };
    let stage = Stage { span, servers: &servers, dir: dir.path() };
    if args.list {
        list(&stage);
        return Ok(());
    }
    let marked = args.write.as_deref().map(Marked::open).transpose()?;
    interrupt::listen()?;
    let method = method(args, &stage)?;
    let outcomes = run::run(&chosen, args.rounds.into(), &stage, |step| eprintln!("{step}"))?;
    let text = report::markdown(&method, &outcomes, &notes(&servers));
    println!("{text}");
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_))) {
        return Err(Failure::unexpected("every case that was begun to be measured", "some that failed"));
    }
    marked.map_or(Ok(()), |marked| marked.write(&text))
}

fn list(stage: &Stage<'_>) {
    for case in &cases::CASES {
        let lacks = case.subject.lacks(stage).map_or(String::new(), |lacks| format!(" [{lacks}]"));
        println!("{:<26} {}{lacks}", case.name, case.what);
    }
}

fn method(args: &Args, stage: &Stage<'_>) -> Result<String, Failure> {
    let mut command = "cargo run --release -p onrush-peers --".to_owned();
    command.push_str(&format!(" --rounds {} --seconds {} --warm {}", args.rounds, args.seconds, args.warm));
    args.only.iter().for_each(|only| command.push_str(&format!(" --only {only}")));
    Ok(format!(
        "`{command}`\n\n{}. Durable writes by {}; all data on that disk. An order is hold, limit per customer, order and payment \
         record under an idempotency key. Each case has a server of its own, a process started on an empty directory for each \
         round, and a client of one thread over loopback TCP on connections that stay; {} s of warm-up, then {} s that count, in \
         each of {} rounds in which all cases alternate. Medians over rounds; ratios are within a round. Latency is that of a \
         request, which is a batch, a frame or a script where the row says so; CPU is user and kernel time per order, line, \
         message, call or write, of both ends together where there is no client.",
        machine::here(),
        RealDisk::open(stage.dir)?.durability(),
        args.warm,
        args.seconds,
        args.rounds
    ))
}

fn notes(servers: &Servers) -> Vec<String> {
    let mut notes = vec![onrush::how()];
    notes.extend(servers.describe());
    notes
}
