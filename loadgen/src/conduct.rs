//! A scenario on a target: loaded, driven, watched, audited, closed.

use crate::asking::Unanswered;
use crate::audit::{Claims, audit};
use crate::catalogue::{self, LoadError};
use crate::cli::{Common, OverloadArgs, Scenario, TargetName};
use crate::crash::{self, CrashError};
use crate::driver::{Driver, Tally};
use crate::figures::{Capacity, Seen, figures};
use crate::group::{GroupPlan, Groups};
use crate::journal::Journal;
use crate::machine::{self, CpuTime, Machine};
use crate::plan::{Item, Plan, Special};
use crate::progress::Progress;
use crate::recorder::Recorder;
use crate::report::Summary;
use crate::run::say;
use crate::scenario::{PlanError, group_plan, overload};
use crate::target::{
    Embedded, EmbeddedOptions, GatewaySetup, Grpc, LinkOptions, Native, NativeAddress, NativeOptions, Quic,
    Setup, Target, TargetError, Tcp,
};
use crate::watch::{Course, Watch};
use crate::webhooks::{self, TillError};

/// Requests under way over gRPC, if nobody says otherwise.
const IN_FLIGHT_MAX: u32 = 1_024;
/// The same natively, where the server's credit is the bound.
const NATIVE_IN_FLIGHT_MAX: u32 = 65_536;

/// What the report calls it.
pub(crate) const OPEN_LOOP: &str = "open loop";

