//! `counts`: instructions per operation, which do not depend on what else the machine does.
//!
//! Each case runs in a process of its own under callgrind, which counts inside of
//! [`counted_by_callgrind`](callgrind::counted_by_callgrind) only. What was counted when it was last
//! looked at stands in `benches/counts.toml`, each count with the reason why it is what it is.

mod callgrind;
mod cases;
mod null_disk;
mod record;

use std::path::PathBuf;

use clap::Parser;

use crate::Failure;
use crate::machine;
use crate::table::Table;
use callgrind::Count;
use cases::{CASES, Case};
use record::{Conditions, Record, Verdict};

/// Instructions per operation under valgrind, against the recorded ones
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// The recorded counts
    #[arg(long, default_value = "benches/counts.toml")]
    pub record: PathBuf,
    /// Records what is counted now, where it differs
    #[arg(long, requires = "reason")]
    pub write: bool,
    /// Why the counts that are written are as they are
    #[arg(long, requires = "write", value_parser = reason)]
    pub reason: Option<String>,
    /// Only this case
    #[arg(long)]
    pub only: Option<String>,
    /// Runs a case once, as it is run under valgrind, and says how many operations it has
    #[arg(long, conflicts_with_all = ["write", "only"])]
    pub case: Option<String>,
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a sentence in one line".to_owned());
    }
    Ok(text.to_owned())
}

/// Counts, and compares or records.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(name) = &args.case {
        return callgrind::run_case(named(name)?);
    }
    let chosen: Vec<&Case> = match &args.only {
        Some(name) => vec![named(name)?],
        None => CASES.iter().collect(),
    };
    let valgrind = callgrind::version()?;
    if cfg!(debug_assertions) {
        return Err(Failure::unexpected("a release build (cargo run --release)", "one without optimisation"));
    }
    machine::head(
        "counts: instructions per operation",
        "each case in a process of its own under valgrind --tool=callgrind, after its setting up; no cache, no time",
    );
    let mut counts = Vec::new();
    let mut processor = String::new();
    for case in chosen {
        let counted = callgrind::count(case.name)?;
        processor = counted.processor;
        counts.push(Count { name: case.name, instructions: counted.instructions });
    }
    let conditions = Conditions::now(valgrind, processor);
    match &args.reason {
        Some(reason) => write(args, conditions, &counts, reason),
        None => compare(args, &conditions, &counts),
    }
}

fn named(name: &str) -> Result<&'static Case, Failure> {
    let known = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(" or ");
    CASES.iter().find(|case| case.name == name).ok_or_else(|| Failure::unexpected(known(), name))
}

fn write(args: &Args, conditions: Conditions, counts: &[Count], reason: &str) -> Result<(), Failure> {
    let mut record = if args.record.exists() { Record::read(&args.record)? } else { Record::default() };
    let written = record.update(conditions, counts, reason);
    if args.only.is_none() {
        record.retain(|name| CASES.iter().any(|case| case.name == name));
    }
    std::fs::write(&args.record, record.text())?;
    print(&record, counts);
    println!("\nrecorded {written} of {} in {}", counts.len(), args.record.display());
    Ok(())
}

fn compare(args: &Args, conditions: &Conditions, counts: &[Count]) -> Result<(), Failure> {
    let record = Record::read(&args.record)?;
    print(&record, counts);
    println!();
    let known = |name: &str| CASES.iter().any(|case| case.name == name);
    let differing = record.conditions.differences(conditions);
    let findings = record.findings(counts, known, differing.is_empty());
    findings.notes.iter().for_each(|note| println!("{note}"));
    if !differing.is_empty() {
        println!("not judged: {}; record it anew with --write --reason TEXT", differing.join(", "));
    }
    match findings.failures.as_slice() {
        [] => Ok(()),
        failures => Err(Failure::unexpected("the recorded counts", Lines(failures))),
    }
}

/// One finding a line.
struct Lines<'a>(&'a [String]);

impl std::fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

fn print(record: &Record, counts: &[Count]) {
    let mut table = Table::new(["case", "recorded", "found", "change", "verdict"]);
    for count in counts {
        let recorded = record.instructions(count.name);
        table.row([
            count.name.to_owned(),
            recorded.map_or("-".to_owned(), |recorded| format!("{recorded:.1}")),
            format!("{:.1}", count.instructions),
            recorded.map_or("-".to_owned(), |recorded| {
                format!("{:+.2} %", (count.instructions / recorded - 1.0) * 100.0)
            }),
            match record.verdict(count) {
                Verdict::Within => "within 5 %",
                Verdict::Risen => "risen",
                Verdict::Fallen => "fallen",
                Verdict::Unrecorded => "not recorded",
            }
            .to_owned(),
        ]);
    }
    table.print();
}
