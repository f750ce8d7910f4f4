//! Runs seeds and says what broke.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mimalloc::MiMalloc;
use onrush_sim::{BANK, Bank, Bug, Call, Failure, Passed, RunOptions, SEEDS_MAX, run_seed, shrink};

/// A seed makes and drops whole clusters many times over: a seventh of its CPU went to the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Seeds of one thread in a round.
const ROUND_SEEDS: usize = 8;
/// How much is told of how a planted bug was found.
const TOLD_CHARS: usize = 160;

fn main() -> ExitCode {
    let call = match Call::parse(std::env::args().skip(1)) {
        Ok(call) => call,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let fine = match call.bank {
        Some(bank) => find_planted(&call, bank),
        None => run_seeds(&call),
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_seeds(call: &Call) -> bool {
    #[allow(clippy::disallowed_methods, reason = "the wall clock of the person who waits")]
    let begun = Instant::now();
    let (mut total, mut failures, mut done) = (Passed::default(), 0, 0);
    let mut runs = call.runs();
    loop {
        // Rounds, so that failures are told in the order of their seeds.
        let round: Vec<(RunOptions, u64)> = runs.by_ref().take(ROUND_SEEDS * call.jobs).collect();
        if round.is_empty() || failures >= call.failures {
            break;
        }
        for outcome in run_round(call, &round) {
            done += 1;
            match outcome {
                Ok(passed) => total.add(&passed),
                Err(failure) if failures < call.failures => {
                    failures += 1;
                    println!("{failure}");
                    if call.shrink {
                        println!("smallest: {}", shrink(&failure));
                    }
                }
                Err(_) => {}
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let held = done - failures;
    println!("{held} of {done} seeds held, {:.1} a second; {total:?}", done as f64 / seconds);
    failures == 0
}

type Outcome = Result<Passed, Box<Failure>>;

/// Runs seeds side by side; their outcomes come in the order of the seeds.
fn run_round(call: &Call, runs: &[(RunOptions, u64)]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((options, seed)) = runs.get(at) else { return done };
            done.push((at, run_seed(options, *seed)));
        }
    };
    let mut outcomes: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..call.jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    });
    assert_eq!(outcomes.len(), runs.len(), "a run that panics has told why");
    outcomes.sort_unstable_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Looks for every bug of the bank, several side by side; each must be found.
fn find_planted(call: &Call, bank: Bank) -> bool {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut all = true;
        while let Some(bug) = BANK.get(next.fetch_add(1, Ordering::Relaxed)) {
            all &= find(call, bank, bug);
        }
        all
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..call.jobs).map(|_| scope.spawn(work)).collect();
        // A run that panics has told why.
        threads.into_iter().all(|thread| thread.join().unwrap_or(false))
    })
}

/// Looks for a bug, and says which seed found it.
fn find(call: &Call, bank: Bank, bug: &Bug) -> bool {
    let options = bug.run(call.run);
    let known = bug.seed().filter(|_| bank == Bank::Known);
    let found = known.into_iter().chain(1..=SEEDS_MAX).find_map(|seed| run_seed(&options, seed).err());
    let (number, story) = (bug.planted().number(), bug.story);
    match &found {
        Some(failure) => {
            let missed = known.filter(|seed| *seed != failure.seed);
            let instead = missed.map_or_else(String::new, |seed| format!(", and not by {seed} as before"));
            println!("{number:02} {story}: found by seed {}{instead}: {}", failure.seed, told(failure));
        }
        None => println!("{number:02} {story}: NOT FOUND in {SEEDS_MAX} seeds"),
    }
    found.is_some()
}

/// The invariant, and no more of what was expected and found than fits a line.
fn told(failure: &Failure) -> String {
    let violation = &failure.violation;
    let line = format!("{}: expected {}, got {}", violation.invariant, violation.expected, violation.got);
    line.chars().take(TOLD_CHARS).collect()
}
