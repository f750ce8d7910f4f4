//! The recorded counts: a small file that is checked in, each count with its reason.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::callgrind::Count;
use crate::Failure;

/// What a count may rise by before somebody must say why.
const RISE_MAX: f64 = 0.05;
/// Below this difference a recorded count stays as it is.
const SAME: f64 = 0.005;

const HEAD: &str = "\
# Instructions per operation, as callgrind counts them. Not written by hand:
#     cargo run --release -p onrush-benches --bin onrush-bench -- counts --write --reason TEXT
";

/// What was counted before.
#[derive(Default, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Under which conditions.
    pub(super) conditions: Conditions,
    counts: BTreeMap<String, Recorded>,
}

#[derive(PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    instructions: f64,
    reason: String,
}

/// What counts depend on beside the code.
#[derive(Default, Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conditions {
    /// The compiler that built the bench.
    rustc: String,
    /// The counter.
    valgrind: String,
    /// Whose allocator and memcpy it is.
    libc: String,
    /// What valgrind shows of the processor.
    processor: String,
}

impl Conditions {
    /// Those of this process.
    pub(super) fn now(valgrind: String, processor: String) -> Self {
        let libc = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
        let libc = libc.map_or_else(|_| String::new(), |told| String::from_utf8_lossy(&told.stdout).into());
        let libc = if libc.is_empty() { "unknown".to_owned() } else { libc.trim().to_owned() };
        Self { rustc: env!("ONRUSH_RUSTC").to_owned(), valgrind, libc, processor }
    }

    fn rows(&self) -> [(&'static str, &str); 4] {
        [
            ("rustc", &self.rustc),
            ("valgrind", &self.valgrind),
            ("libc", &self.libc),
            ("processor", &self.processor),
        ]
    }

    /// What is not as it was, as sentences.
    pub(super) fn differences(&self, now: &Self) -> Vec<String> {
        let pairs = self.rows().into_iter().zip(now.rows()).filter(|(then, now)| then != now);
        pairs.map(|((name, then), (_, now))| format!("{name}: recorded with {then}, found {now}")).collect()
    }
}

/// A count beside its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Within 5 % of it.
    Within,
    /// More than that above it.
    Risen,
    /// More than that below it.
    Fallen,
    /// There is no record.
    Unrecorded,
}

/// What a comparison found.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Findings {
    /// What must not be.
    pub(super) failures: Vec<String>,
    /// What is worth saying.
    pub(super) notes: Vec<String>,
}

impl Record {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::unexpected(format!("counts in {}", path.display()), error))?;
        Ok(toml::from_str(&text)?)
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        text.push_str("\n[conditions]\n");
        for (name, told) in self.conditions.rows() {
            let _ = writeln!(text, "{name} = {}", quoted(told));
        }
        for (name, Recorded { instructions, reason }) in &self.counts {
            let reason = quoted(reason);
            let _ = write!(text, "\n[counts.{name}]\ninstructions = {instructions:.1}\nreason = {reason}\n");
        }
        text
    }

    /// The recorded count of a case.
    pub(super) fn instructions(&self, name: &str) -> Option<f64> {
        self.counts.get(name).map(|recorded| recorded.instructions)
    }

    /// A count against its record.
    pub(super) fn verdict(&self, count: &Count) -> Verdict {
        match self.instructions(count.name).map(|recorded| count.instructions / recorded - 1.0) {
            None => Verdict::Unrecorded,
            Some(change) if change > RISE_MAX => Verdict::Risen,
            Some(change) if change < -RISE_MAX => Verdict::Fallen,
            Some(_) => Verdict::Within,
        }
    }

    /// What all counts say. A case without a record and a record without a case fail under any
    /// conditions, a rise under those of the record only (`judged`).
    pub(super) fn findings(&self, counts: &[Count], known: impl Fn(&str) -> bool, judged: bool) -> Findings {
        let mut findings = Findings::default();
        for count in counts {
            let (name, found) = (count.name, count.instructions);
            let recorded = self.instructions(name).unwrap_or_default();
            match self.verdict(count) {
                Verdict::Unrecorded => findings.failures.push(format!(
                    "{name}: expected a recorded count, found none beside {found:.1}: --write --reason TEXT records it"
                )),
                Verdict::Risen if judged => findings.failures.push(format!(
                    "{name}: expected at most {:.1} instructions, 5 % above {recorded:.1}, found {found:.1}: \
                     --write --reason TEXT records it if it must be",
                    recorded * (1.0 + RISE_MAX)
                )),
                Verdict::Fallen if judged => findings.notes.push(format!(
                    "{name}: fell from {recorded:.1} to {found:.1} instructions: --write --reason TEXT keeps it there"
                )),
                Verdict::Risen | Verdict::Fallen | Verdict::Within => {}
            }
        }
        for name in self.counts.keys().filter(|name| !known(name)) {
            findings.failures.push(format!("{name}: expected a case of this name, found only its record"));
        }
        findings
    }

    /// Takes counts over; how many. Those that are as they were keep their numbers and their reasons, unless
    /// they were counted under other conditions.
    pub(super) fn update(&mut self, conditions: Conditions, counts: &[Count], reason: &str) -> usize {
        let anew = self.conditions != conditions;
        self.conditions = conditions;
        let mut written = 0;
        for count in counts {
            let same = |recorded: f64| (count.instructions / recorded - 1.0).abs() < SAME;
            if anew || !self.instructions(count.name).is_some_and(same) {
                let recorded = Recorded { instructions: count.instructions, reason: reason.to_owned() };
                self.counts.insert(count.name.to_owned(), recorded);
                written += 1;
            }
        }
        written
    }

    /// Drops the records of cases that are gone.
    pub(super) fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.counts.retain(|name, _| known(name));
    }
}

