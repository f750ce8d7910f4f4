//! The same scenario on several targets, in turns: what one machine does to one run it does to the others too.

use crate::cli::{CompareArgs, Scenario, TargetName};
use crate::conduct::conduct;
use crate::number::grouped;
use crate::report::comparison::{self, Comparison, Side};
use crate::run::{RunError, check_outputs, introduce, print, say, write};

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    #[error("--targets: expected two or more, found {0}")]
    Few(usize),
    #[error("--targets: expected each target once, found {0} twice")]
    Twice(String),
    #[error("compare takes its targets from --targets: expected no --target, found {0}")]
    Target(String),
    #[error("the shop of a running server is empty once: expected --rounds 1 with {0}")]
    Used(String),
    #[error("compare makes a directory for each run: expected no {0}")]
    Alone(&'static str),
}

/// Runs the rounds and reports; true if every audit passed.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, RunError> {
    check(args)?;
    let common = args.scenario.common();
    check_outputs(common)?;
    introduce(common);
    let side = |target: &TargetName| Side { target: target.name(), runs: Vec::new() };
    let mut comparison = Comparison {
        scenario: args.scenario.name().into(),
        seed: common.seed,
        sides: args.targets.iter().map(side).collect(),
    };
    for round in 1..=args.rounds {
        for (target, side) in args.targets.iter().zip(&mut comparison.sides) {
            let summary = conduct(&on(&args.scenario, target))?;
            if !common.quiet {
                let audit = if summary.findings.ok() { "passed" } else { "FAILED" };
                let goodput = grouped(summary.goodput_per_s().round() as i64);
                say(&format!(
                    "round {round} of {}, {}: {goodput} accepted per second, audit {audit}",
                    args.rounds, side.target
                ));
            }
            side.runs.push(summary);
        }
    }
    report(args, &comparison)?;
    Ok(comparison.passed())
}

fn check(args: &CompareArgs) -> Result<(), CompareError> {
    let common = args.scenario.common();
    if args.targets.len() < 2 {
        return Err(CompareError::Few(args.targets.len()));
    }
    for (index, target) in args.targets.iter().enumerate() {
        if args.targets[..index].contains(target) {
            return Err(CompareError::Twice(target.name()));
        }
    }
    if let Some(target) = &common.target {
        return Err(CompareError::Target(target.name()));
    }
    if let Some(elsewhere) = args.targets.iter().find(|target| target.is_elsewhere() && args.rounds > 1) {
        return Err(CompareError::Used(elsewhere.name()));
    }
    let alone = [
        ("--data-dir", common.data_dir.is_some()),
        ("--keep", common.keep),
        ("--hgrm", common.hgrm.is_some()),
    ];
    match alone.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(CompareError::Alone(option)),
        None => Ok(()),
    }
}

/// The same scenario on another target.
fn on(scenario: &Scenario, target: &TargetName) -> Scenario {
    let mut scenario = scenario.clone();
    let common = scenario.common_mut();
    common.target = Some(target.clone());
    common.quiet = true;
    scenario
}

fn report(args: &CompareArgs, comparison: &Comparison) -> Result<(), RunError> {
    let common = args.scenario.common();
    if let Some(file) = &common.json {
        write(file.clone(), comparison::json(comparison))?;
    }
    if let Some(file) = &common.report {
        write(file.clone(), comparison::html(comparison))?;
    }
    if !common.quiet {
        print(&comparison::table(comparison));
    } else if !comparison.passed() {
        print(&comparison::findings(comparison));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Action, Cli};

    fn parsed(args: &[&str]) -> CompareArgs {
        let cli = Cli::try_parse_from([&["loadgen", "compare"], args].concat()).unwrap();
        let Action::Compare(args) = cli.action else { panic!("expected compare") };
        args
    }

    #[test]
    fn targets_and_rounds_may_stand_before_or_behind_the_scenario() {
        for args in [
            &["--targets", "tcp,embedded", "--rounds", "3", "bots", "--rate", "7"][..],
            &["bots", "--rate", "7", "--targets", "tcp,embedded", "--rounds", "3"],
        ] {
            let args = parsed(args);
            assert_eq!(args.targets, [TargetName::Tcp, TargetName::Embedded]);
            assert_eq!((args.rounds, args.scenario.common().rate), (3, Some(7)));
        }
        let args = parsed(&["flash-sale"]);
        assert_eq!(args.targets, [TargetName::Embedded, TargetName::Tcp, TargetName::Grpc]);
        check(&args).unwrap();
    }

    #[test]
    fn what_cannot_be_compared_is_refused_by_name() {
        for (args, expected) in [
            (&["flash-sale", "--targets", "tcp"][..], "expected two or more, found 1"),
            (&["flash-sale", "--targets", "tcp,grpc,tcp"], "found tcp twice"),
            (&["flash-sale", "--target", "tcp"], "expected no --target, found tcp"),
            (&["flash-sale", "--keep"], "expected no --keep"),
            (&["bots", "--targets", "tcp,tcp://a:1", "--rounds", "2"], "expected --rounds 1 with tcp://a:1"),
        ] {
            let error = check(&parsed(args)).unwrap_err().to_string();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }
}
