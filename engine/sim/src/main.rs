//! Runs seeds and says what broke.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::process::ExitCode;
use std::time::Instant;

use onrush_sim::{Call, Passed, Planted, RunOptions, run_seed};

/// Seeds within which each planted bug must be found.
const PLANTED_SEEDS_MAX: u64 = 1_000;
fn main() -> ExitCode {
    let call = match Call::parse(std::env::args().skip(1)) {
        Ok(call) => call,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let fine = if call.planted_all { find_planted(&call) } else { run_seeds(&call) };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_seeds(call: &Call) -> bool {
    #[allow(clippy::disallowed_methods, reason = "the wall clock of the person who waits")]
    let begun = Instant::now();
    let (mut total, mut failures) = (Passed::default(), 0);
    for seed in call.first..call.first + call.seeds {
        match run_seed(&call.run, seed) {
            Ok(passed) => total.add(&passed),
            Err(failure) => {
                println!("{failure}");
                failures += 1;
            }
        }
        if failures == call.failures {
            println!("{failures} of {} seeds failed", seed - call.first + 1);
            return false;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let held = call.seeds - failures;
    println!("{held} of {} seeds held, {:.1} a second; {total:?}", call.seeds, call.seeds as f64 / seconds);
    failures == 0
}

/// Runs with every bug of the host in turn; each must be found.
fn find_planted(call: &Call) -> bool {
    let mut all = true;
    for bug in Planted::ALL {
        let options = RunOptions { planted: Some(bug), ..call.run };
        let found = (1..=PLANTED_SEEDS_MAX).find_map(|seed| run_seed(&options, seed).err());
        match &found {
            Some(failure) => {
                println!("{:02} {bug:?}: found by seed {}; {failure}", bug.number(), failure.seed)
            }
            None => println!("{:02} {bug:?}: NOT FOUND in {PLANTED_SEEDS_MAX} seeds", bug.number()),
        }
        all &= found.is_some();
    }
    all
}
