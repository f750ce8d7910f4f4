//! A handful of seeds, and the proof that they would find something.

use onrush_sim::{Passed, Planted, RunOptions, run_seed};

/// Short runs: these tests are built without optimisation as well.
fn short(planted: Option<Planted>) -> RunOptions {
    RunOptions { events: 1_200, planted, ..RunOptions::default() }
}

#[test]
fn a_few_seeds_hold_and_go_through_everything() {
    let mut total = Passed::default();
    for seed in 1..=40 {
        match run_seed(&short(None), seed) {
            Ok(passed) => total.add(&passed),
            Err(failure) => panic!("{failure}"),
        }
    }
    let went_through = [
        total.crashes,
        total.records,
        total.orders,
        total.expired,
        total.spread,
        total.claims,
        total.refunds,
        total.refused_logs,
    ];
    assert!(went_through.iter().all(|count| *count > 0), "{total:?}");
}

#[test]
fn every_planted_bug_of_the_host_is_found() {
    for bug in Planted::ALL {
        // This one takes hundreds of seeds: `planted.sh` looks for it.
        if bug == Planted::AbsorbBeyondCeiling {
            continue;
        }
        let (options, most) = (short(Some(bug)), 200);
        let found = (1..=most).find_map(|seed| run_seed(&options, seed).err());
        let failure = found.unwrap_or_else(|| panic!("{bug:?} was not found in {most} seeds"));
        assert!(failure.to_string().contains(&format!("--planted {:02}", bug.number())));
    }
}

#[test]
fn a_failure_names_the_way_back_and_the_way_back_leads_there() {
    let options = short(Some(Planted::AckBeforeAppend));
    let failure = run_seed(&options, 1).expect_err("an answer before its record is always seen");
    let again = RunOptions { shards: Some(failure.shards), ..options };
    let second = run_seed(&again, failure.seed).expect_err("the same run fails again");
    assert_eq!((failure.event, &failure.violation), (second.event, &second.violation));
}
