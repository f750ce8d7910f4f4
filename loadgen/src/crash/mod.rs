//! The real server, killed under load: what it told its buyers is there when it is back, and what it told
//! nobody is there once or not at all.

pub(crate) mod process;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use onrush_proto::{Command, Outcome, Receipt, Refusal, Request};
use serde_json::json;
use tempfile::TempDir;

use crate::asking::ask_all;
use crate::audit::{Claims, audit, broken_order};
use crate::catalogue;
use crate::cli::{CrashArgs, Scenario, StoreName, TargetName};
use crate::conduct::{ConductError, OPEN_LOOP, link_options, native_options};
use crate::driver::{Driver, Tally, key_of, order_command};
use crate::figures::Figure;
use crate::journal::{Journal, Unheard};
use crate::number::grouped;
use crate::plan::{Plan, SECOND_NS};
use crate::progress::Progress;
use crate::random::Random;
use crate::recorder::{Recorder, Track, append};
use crate::report::Summary;
use crate::run::say;
use crate::target::{Grpc, Native, Target, Tcp, directory};
use process::{Process, Setup};

/// How late in a life the kill comes at the latest, in parts of it.
const LATEST: f64 = 0.9;
/// Random streams of the kills.
const KILLS: u64 = 9;
/// A key whose first call is still being settled is asked for again, so often and after such a pause.
const TRIES: u32 = 50;
const TRY_PAUSE: Duration = Duration::from_millis(20);

/// Why a server cannot be started, killed or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrashError {
    #[error("crash kills a server of its own: expected --target tcp or grpc, found {0}")]
    Target(String),
    #[error("crash reads what was on disk: expected --store fjall, found memory")]
    Store,
    #[error("expected the server's binary at {path}, found none; build it, or name it by --onrush")]
    NoBinary { path: PathBuf },
    #[error("expected a directory that can be written, found {dir}: {source}")]
    Directory { dir: PathBuf, source: std::io::Error },
    #[error("{binary}: expected to start and end it, found: {source}")]
    Start { binary: PathBuf, source: std::io::Error },
    #[error("expected a server that lives until it is told to end, found {status}; it said:\n{said}")]
    Ended { status: ExitStatus, said: String },
    #[error("expected the server to end within 30 s of SIGTERM; it said:\n{said}")]
    Endless { said: String },
    #[error("the thread that kills the server does not start: {0}")]
    Thread(std::io::Error),
}

/// Lives, kills and comparisons on one directory.
struct Lives<'a> {
    scenario: &'a Scenario,
    plan: Plan,
    kills: u32,
    setup: Setup,
    journal: Journal,
    tracks: Vec<Track>,
    tally: Tally,
    next_serial: u32,
    /// How long each start took.
    starts_ms: Vec<f64>,
    /// Unheard buys that turned out to be orders, and those that did not.
    heard: [u64; 2],
    violations: Vec<String>,
}

/// Runs all lives, then audits the last one and the files that it leaves.
pub(crate) fn conduct(scenario: &Scenario, args: &CrashArgs) -> Result<Summary, ConductError> {
    let common = scenario.common();
    if !matches!(scenario.target(), TargetName::Tcp | TargetName::Grpc) {
        return Err(CrashError::Target(scenario.target().name()).into());
    }
    if common.store == StoreName::Memory {
        return Err(CrashError::Store.into());
    }
    let binary = process::binary(args.onrush.as_deref())?;
    let (dir, temporary) = directory(common.data_dir.as_deref(), common.keep)?;
    let setup = Setup {
        binary,
        dir: dir.clone(),
        shards: scenario.shards(),
        host: common.host.map(|host| format!("{host:?}").to_lowercase()),
        engine_token: format!("{:032x}", key_of(common.seed, u32::MAX, u32::MAX).0),
        node: None,
    };
    let mut lives = Lives {
        scenario,
        plan: scenario.plan()?,
        kills: args.kills,
        setup,
        journal: Journal::default(),
        tracks: Vec::new(),
        tally: Tally::default(),
        next_serial: 0,
        starts_ms: Vec::new(),
        heard: [0; 2],
        violations: Vec::new(),
    };
    for life in 0..lives.kills {
        lives.live(life)?;
    }
    let mut summary = lives.last_life()?;
    summary.setup.kept = temporary.is_none().then_some(dir);
    keep_if_broken(temporary, &mut summary);
    Ok(summary)
}

/// Files that broke a rule are evidence.
fn keep_if_broken(temporary: Option<TempDir>, summary: &mut Summary) {
    if let Some(temporary) = temporary.filter(|_| !summary.findings.ok()) {
        summary.setup.kept = Some(temporary.keep());
    }
}

