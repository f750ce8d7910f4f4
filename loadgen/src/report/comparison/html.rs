//! The comparison to show: one file, no network, no script.

use super::plot::{Scales, over_time, percentiles};
use super::{Comparison, MEASURES, Measure, Side, escaped};
use crate::machine::{self, Machine};

const PAGE: &str = include_str!("page.html");

/// The page with the figures in it.
pub(crate) fn html(comparison: &Comparison) -> String {
    let (mark, class) = if comparison.passed() { ("passed", "good") } else { ("failed", "bad") };
    let scales = Scales::of(comparison.sides.iter().flat_map(|side| &side.runs));
    let machine = Machine::here();
    let head: String = MEASURES.iter().map(|measure| format!("<th>{}</th>", measure.name)).collect();
    let commit = machine::commit().map_or_else(String::new, |commit| format!(", commit {commit}"));
    let about = format!(
        "{} round(s) in turns, seed {}; {} cores, {}{commit}",
        comparison.rounds(),
        comparison.seed,
        machine.cores,
        machine.cpu
    );
    let fields = [
        ("{{title}}", escaped(&comparison.scenario)),
        ("{{audit}}", mark.into()),
        ("{{audit_class}}", class.into()),
        ("{{about}}", escaped(&about)),
        ("{{measures}}", head),
        ("{{rows}}", comparison.sides.iter().map(|side| rows(comparison, side)).collect()),
        ("{{plots}}", comparison.sides.iter().map(|side| plots(&scales, side)).collect()),
        ("{{findings}}", comparison.sides.iter().map(broken).collect()),
    ];
    fields.iter().fold(PAGE.to_owned(), |page, (field, text)| page.replace(field, text))
}

fn rows(comparison: &Comparison, side: &Side) -> String {
    let cells = |cell: &dyn Fn(&Measure) -> Option<String>| -> String {
        let cell = |measure| format!("<td>{}</td>", cell(measure).unwrap_or_else(|| "-".into()));
        MEASURES.iter().map(cell).collect()
    };
    let medians = cells(&|measure| side.median(measure).map(measure.text));
    let ratios = cells(&|measure| comparison.ratio(side, measure).map(|ratio| format!("{ratio:.2}x")));
    let audit = if side.passed() { "passed" } else { "failed" };
    format!(
        "<tr><th>{}</th>{medians}<td>{audit}</td></tr><tr class=\"ratio\"><th>to the first</th>{ratios}<td></td></tr>",
        escaped(&side.target)
    )
}

fn plots(scales: &Scales, side: &Side) -> String {
    format!(
        "<section><h2>{}</h2><div class=\"pair\">{}{}</div></section>",
        escaped(&side.target),
        percentiles(scales, &side.runs),
        over_time(scales, &side.runs)
    )
}

fn broken(side: &Side) -> String {
    let lines = side
        .runs
        .iter()
        .enumerate()
        .flat_map(|(index, run)| run.findings.violations.iter().map(move |line| (index + 1, line)));
    lines
        .map(|(round, line)| {
            format!("<li class=\"broken\">{}, round {round}: {}</li>", escaped(&side.target), escaped(line))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::comparison;
    use super::*;

    #[test]
    fn each_target_has_its_plots_on_the_same_scales() {
        let page = html(&comparison());
        for forbidden in ["src=", "href=", "@import", "url(", "<script", "://", "{{"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("<svg").count(), 4);
        // Three runs, a line each in either plot.
        assert_eq!(page.matches("<polyline").count(), 12);
        let labels = |plot: &str| -> Vec<String> {
            plot.split("text-anchor=\"end\">")
                .skip(1)
                .map(|rest| rest.split('<').next().unwrap().to_owned())
                .collect()
        };
        let plots: Vec<&str> = page.split("<svg").skip(1).collect();
        assert!(!labels(plots[0]).is_empty() && labels(plots[0]) == labels(plots[2]));
        assert!(page.contains("0.50x") && page.contains("audit passed"), "{page}");
    }

    #[test]
    fn what_an_engine_says_cannot_break_out_of_the_page() {
        let mut comparison = comparison();
        comparison.sides[0].runs[0].findings.violations.push("<script>alert(1)</script>".into());
        let page = html(&comparison);
        assert!(page.contains("audit failed") && !page.contains("<script"));
    }
}
