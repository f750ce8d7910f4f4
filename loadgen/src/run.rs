//! One run from the command line to the exit code.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::asking::Unanswered;
use crate::audit::{Claims, Findings, audit};
use crate::catalogue::{self, LoadError};
use crate::cli::{Cli, Common, Scenario, TargetName};
use crate::driver::{Driver, Tally};
use crate::group::{GroupPlan, Groups};
use crate::journal::Journal;
use crate::machine::{self, CpuTime, Machine};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::recorder::Recorder;
use crate::report::{self, Summary};
use crate::scenario::{ReplayError, group_plan};
use crate::target::{
    Embedded, EmbeddedOptions, Grpc, LinkOptions, Setup, Target, TargetError, Tcp, TcpAddress, TcpOptions,
};
use crate::watch::{Course, Watch};

/// Requests under way over gRPC, if nobody says otherwise.
const IN_FLIGHT_MAX: u32 = 1_024;
/// The same over TCP, where the server's credit is the bound.
const TCP_IN_FLIGHT_MAX: u32 = 65_536;

/// Why a run says nothing about the target.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("--group draws its own orders: expected another scenario than replay")]
    GroupReplay,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the audit cannot read the target: {0}")]
    Audit(#[from] Unanswered),
    #[error("the thread that watches memory and lag does not start: {0}")]
    Watch(std::io::Error),
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
    match run(&cli.scenario) {
        Ok(findings) => exit_code(&findings),
        Err(error) => {
            say(&format!("loadgen: {error}"));
            ExitCode::from(2)
        }
    }
}

/// 0 if the audit passed, else 1.
fn exit_code(findings: &Findings) -> ExitCode {
    ExitCode::from(u8::from(!findings.ok()))
}

/// What a run left behind.
struct Ran {
    recorder: Recorder,
    journal: Journal,
    tally: Tally,
    course: Course,
}

fn run(scenario: &Scenario) -> Result<Findings, RunError> {
    let common = scenario.common();
    check_outputs(common)?;
    if !common.quiet {
        say("Onrush load generator: simulated buyers and a simulated gateway. No real money moves.");
    }
    let findings = match common.group {
        Some(_) if matches!(scenario, Scenario::Replay(_)) => return Err(RunError::GroupReplay),
        Some(group) => run_groups(scenario, group_plan(common, group))?,
        None => run_plan(scenario, scenario.plan()?)?,
    };
    Ok(findings)
}

/// An open-loop run.
fn run_plan(scenario: &Scenario, plan: Plan) -> Result<Findings, RunError> {
    let common = scenario.common();
    let mut target = open(common)?;
    announce(common, target.as_ref(), &plan.items, &format!("about {:.0} buys", plan.times.expected()));
    catalogue::load(target.as_mut(), &plan.items, plan.hold_us, plan.seed)?;
    machine::sleep_precisely();
    let meter = target.meter()?;
    let start = CpuTime::now();
    let mut driver = Driver::new(&plan, target.as_mut(), Progress::new(common.quiet, plan.duration_s));
    let watch = Watch::start(meter, driver.journal.bytes(), plan.duration_s).map_err(RunError::Watch)?;
    driver.run();
    let Driver { recorder, journal, tally, .. } = driver;
    let cpu = CpuTime::since(start);
    let ran = Ran { recorder, journal, tally, course: watch.finish() };
    let claims = Claims {
        items: &plan.items,
        seed: plan.seed,
        sells_out: plan.sells_out,
        ran_out: ran.tally.sold_out_ns.is_some(),
    };
    let mut summary = Summary::new(plan.scenario, "open loop", plan.seed, plan.duration_s);
    summary.start_s = plan.start_s;
    conclude(target, &claims, ran, summary.costing(cpu), common)
}

/// A closed-loop run.
fn run_groups(scenario: &Scenario, plan: GroupPlan) -> Result<Findings, RunError> {
    let common = scenario.common();
    let mut target = open(common)?;
    let group = plan.group;
    let load = match common.target {
        TargetName::Grpc | TargetName::Address(_) => format!("{group} orders"),
        _ => format!("{} groups of {group} orders", plan.under_way),
    };
    announce(common, target.as_ref(), &plan.items, &format!("{load} always under way"));
    catalogue::load(target.as_mut(), &plan.items, plan.hold_us, plan.seed)?;
    let meter = target.meter()?;
    let start = CpuTime::now();
    let mut groups = Groups::new(&plan, target.as_mut(), Progress::new(common.quiet, plan.duration_s));
    let watch = Watch::start(meter, groups.journal.bytes(), plan.duration_s).map_err(RunError::Watch)?;
    groups.run();
    let Groups { recorder, journal, tally, .. } = groups;
    let cpu = CpuTime::since(start);
    let ran = Ran { recorder, journal, tally, course: watch.finish() };
    let claims = Claims { items: &plan.items, seed: plan.seed, sells_out: 0, ran_out: false };
    let mode = format!("closed loop, {load}");
    let summary = Summary::new(scenario.name(), &mode, plan.seed, plan.duration_s);
    conclude(target, &claims, ran, summary.costing(cpu), common)
}

