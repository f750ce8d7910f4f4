//! A handful of seeds, and the proof that they would find something.

use std::collections::BTreeSet;

use onrush_sim::{BANK, Passed, Planted, RunOptions, run_seed, shrink};

/// Short runs: these tests are built without optimisation as well.
fn short(planted: Option<Planted>) -> RunOptions {
    let options = RunOptions { events: 1_200, ..RunOptions::default() };
    planted.and_then(Planted::bug).map_or(options, |bug| bug.run(options))
}

#[test]
fn a_few_seeds_hold_and_go_through_everything() {
    let (mut total, mut traces) = (Passed::default(), BTreeSet::new());
    for seed in 1..=40 {
        match run_seed(&short(None), seed) {
            Ok(passed) => {
                assert!(traces.insert(passed.trace), "seed {seed} runs like another one");
                total.add(&passed);
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    // Stores filled from snapshots and gaps take longer runs: the program's own summary counts them.
    let went_through = [
        total.crashes,
        total.records,
        total.orders,
        total.expired,
        total.spread,
        total.claims,
        total.refunds,
        total.refused_logs,
        total.kills,
        total.poisoned,
        total.tampered,
        total.snapshots,
        total.delivered,
    ];
    assert!(went_through.iter().all(|count| *count > 0), "{total:?}");
}

#[test]
fn a_few_clusters_hold_and_go_through_everything() {
    let mut total = Passed::default();
    for (nodes, shards) in [(3, 1), (5, 1), (3, 3)] {
        let mut traces = BTreeSet::new();
        for seed in 1..=16 {
            let options = RunOptions { nodes, shards: Some(shards), events: 3_000, ..short(None) };
            match run_seed(&options, seed) {
                Ok(passed) => {
                    assert!(traces.insert(passed.trace), "seed {seed} runs like another one");
                    total.add(&passed);
                }
                Err(failure) => panic!("{failure}"),
            }
        }
    }
    let went_through = [
        total.crashes,
        total.records,
        total.orders,
        total.kills,
        total.poisoned,
        total.spread,
        total.claims,
        total.elections,
        total.offices,
        total.deposed,
        total.resigned,
        total.followed,
        total.outdated,
        total.truncations,
        total.transfers,
        total.cuts,
        total.pauses,
        total.changes,
        total.clock_jumps,
        total.tampered,
    ];
    assert!(went_through.iter().all(|count| *count > 0), "{total:?}");
}

/// Few runs are as long as that: these seeds are known for it.
#[test]
fn a_member_begins_anew_from_another_ones_snapshot() {
    let options = RunOptions { nodes: 3, shards: Some(1), ..RunOptions::default() };
    let begun = [15, 31].map(|seed| run_seed(&options, seed).unwrap_or_else(|failure| panic!("{failure}")));
    assert!(begun.iter().any(|passed| passed.from_snapshots > 0), "{begun:?}");
}

#[test]
fn every_planted_bug_of_the_host_is_found() {
    for bug in BANK.iter().filter(|bug| bug.is_host) {
        let (options, most, number) = (short(Some(bug.planted())), 200, bug.planted().number());
        // The seed that is known is one of a long run.
        let known = bug.seed().and_then(|seed| run_seed(&bug.run(RunOptions::default()), seed).err());
        let found = known.or_else(|| (1..=most).find_map(|seed| run_seed(&options, seed).err()));
        let failure = found.unwrap_or_else(|| panic!("{bug:?} was not found in {most} seeds"));
        assert!(failure.to_string().contains(&format!("--planted {number:02}")));
    }
}

#[test]
fn a_failure_names_the_way_back_and_the_way_back_leads_there() {
    let options = short(Some(Planted::ACK_BEFORE_APPEND));
    let failure = run_seed(&options, 1).expect_err("an answer before its record is always seen");
    let second = run_seed(&failure.options, failure.seed).expect_err("the same run fails again");
    assert_eq!((failure.event, &failure.violation), (second.event, &second.violation));
}

#[test]
fn a_failure_is_made_small_and_stays_the_same_failure() {
    let failure = run_seed(&short(Some(Planted::ACK_BEFORE_APPEND)), 1).expect_err("found at once");
    let small = shrink(&failure);
    assert!(small.options.events < 200, "an answer too early needs a few events: {small}");
    assert_eq!((small.options.clients, small.options.skus), (Some(1), Some(1)), "{small}");
    assert!(small.options.without.iter().count() > 10, "it needs no fault: {small}");
    let again = run_seed(&small.options, small.seed).expect_err("the smaller run fails as well");
    assert_eq!(again.violation, small.violation);
    assert_eq!(again.violation.invariant, failure.violation.invariant);
}