impl Lives<'_> {
    /// A life: it begins with a comparison and ends with a kill at its peak.
    fn live(&mut self, life: u32) -> Result<(), ConductError> {
        let (process, mut target) = self.start()?;
        if life == 0 {
            catalogue::load(target.as_mut(), &self.plan.items, self.plan.hold_us, self.plan.seed)?;
        } else {
            self.compare(target.as_mut(), life)?;
        }
        let mut plan = self.plan.clone();
        plan.special.life = life.into();
        let mut random = Random::new(plan.seed, KILLS + 16 * u64::from(life));
        let kill_s = plan.start_s + random.unit() * (LATEST * plan.duration_s - plan.start_s);
        let halt = Arc::new(AtomicBool::new(false));
        let killer = kill_later(process, Duration::from_secs_f64(kill_s), Arc::clone(&halt))?;
        let quiet = self.scenario.common().quiet;
        let driver = Driver::new(&plan, target.as_mut(), Progress::new(quiet, plan.duration_s));
        let mut driver =
            driver.after(std::mem::take(&mut self.journal), self.next_serial).until(Arc::clone(&halt));
        driver.run();
        self.next_serial = driver.next_serial();
        let Driver { recorder, journal, tally, .. } = driver;
        self.take(life, recorder, journal, tally);
        killer.join().unwrap_or(Ok(()))?;
        if !quiet {
            say(&format!(
                "life {} of {} ended by SIGKILL after {kill_s:.2} s: {} orders so far, {} buys unheard of",
                life + 1,
                self.kills,
                grouped(self.journal.entries().len() as i64),
                grouped(self.journal.unheard.len() as i64)
            ));
        }
        Ok(())
    }

    fn take(&mut self, life: u32, recorder: Recorder, journal: Journal, tally: Tally) {
        let offset_ns = (f64::from(life) * self.plan.duration_s * SECOND_NS as f64) as u64;
        append(&mut self.tracks, recorder.finish().0, offset_ns);
        self.journal = journal;
        self.tally = self.tally.and(tally);
    }

    fn start(&mut self) -> Result<(Process, Box<dyn Target>), ConductError> {
        let process = self.setup.start()?;
        self.starts_ms.push(process.start.as_secs_f64() * 1e3);
        let common = self.scenario.common();
        let token = &self.setup.engine_token;
        let places = &process.places;
        let target: Box<dyn Target> = match self.scenario.target() {
            TargetName::Grpc => Box::new(Grpc::attach(&places.services, token, &link_options(common))?),
            _ => Box::new(Native::<Tcp>::attach(
                &places.native,
                &places.services,
                token,
                &native_options(common),
            )?),
        };
        Ok((process, target))
    }

    /// Asks again for what nobody heard of, under its keys, and reads everything back that was acknowledged.
    fn compare(&mut self, target: &mut dyn Target, kills: u32) -> Result<(), ConductError> {
        self.ask_again(target)?;
        let (entries, seed) = (self.journal.entries(), self.plan.seed);
        let make = |index: u64| Request::unkeyed(Command::GetOrder(entries[index as usize].order()));
        let violations = &mut self.journal.violations.clone();
        ask_all(target, entries.len() as u64, &make, &mut |index, outcome| {
            let entry = &entries[index as usize];
            let fault = match outcome {
                Outcome::Order(row) => broken_order(entry, &row, seed),
                other => Some(format!("expected it as acknowledged, found {other:?}")),
            };
            if let Some(fault) = fault {
                violations.note(|| format!("after kill {kills}: order {}: {fault}", entry.order()));
            }
        })?;
        self.journal.violations = std::mem::take(violations);
        Ok(())
    }

    fn ask_again(&mut self, target: &mut dyn Target) -> Result<(), ConductError> {
        let known: HashSet<u32> = self.journal.entries().iter().map(|entry| entry.serial).collect();
        let mut open: Vec<Unheard> = std::mem::take(&mut self.journal.unheard);
        open.retain(|buy| !known.contains(&buy.serial));
        for _ in 0..TRIES {
            let mut again = Vec::new();
            let (plan, journal, heard) = (&self.plan, &mut self.journal, &mut self.heard);
            let make = |index: u64| {
                let buy = &open[index as usize];
                let key = key_of(plan.seed, buy.serial, 0);
                Request::new(key, order_command(&plan.items, plan.hold_us, buy.customer, &buy.lines))
            };
            ask_all(target, open.len() as u64, &make, &mut |index, outcome| {
                let buy = &open[index as usize];
                if hear(journal, buy, &outcome, heard) {
                    journal.unknown -= 1;
                } else {
                    again.push(buy.clone());
                }
            })?;
            open = again;
            if open.is_empty() {
                return Ok(());
            }
            thread::sleep(TRY_PAUSE);
        }
        let left = open.len();
        self.journal
            .violations
            .note(|| format!("a key has an outcome: expected one for each, found {left} still running"));
        Ok(())
    }

    /// The last life is not killed: its books are audited, it ends in good order, and its files are verified.
    fn last_life(mut self) -> Result<Summary, ConductError> {
        let (process, mut target) = self.start()?;
        self.compare(target.as_mut(), self.kills)?;
        let plan = &self.plan;
        let claims =
            Claims { items: &plan.items, seed: plan.seed, sells_out: 0, ran_out: false, settles: true };
        let duration_s = plan.duration_s * f64::from(self.kills);
        let mut summary = Summary::new(plan.scenario, OPEN_LOOP, plan.seed, duration_s);
        summary.target = format!("{} of a process of its own", target.name());
        summary.setup = target.setup();
        let mut recorder = Recorder::new(duration_s);
        summary.findings = audit(target.as_mut(), &claims, &mut self.journal, &mut recorder)?;
        target.close()?;
        process.stop()?;
        match self.setup.verify() {
            Ok(_) => {
                summary.findings.lines.push("onrush verify: the files of the stopped server are sound".into())
            }
            Err(complaint) => {
                self.violations.push(format!("onrush verify: expected sound files, found {complaint}"))
            }
        }
        summary.findings.violations.append(&mut self.violations);
        append(&mut self.tracks, recorder.finish().0, 0);
        summary.figures = self.figures();
        summary.tracks = self.tracks;
        summary.tally = self.tally;
        summary.unknown = self.journal.unknown;
        Ok(summary)
    }

    fn figures(&self) -> Vec<Figure> {
        let mut starts = self.starts_ms.clone();
        starts.sort_by(f64::total_cmp);
        let rounded = |ms: f64| (ms * 10.0).round() / 10.0;
        let median = rounded(starts.get(starts.len() / 2).copied().unwrap_or(0.0));
        let most = rounded(starts.last().copied().unwrap_or(0.0));
        let [done, not] = self.heard;
        vec![
            Figure::new("kills", "kills", self.kills, format!("{} by SIGKILL, at the peak", self.kills)),
            Figure::new(
                "unheard",
                "buys unheard of",
                json!({"orders": done, "none": not}),
                format!(
                    "{} turned out to be orders or became some, {} did not",
                    grouped(done as i64),
                    grouped(not as i64)
                ),
            ),
            Figure::new(
                "start_ms",
                "start to serving",
                json!({"median": median, "max": most}),
                format!("median {median:.1} ms, at most {most:.1} ms, recovery included"),
            ),
        ]
    }
}