/// Why a run says nothing about the target.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConductError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("--group draws its own orders: expected another scenario than {0}")]
    Group(&'static str),
    #[error("expected a target with --shards {expected}, found one with {found}")]
    Shards { expected: u16, found: u16 },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Crash(#[from] CrashError),
    #[error(transparent)]
    Till(#[from] TillError),
    #[error("the audit cannot read the target: {0}")]
    Audit(#[from] Unanswered),
    #[error("the thread that watches memory and lag does not start: {0}")]
    Watch(std::io::Error),
}

/// Runs a scenario to its end, audit included.
pub(crate) fn conduct(scenario: &Scenario) -> Result<Summary, ConductError> {
    let common = scenario.common();
    match (scenario, common.group) {
        (Scenario::Overload(args), _) => overloaded(scenario, args),
        (Scenario::Crash(args), None) => crash::conduct(scenario, args),
        (Scenario::Webhooks(_), None) => webhooks::conduct(scenario),
        (Scenario::FlashSale(_) | Scenario::Catalogue(_) | Scenario::Retries(_), Some(group))
        | (Scenario::Expiry(_) | Scenario::Browse(_), Some(group)) => {
            in_groups(scenario, group_plan(common, group))
        }
        (_, Some(_)) => Err(ConductError::Group(scenario.name())),
        (_, None) => open_loop(scenario, scenario.plan()?),
    }
}

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) recorder: Recorder,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
    pub(crate) course: Course,
    pub(crate) capacity: Option<Capacity>,
}

/// An open-loop run.
fn open_loop(scenario: &Scenario, plan: Plan) -> Result<Summary, ConductError> {
    let target = open(scenario, &plan.special)?;
    let (target, ran, summary) = drive(scenario.common(), &plan, target)?;
    conclude(target, &plan, ran, summary)
}

/// A run that is over and not audited yet.
type Driven = (Box<dyn Target>, Ran, Summary);

/// Loads, drives and watches.
pub(crate) fn drive(
    common: &Common,
    plan: &Plan,
    mut target: Box<dyn Target>,
) -> Result<Driven, ConductError> {
    announce(common, target.as_ref(), &plan.items, &format!("about {:.0} buys", plan.times.expected()));
    catalogue::load(target.as_mut(), &plan.items, plan.hold_us, plan.seed)?;
    machine::sleep_precisely();
    let meter = target.meter()?;
    let start = CpuTime::now();
    let mut driver = Driver::new(plan, target.as_mut(), Progress::new(common.quiet, plan.duration_s));
    let watch = Watch::start(meter, driver.journal.bytes(), plan.duration_s).map_err(ConductError::Watch)?;
    driver.run();
    let Driver { recorder, journal, tally, .. } = driver;
    let cpu = CpuTime::since(start);
    let ran = Ran { recorder, journal, tally, course: watch.finish(), capacity: None };
    let mut summary = Summary::new(plan.scenario, OPEN_LOOP, plan.seed, plan.duration_s);
    summary.start_s = plan.start_s;
    Ok((target, ran, summary.costing(cpu)))
}

/// A closed loop that measures, then an open one that offers several times what was found.
fn overloaded(scenario: &Scenario, args: &OverloadArgs) -> Result<Summary, ConductError> {
    let common = scenario.common();
    let measuring = overload::measuring(args);
    let mut target = open(scenario, &Special::default())?;
    let load = format!(
        "first a closed loop of {:.1} s, then {}x of what it takes",
        measuring.duration_s, args.times
    );
    announce(common, target.as_ref(), &measuring.items, &load);
    catalogue::load(target.as_mut(), &measuring.items, measuring.hold_us, measuring.seed)?;
    machine::sleep_precisely();
    let meter = target.meter()?;
    let start = CpuTime::now();
    let mut groups =
        Groups::new(&measuring, target.as_mut(), Progress::new(common.quiet, measuring.duration_s));
    let began = std::time::Instant::now();
    let watch = Watch::start(meter, groups.journal.bytes(), 4.0 * measuring.duration_s)
        .map_err(ConductError::Watch)?;
    groups.run();
    let Groups { journal, tally: measured, next_serial, .. } = groups;
    let per_s = measured.accepted as f64 / measuring.duration_s;
    let plan = overload::plan(args, per_s.max(1.0));
    let driver = Driver::new(&plan, target.as_mut(), Progress::new(common.quiet, plan.duration_s));
    let mut driver = driver.after(journal, next_serial);
    let open_ns = began.elapsed().as_nanos() as u64;
    driver.run();
    let Driver { recorder, journal, tally, .. } = driver;
    let cpu = CpuTime::since(start);
    let capacity = Some(Capacity { per_s, open_ns });
    // CPU was spent on both parts.
    let tally = Tally { answered: tally.answered + measured.answered, ..tally };
    let ran = Ran { recorder, journal, tally, course: watch.finish(), capacity };
    let mut summary = Summary::new(plan.scenario, OPEN_LOOP, plan.seed, plan.duration_s);
    summary.start_s = plan.start_s;
    conclude(target, &plan, ran, summary.costing(cpu))
}

/// A closed-loop run.
fn in_groups(scenario: &Scenario, plan: GroupPlan) -> Result<Summary, ConductError> {
    let common = scenario.common();
    let mut target = open(scenario, &Special::default())?;
    let group = plan.group;
    let load = match scenario.target() {
        TargetName::Grpc | TargetName::Address(_) => format!("{group} orders"),
        _ => format!("{} groups of {group} orders", plan.under_way),
    };
    announce(common, target.as_ref(), &plan.items, &format!("{load} always under way"));
    catalogue::load(target.as_mut(), &plan.items, plan.hold_us, plan.seed)?;
    let meter = target.meter()?;
    let start = CpuTime::now();
    let mut groups = Groups::new(&plan, target.as_mut(), Progress::new(common.quiet, plan.duration_s));
    let watch = Watch::start(meter, groups.journal.bytes(), plan.duration_s).map_err(ConductError::Watch)?;
    groups.run();
    let Groups { mut recorder, mut journal, tally, .. } = groups;
    let cpu = CpuTime::since(start);
    let claims = Claims { items: &plan.items, seed: plan.seed, sells_out: 0, ran_out: false, settles: false };
    let mode = format!("closed loop, {load}");
    let mut summary = Summary::new(scenario.name(), &mode, plan.seed, plan.duration_s).costing(cpu);
    summary.course = watch.finish();
    summary.setup = target.setup();
    summary.findings = audit(target.as_mut(), &claims, &mut journal, &mut recorder)?;
    summary.tally = tally;
    finish(target, summary, recorder, &journal)
}

/// Audits an open-loop run, asks for its figures, closes.
pub(crate) fn conclude(
    mut target: Box<dyn Target>,
    plan: &Plan,
    mut ran: Ran,
    mut summary: Summary,
) -> Result<Summary, ConductError> {
    let claims = Claims {
        items: &plan.items,
        seed: plan.seed,
        sells_out: plan.sells_out,
        ran_out: ran.tally.sold_out_ns.is_some(),
        settles: plan.special.settles,
    };
    summary.setup = target.setup();
    summary.findings = audit(target.as_mut(), &claims, &mut ran.journal, &mut ran.recorder)?;
    let Ran { recorder, journal, tally, course, capacity } = ran;
    summary.tally = tally;
    summary.course = course;
    let mut summary = finish(target, summary, recorder, &journal)?;
    let seen = Seen {
        plan,
        tracks: &summary.tracks,
        journal: &journal,
        tally: &summary.tally,
        course: &summary.course,
        capacity,
    };
    summary.figures = figures(&seen);
    Ok(summary)
}

fn finish(
    target: Box<dyn Target>,
    mut summary: Summary,
    recorder: Recorder,
    journal: &Journal,
) -> Result<Summary, ConductError> {
    summary.target = target.name();
    target.close()?;
    let (tracks, lateness) = recorder.finish();
    summary.tracks = tracks;
    summary.lateness = Some(lateness).filter(|lateness| !lateness.is_empty());
    summary.unknown = journal.unknown;
    Ok(summary)
}

/// Opens what a scenario loads.
fn open(scenario: &Scenario, special: &Special) -> Result<Box<dyn Target>, ConductError> {
    let gateway = special.gateway.map_or(GatewaySetup::Prompt, GatewaySetup::Days);
    let engine = engine_options(scenario, gateway);
    let target = reach(&scenario.target(), scenario.common(), &engine)?;
    let found = target.setup().shards;
    // Whose shards are not ours to choose has to say how many there are, if it matters.
    if matches!(scenario, Scenario::Neighbours(_)) && found != engine.shards {
        return Err(ConductError::Shards { expected: engine.shards, found });
    }
    Ok(target)
}

/// The target of that name.
fn reach(
    name: &TargetName,
    common: &Common,
    engine: &EmbeddedOptions,
) -> Result<Box<dyn Target>, TargetError> {
    let link = link_options(common);
    let native = native_options(common);
    match name {
        TargetName::Embedded => Ok(Box::new(Embedded::open(engine)?)),
        TargetName::Grpc => Ok(Box::new(Grpc::boot(engine, &link)?)),
        TargetName::GrpcStream => Ok(Box::new(Grpc::boot(engine, &stream_options(common))?)),
        TargetName::Address(order) => {
            let (product, payment) = (common.product_target.as_deref(), common.payment_target.as_deref());
            Ok(Box::new(Grpc::connect(order, product, payment, &link)?))
        }
        TargetName::Tcp => Ok(Box::new(Native::<Tcp>::boot(engine, &native)?)),
        TargetName::Quic => Ok(Box::new(Native::<Quic>::boot(engine, &native)?)),
        TargetName::TcpAddress(place) => {
            Ok(Box::new(Native::<Tcp>::connect(native_address(common, place), &native)?))
        }
        TargetName::QuicAddress(place) => {
            Ok(Box::new(Native::<Quic>::connect(native_address(common, place), &native)?))
        }
    }
}

fn native_address<'a>(common: &'a Common, native: &'a str) -> NativeAddress<'a> {
    let (order, certificate) = (common.order_target.as_deref(), common.certificate.as_deref());
    NativeAddress { native, order, certificate }
}

/// How gRPC is spoken.
pub(crate) fn link_options(common: &Common) -> LinkOptions {
    LinkOptions {
        threads: common.client_threads.into(),
        connections: common.connections.unwrap_or(4).into(),
        streams: false,
        in_flight_max: common.in_flight.or(common.group).unwrap_or(IN_FLIGHT_MAX) as usize,
    }
}

/// How sessions are spoken: they bound what is open themselves, as the native protocol does.
fn stream_options(common: &Common) -> LinkOptions {
    let NativeOptions { connections, in_flight_max } = native_options(common);
    LinkOptions { threads: common.client_threads.into(), connections, streams: true, in_flight_max }
}

/// How the native protocol is spoken.
pub(crate) fn native_options(common: &Common) -> NativeOptions {
    NativeOptions {
        connections: common.connections.unwrap_or(1).into(),
        in_flight_max: common.in_flight.unwrap_or(NATIVE_IN_FLIGHT_MAX) as usize,
    }
}

/// The engine of a target in this process.
pub(crate) fn engine_options(scenario: &Scenario, gateway: GatewaySetup) -> EmbeddedOptions {
    let common = scenario.common();
    EmbeddedOptions {
        shards: scenario.shards(),
        host: common.host(),
        store: common.store(),
        data_dir: common.data_dir.clone(),
        keep: common.keep,
        gateway,
    }
}

pub(crate) fn announce(common: &Common, target: &dyn Target, items: &[Item], load: &str) {
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