/// A basic string of TOML. Texts have no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::counts::cases::CASES;

    fn conditions(rustc: &str) -> Conditions {
        let [valgrind, libc, processor] = ["3.19.0", "glibc 2.36", "x86_64 avx2"].map(str::to_owned);
        Conditions { rustc: rustc.to_owned(), valgrind, libc, processor }
    }

    fn count(name: &'static str, instructions: f64) -> Count {
        Count { name, instructions }
    }

    fn record() -> Record {
        let mut record = Record::default();
        let counts = [count("apply", 1_000.0), count("decide", 2_000.0)];
        assert_eq!(record.update(conditions("1.95.0"), &counts, "a \"first\" count"), 2);
        record
    }

    fn findings(counts: &[Count], judged: bool) -> Findings {
        record().findings(counts, |name| ["apply", "decide", "parse"].contains(&name), judged)
    }

    #[test]
    fn a_rise_of_six_percent_fails_and_one_of_four_passes() {
        let found = findings(&[count("apply", 1_060.0), count("decide", 2_080.0)], true);
        let [failure] = found.failures.as_slice() else { panic!("expected one failure, found {found:?}") };
        assert!(failure.starts_with("apply: expected at most 1050.0 instructions"), "{failure}");
        assert!(failure.contains("found 1060.0") && found.notes.is_empty(), "{found:?}");
    }

    #[test]
    fn a_fall_passes_and_says_that_it_may_be_recorded() {
        let found = findings(&[count("apply", 940.0), count("decide", 1_920.0)], true);
        assert_eq!(found.failures, [""; 0]);
        let [note] = found.notes.as_slice() else { panic!("expected one note, found {found:?}") };
        assert!(note.starts_with("apply: fell from 1000.0 to 940.0") && note.contains("--write"), "{note}");
    }

    #[test]
    fn what_only_one_side_has_is_named_under_any_conditions() {
        for judged in [true, false] {
            let found = findings(&[count("parse", 5.0)], judged);
            assert!(found.failures.len() == 1 && found.failures[0].starts_with("parse: expected a recorded"));
            let found = record().findings(&[], |name| name == "apply", judged);
            assert!(found.failures.len() == 1 && found.failures[0].starts_with("decide: expected a case"));
        }
    }

    #[test]
    fn counts_of_other_conditions_are_not_judged_and_say_so() {
        assert_eq!(findings(&[count("apply", 2_000.0), count("decide", 10.0)], false), Findings::default());
        let differing = record().conditions.differences(&conditions("1.96.0"));
        assert_eq!(differing, ["rustc: recorded with 1.95.0, found 1.96.0"]);
        assert!(record().conditions.differences(&conditions("1.95.0")).is_empty());
    }

    #[test]
    fn what_is_written_is_read_again_and_what_did_not_change_keeps_its_reason() {
        let mut record = record();
        assert_eq!(toml::from_str::<Record>(&record.text()).unwrap(), record);
        let counts = [count("apply", 1_004.0), count("decide", 2_200.0)];
        assert_eq!(record.update(conditions("1.95.0"), &counts, "keys are checked twice"), 1);
        assert_eq!(
            (record.instructions("apply"), record.instructions("decide")),
            (Some(1_000.0), Some(2_200.0))
        );
        assert_eq!(record.counts["apply"].reason, "a \"first\" count");
        assert_eq!(record.counts["decide"].reason, "keys are checked twice");
        assert_eq!(record.update(conditions("1.96.0"), &counts, "another compiler"), 2);
        record.retain(|name| name == "apply");
        assert_eq!(record.counts.len(), 1);
    }

    #[test]
    fn every_case_is_recorded() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.toml");
        let record = Record::read(&path).unwrap_or_else(|failure| panic!("{failure}"));
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        let recorded: Vec<&String> = record.counts.keys().collect();
        let missing: Vec<_> = names.iter().filter(|name| !record.counts.contains_key(**name)).collect();
        assert!(
            missing.is_empty() && recorded.len() == names.len(),
            "found {recorded:?}, missing {missing:?}"
        );
    }
}
