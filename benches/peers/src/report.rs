//! What a run found, as Markdown.

use std::fmt::Write as _;

use onrush_benches::samples::Samples;

use crate::cases::{CASES, CLAIMS, Case, Claim, Figure, position};
use crate::round::Round;
use crate::run::Outcome;

/// The tables of a run, with `method` in front and `notes` behind them.
pub(crate) fn markdown(method: &str, outcomes: &[Outcome], notes: &[String]) -> String {
    let mut text = format!("{method}\n\n");
    text.push_str("| case | per s | rounds | p50 us | p99 us | server CPU us | client CPU us |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for (case, outcome) in CASES.iter().zip(outcomes) {
        if let Some(row) = row(case, outcome) {
            let _ = writeln!(text, "{row}");
        }
    }
    let claims: Vec<String> = CLAIMS.iter().filter_map(|claim| verdict(claim, outcomes)).collect();
    if !claims.is_empty() {
        text.push_str("\n| compared | reach | measured | rounds |\n|---|---|---|---|\n");
        claims.iter().for_each(|claim| {
            let _ = writeln!(text, "{claim}");
        });
    }
    text.push('\n');
    notes.iter().for_each(|note| {
        let _ = writeln!(text, "- {note}");
    });
    text
}

fn row(case: &Case, outcome: &Outcome) -> Option<String> {
    let said = |why: &str| {
        let why = why.replace('|', "/").replace('\n', " ");
        Some(format!("| {} | {why} | | | | | |", case.what))
    };
    match outcome {
        Outcome::Skipped => None,
        Outcome::Missing(why) => said(why),
        Outcome::Failed(why) => said(&format!("failed: {why}")),
        Outcome::Measured(rounds) => {
            let per_s: Samples = rounds.iter().map(|round| round.per_s).collect();
            let (least, most) = (grouped(per_s.quantile(0.0)), grouped(per_s.quantile(1.0)));
            let median = |figure: fn(&Round) -> Option<f64>| {
                let found: Samples = rounds.iter().filter_map(figure).collect();
                if found.is_empty() { "-".into() } else { short(found.median()) }
            };
            Some(format!(
                "| {} | {} | {least}..{most} | {} | {} | {} | {} |",
                case.what,
                grouped(per_s.median()),
                median(|round| round.p50_us),
                median(|round| round.p99_us),
                median(|round| round.server_us),
                median(|round| round.client_us),
            ))
        }
    }
}

/// A row of what is compared; `None` if a case of it was not measured.
fn verdict(claim: &Claim, outcomes: &[Outcome]) -> Option<String> {
    let figures = figures(claim.figure, outcomes)?;
    let median = figures.median();
    let unit = match claim.figure {
        Figure::Ratio(..) | Figure::Limit(..) => "x",
        Figure::Rate(_) | Figure::Ms(_) | Figure::Cpu(_) => "",
    };
    let write =
        |figure: f64| if figure >= 1_000.0 { grouped(figure) } else { format!("{}{unit}", short(figure)) };
    let reach = claim.reach.map_or(String::new(), |reach| {
        let (sign, bound) = match reach {
            onrush_benches::reach::Reach::AtMost(bound) => ("<=", bound),
            onrush_benches::reach::Reach::AtLeast(bound) => (">=", bound),
        };
        format!("{sign} {}", write(bound))
    });
    let missed = claim.reach.is_some_and(|reach| reach.verdict(median).ends_with("missed"));
    let missed = if missed { " (missed)" } else { "" };
    let (least, most) = (write(figures.quantile(0.0)), write(figures.quantile(1.0)));
    Some(format!("| {} | {reach} | {}{missed} | {least}..{most} |", claim.what, write(median)))
}

/// The figure of each round.
fn figures(figure: Figure, outcomes: &[Outcome]) -> Option<Samples> {
    let of = |name: &str| {
        let rounds = outcomes.get(position(name)?)?.rounds();
        (!rounds.is_empty()).then_some(rounds)
    };
    let p50 = |round: &Round| round.p50_us.unwrap_or(f64::NAN);
    Some(match figure {
        Figure::Rate(name) => of(name)?.iter().map(|round| round.per_s).collect(),
        Figure::Ms(name) => of(name)?.iter().map(|round| p50(round) / 1e3).collect(),
        Figure::Cpu(name) => of(name)?.iter().filter_map(|round| round.server_us).collect(),
        Figure::Ratio(ours, theirs) => {
            of(ours)?.iter().zip(of(theirs)?).map(|(ours, theirs)| ours.per_s / theirs.per_s).collect()
        }
        Figure::Limit(ours, [one, other]) => {
            let limits = of(one)?.iter().zip(of(other)?).map(|(one, other)| p50(one) + p50(other));
            of(ours)?.iter().zip(limits).map(|(ours, limit)| p50(ours) / limit).collect()
        }
    })
}

/// A whole number with commas.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits that count, more of large figures.
fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 1_000.0 => grouped(figure),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(per_s: f64, p50_us: f64) -> Round {
        Round { per_s, p50_us: Some(p50_us), p99_us: None, client_us: Some(0.5), server_us: Some(1.25) }
    }

    fn outcomes(measured: &[(&str, &[Round])]) -> Vec<Outcome> {
        let of = |case: &Case| {
            let found = measured.iter().find(|(name, _)| *name == case.name);
            found.map_or(Outcome::Skipped, |(_, rounds)| Outcome::Measured(rounds.to_vec()))
        };
        CASES.iter().map(of).collect()
    }

    #[test]
    fn a_row_has_medians_and_ranges_and_a_claim_is_per_round() {
        let ours = [round(200_000.0, 10.0), round(300_000.0, 10.0), round(100_000.0, 10.0)];
        let theirs = [round(100_000.0, 10.0), round(100_000.0, 10.0), round(100_000.0, 10.0)];
        let outcomes = outcomes(&[("onrush-tcp-one", &ours), ("redis-always-one", &theirs)]);
        let text = markdown("Method.", &outcomes, &["a note".into()]);
        assert!(text.starts_with("Method.\n\n| case |") && text.ends_with("\n- a note\n"), "{text}");
        let row = "| 200,000 | 100,000..300,000 | 10.0 | - | 1.25 | 0.50 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| >= 2.00x | 2.00x | 1.00x..3.00x |"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 2 + 2 + 1, "{text}");
    }

    #[test]
    fn what_is_missed_or_missing_says_so() {
        let mut outcomes = outcomes(&[
            ("onrush-tcp-lone", &[round(1.0, 300.0)]),
            ("limit-write", &[round(1.0, 110.0)]),
            ("limit-roundtrip", &[round(1.0, 40.0)]),
        ]);
        outcomes[position("postgres-hot").unwrap()] = Outcome::Missing("no postgres here".into());
        outcomes[position("nats-later").unwrap()] = Outcome::Failed("a|b\nc".into());
        let text = markdown("", &outcomes, &[]);
        assert!(text.contains("| <= 1.50x | 2.00x (missed) | 2.00x..2.00x |"), "{text}");
        assert!(text.contains("one hot SKU | no postgres here | | | | | |"), "{text}");
        assert!(text.contains("| failed: a/b c |"), "{text}");
        assert!(!text.contains("against PostgreSQL"), "{text}");
    }

    #[test]
    fn figures_are_short() {
        let shown = [0.456, 12.34, 123.4, 1_234.5, 1_234_567.0].map(short);
        assert_eq!(shown, ["0.46", "12.3", "123", "1,234", "1,234,567"]);
    }
}