/// Audits, closes, reports.
fn conclude(
    mut target: Box<dyn Target>,
    claims: &Claims<'_>,
    mut ran: Ran,
    mut summary: Summary,
    common: &Common,
) -> Result<Findings, RunError> {
    let setup = target.setup();
    let findings = audit(target.as_mut(), claims, &mut ran.journal, &mut ran.recorder)?;
    let name = target.name();
    target.close()?;
    let (tracks, lateness) = ran.recorder.finish();
    summary.target = name;
    summary.setup = setup;
    summary.tally = ran.tally;
    summary.course = ran.course;
    summary.tracks = tracks;
    summary.lateness = Some(lateness).filter(|lateness| !lateness.is_empty());
    summary.unknown = ran.journal.unknown;
    summary.findings = findings;
    write_outputs(common, &summary)?;
    if !common.quiet {
        print(&report::table(&summary));
    } else if !summary.findings.ok() {
        print(&report::findings(&summary.findings));
    }
    Ok(summary.findings)
}

fn open(common: &Common) -> Result<Box<dyn Target>, TargetError> {
    let engine = EmbeddedOptions {
        shards: common.shards,
        host: common.host(),
        store: common.store(),
        data_dir: common.data_dir.clone(),
        keep: common.keep,
    };
    let link = LinkOptions {
        threads: common.client_threads.into(),
        connections: common.connections.unwrap_or(4).into(),
        in_flight_max: common.in_flight.or(common.group).unwrap_or(IN_FLIGHT_MAX) as usize,
    };
    let tcp = TcpOptions {
        connections: common.connections.unwrap_or(1).into(),
        in_flight_max: common.in_flight.unwrap_or(TCP_IN_FLIGHT_MAX) as usize,
    };
    match &common.target {
        TargetName::Embedded => Ok(Box::new(Embedded::open(&engine)?)),
        TargetName::Grpc => Ok(Box::new(Grpc::boot(&engine, &link)?)),
        TargetName::Address(order) => {
            let (product, payment) = (common.product_target.as_deref(), common.payment_target.as_deref());
            Ok(Box::new(Grpc::connect(order, product, payment, &link)?))
        }
        TargetName::Tcp => Ok(Box::new(Tcp::boot(&engine, &tcp)?)),
        TargetName::TcpAddress(native) => {
            let order = common.order_target.as_deref();
            Ok(Box::new(Tcp::connect(TcpAddress { native, order }, &tcp)?))
        }
    }
}

fn announce(common: &Common, target: &dyn Target, items: &[crate::plan::Item], load: &str) {
    if common.quiet {
        return;
    }
    let Setup { durability, shards, host, store, .. } = target.setup();
    let (machine, name, items) = (Machine::here(), target.name(), items.len());
    say(&format!(
        "{name}: {shards} shard(s), host {host}, store {store}, log {durability}; {} cores, {}",
        machine.cores, machine.cpu
    ));
    say(&format!("{items} items; {load}, seed {}", common.seed));
}

/// Output files are made before the run: a typing error must not cost one.
fn check_outputs(common: &Common) -> Result<(), RunError> {
    for file in [&common.report, &common.json].into_iter().flatten() {
        fs::File::create(file).map_err(|source| RunError::Write { file: file.clone(), source })?;
    }
    if let Some(dir) = &common.hgrm {
        fs::create_dir_all(dir).map_err(|source| RunError::Write { file: dir.clone(), source })?;
    }
    Ok(())
}

fn write_outputs(common: &Common, summary: &Summary) -> Result<(), RunError> {
    let write = |file: PathBuf, text: String| {
        fs::write(&file, text).map_err(|source| RunError::Write { file, source })
    };
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
fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    let clear = if stderr.is_terminal() { "\r\x1b[2K" } else { "" };
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(stderr, "{clear}{line}");
}

/// The result, on stdout.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_audit_is_exit_code_1() {
        let text = |findings: &Findings| format!("{:?}", exit_code(findings));
        let broken = Findings { violations: vec!["oversold".into()], ..Findings::default() };
        assert_eq!(text(&Findings::default()), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(text(&broken), format!("{:?}", ExitCode::from(1)));
    }
}
