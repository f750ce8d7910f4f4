//! A run: rounds in which all cases alternate, so that a machine that slows down slows all.

use onrush_benches::Failure;

use crate::cases::{CASES, Case};
use crate::interrupt;
use crate::round::Round;
use crate::stage::Stage;

/// What became of a case.
pub(crate) enum Outcome {
    /// One figure per round.
    Measured(Vec<Round>),
    /// It cannot be measured here.
    Missing(String),
    /// It went wrong.
    Failed(String),
    /// Nobody asked for it.
    Skipped,
}

impl Outcome {
    /// The rounds; none unless all were measured.
    pub(crate) fn rounds(&self) -> &[Round] {
        match self {
            Self::Measured(rounds) => rounds,
            Self::Missing(_) | Self::Failed(_) | Self::Skipped => &[],
        }
    }
}

/// The cases whose names hold one of `only`; all if there is none.
pub(crate) fn chosen(only: &[String]) -> Result<Vec<bool>, Failure> {
    for part in only {
        if !CASES.iter().any(|case| case.name.contains(part.as_str())) {
            let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
            return Err(Failure::unexpected(format!("part of one of {}", names.join(", ")), part));
        }
    }
    let wanted = |case: &Case| only.is_empty() || only.iter().any(|part| case.name.contains(part.as_str()));
    Ok(CASES.iter().map(wanted).collect())
}

/// Measures what was chosen; `tell` hears of each step. A case that goes wrong is told in its row and left out from
/// there on; a signal ends the run.
pub(crate) fn run(
    chosen: &[bool],
    rounds: usize,
    stage: &Stage<'_>,
    mut tell: impl FnMut(&str),
) -> Result<Vec<Outcome>, Failure> {
    let begin = |(case, chosen): (&Case, &bool)| match (chosen, case.subject.lacks(stage)) {
        (false, _) => Outcome::Skipped,
        (true, Some(missing)) => Outcome::Missing(missing),
        (true, None) => Outcome::Measured(Vec::new()),
    };
    let mut outcomes: Vec<Outcome> = CASES.iter().zip(chosen).map(begin).collect();
    for round in 1..=rounds {
        for (case, outcome) in CASES.iter().zip(&mut outcomes) {
            let Outcome::Measured(measured) = outcome else { continue };
            interrupt::check()?;
            match case.subject.measure(stage) {
                Ok(found) => {
                    tell(&format!("{round}/{rounds} {:<26} {:>12.0}/s", case.name, found.per_s));
                    measured.push(found);
                }
                Err(failure) => {
                    interrupt::check()?;
                    tell(&format!("{round}/{rounds} {:<26} {failure}", case.name));
                    *outcome = Outcome::Failed(failure.to_string());
                }
            }
        }
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn cases_are_chosen_by_parts_of_their_names() {
        let count = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|part| (*part).to_owned()).collect();
            chosen(&only).map(|chosen| chosen.into_iter().filter(|chosen| *chosen).count())
        };
        assert_eq!(count(&[]).unwrap(), super::CASES.len());
        assert_eq!(count(&["postgres"]).unwrap(), 3);
        assert_eq!(count(&["limit-write", "onrush-log"]).unwrap(), 2);
        let error = count(&["limit-write", "mysql"]).unwrap_err().to_string();
        assert!(error.contains("limit-write, ") && error.contains("found \"mysql\""), "{error}");
    }
}