/// Enters what a key came to; false if its first call is still at it.
fn hear(journal: &mut Journal, buy: &Unheard, outcome: &Outcome, heard: &mut [u64; 2]) -> bool {
    match outcome {
        Outcome::Accepted(Receipt::Order { order, total, .. }) => {
            journal.enter(*order, total.minor, (buy.serial, buy.customer), &buy.lines);
            heard[0] += 1;
        }
        Outcome::Refused(Refusal::OutOfStock { .. } | Refusal::LimitExceeded { .. }) => heard[1] += 1,
        Outcome::Refused(Refusal::KeyInProgress) => return false,
        other => {
            heard[1] += 1;
            let serial = buy.serial;
            journal.violations.note(|| {
                format!("buy {serial} asked again: expected an order, sold out or a limit, found {other:?}")
            });
        }
    }
    true
}

/// Kills the server after a time, then tells the driver.
fn kill_later(
    process: Process,
    after: Duration,
    halt: Arc<AtomicBool>,
) -> Result<thread::JoinHandle<Result<(), CrashError>>, CrashError> {
    let work = move || {
        thread::sleep(after);
        let killed = process.kill();
        halt.store(true, Ordering::Relaxed);
        killed
    };
    thread::Builder::new().name("loadgen-killer".into()).spawn(work).map_err(CrashError::Thread)
}

#[cfg(test)]
mod tests {
    use onrush_proto::{Money, OrderId};
    use smallvec::smallvec;

    use super::*;
    use crate::plan::CURRENCY;

    #[test]
    fn a_key_that_is_asked_again_has_one_outcome() {
        let (mut journal, mut heard) = (Journal::default(), [0; 2]);
        let buy = Unheard { serial: 3, customer: 5, lines: smallvec![(0, 2)] };
        let order = Receipt::Order { order: OrderId(9), total: Money::new(7, CURRENCY), held_until_us: 1 };
        assert!(hear(&mut journal, &buy, &Outcome::Accepted(order), &mut heard));
        let sold_out = Refusal::OutOfStock { line: 0, asked: 2, available: 0 };
        assert!(hear(&mut journal, &buy, &Outcome::Refused(sold_out), &mut heard));
        assert!(!hear(&mut journal, &buy, &Outcome::Refused(Refusal::KeyInProgress), &mut heard));
        assert_eq!((journal.entries().len(), heard), (1, [1, 1]));
        assert!(hear(&mut journal, &buy, &Outcome::Refused(Refusal::UnknownProduct), &mut heard));
        assert_eq!(journal.violations.into_lines().len(), 1);
    }
}
