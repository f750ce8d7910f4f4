//! Runs seeds and says what broke.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use onrush_sim::{Call, Failure, Passed, Planted, RunOptions, run_seed, shrink};

/// Seeds within which each planted bug must be found.
const PLANTED_SEEDS_MAX: u64 = 1_000;
/// Seeds of one thread in a round.
const ROUND_SEEDS: usize = 8;

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
    let (mut total, mut failures, mut done) = (Passed::default(), 0, 0);
    let mut seeds = call.first..call.first + call.seeds;
    loop {
        // Rounds, so that failures are told in the order of their seeds.
        let round: Vec<u64> = seeds.by_ref().take(ROUND_SEEDS * call.jobs).collect();
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
fn run_round(call: &Call, seeds: &[u64]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*seed, run_seed(&call.run, *seed)));
        }
        done
    };
    let mut outcomes: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..call.jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    });
    assert_eq!(outcomes.len(), seeds.len(), "a run that panics has told why");
    outcomes.sort_unstable_by_key(|(seed, _)| *seed);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Runs with every bug of the host in turn; each must be found.
fn find_planted(call: &Call) -> bool {
    let mut all = true;
    for (bug, number) in Planted::ALL {
        let nodes = if bug.of_clusters() { call.run.nodes.max(3) } else { 1 };
        let run = RunOptions { planted: Some(bug), nodes, ..call.run };
        let call = Call { run, ..*call };
        let seeds: Vec<u64> = (1..=PLANTED_SEEDS_MAX).collect();
        let mut rounds = seeds.chunks(ROUND_SEEDS * call.jobs);
        let found = rounds.find_map(|round| run_round(&call, round).into_iter().find_map(Result::err));
        match &found {
            Some(failure) => println!("{number:02} {bug:?}: found by seed {}; {failure}", failure.seed),
            None => println!("{number:02} {bug:?}: NOT FOUND in {PLANTED_SEEDS_MAX} seeds"),
        }
        all &= found.is_some();
    }
    all
}
