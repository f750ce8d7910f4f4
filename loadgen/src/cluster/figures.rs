//! What a run told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::books::{Books, quantile};
use super::buyers::Asked;
use super::kinds::Kind;
use super::trouble::Trouble;

/// What one server took and what three nodes took, one after the other: orders a second and the 99th percentile.
pub(super) struct Round {
    pub(super) alone: (f64, Duration),
    pub(super) cluster: (f64, Duration),
}

impl Round {
    fn ratio(&self) -> f64 {
        self.cluster.0 / self.alone.0.max(1.0)
    }

    pub(super) fn line(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "alone {:.0}/s (p99 {:.1} ms), three nodes {:.0}/s (p99 {:.1} ms): {:.2}x",
            self.alone.0,
            ms(self.alone.1),
            self.cluster.0,
            ms(self.cluster.1),
            self.ratio()
        )
    }
}

/// All of it.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) troubles: Vec<Trouble>,
    pub(super) rounds: Vec<Round>,
    pub(super) violations: Vec<String>,
    orders: usize,
    /// Those of several lines.
    baskets: usize,
    answers: usize,
    repeated: u64,
    read: u64,
    sold_out: u64,
    restocked: u64,
    asked_again: usize,
    errors: BTreeMap<String, u64>,
}

impl Figures {
    pub(super) fn take(&mut self, books: &Books, asked: &Asked) {
        let entries = books.entries();
        self.orders = entries.bought.len();
        self.baskets = entries.bought.values().filter(|bought| bought.basket.len() > 1).count();
        (self.repeated, self.read) = (entries.repeated, entries.read);
        (self.sold_out, self.restocked) = (entries.sold_out, entries.restocked);
        self.answers = entries.answers.len();
        self.asked_again = asked.asked_again;
        self.errors.clone_from(&entries.errors);
    }

    fn gaps(&self, kind: Kind) -> Vec<Duration> {
        let of_kind = self.troubles.iter().filter(|trouble| trouble.kind == kind);
        let mut gaps: Vec<_> = of_kind.map(|trouble| trouble.gap).collect();
        gaps.sort_unstable();
        gaps
    }

    fn notes(&self, kind: Kind) -> Vec<&str> {
        let of_kind = self.troubles.iter().filter(|trouble| trouble.kind == kind);
        of_kind.filter_map(|trouble| trouble.note.as_deref()).collect()
    }

    /// How many times as long an answer took in one part of each than in another, the median; `None` if no trouble of the
    /// kind has such a part.
    fn slower(&self, kind: Kind, parts: impl Fn(&Trouble) -> Option<(Duration, Duration)>) -> Option<f64> {
        let of_kind = self.troubles.iter().filter(|trouble| trouble.kind == kind);
        let ratio = |(usual, slow): (Duration, Duration)| slow.as_secs_f64() / usual.as_secs_f64().max(1e-9);
        let mut ratios: Vec<f64> = of_kind.filter_map(parts).map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }

    fn ratio(&self) -> f64 {
        let mut ratios: Vec<f64> = self.rounds.iter().map(Round::ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or_default()
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        for kind in Kind::ALL {
            let gaps = self.gaps(kind);
            if gaps.is_empty() {
                continue;
            }
            let (p50, p99, most) = (quantile(&gaps, 0.5), quantile(&gaps, 0.99), quantile(&gaps, 1.0));
            let _ = write!(
                text,
                "{:<33} {:>4} times  without an acknowledgement: median {:.0} ms, p99 {:.0} ms, at most {:.0} ms; \
                 p99 of an answer {:.1} times that before",
                kind.name(),
                gaps.len(),
                ms(p50),
                ms(p99),
                ms(most),
                self.slower(kind, before).unwrap_or_default()
            );
            let parts = [self.slower(kind, missing), self.slower(kind, without)];
            if let [Some(missing), Some(without)] = parts {
                let _ =
                    write!(text, ", {without:.1} times that without the node, which was {missing:.1} times");
            }
            text.push('\n');
        }
        if !self.rounds.is_empty() {
            let _ = writeln!(
                text,
                "three nodes against one alone: {:.2}x (median of {})",
                self.ratio(),
                self.rounds.len()
            );
        }
        if !self.troubles.is_empty() {
            let errors: u64 = self.errors.values().sum();
            let _ = writeln!(
                text,
                "{} orders, {} of them of several lines, in {} answers; {} asked for once more and answered as before, \
                 {} read as told; {} refused as sold out, of items that came in again {} times; \
                 errors that a caller saw: {errors}, asked again under their keys: {}",
                self.orders,
                self.baskets,
                self.answers,
                self.repeated,
                self.read,
                self.sold_out,
                self.restocked,
                self.asked_again
            );
            for (error, count) in &self.errors {
                let _ = writeln!(text, "  {count} x {error}");
            }
        }
        match self.violations.len() {
            0 => text.push_str(
                "audit: sound; every order as it was acknowledged, once, nothing oversold, the same rows at every node \
                 after each trouble\n",
            ),
            count => {
                let _ = writeln!(text, "audit: {count} violations");
                for line in self.violations.iter().take(20) {
                    let _ = writeln!(text, "  {line}");
                }
            }
        }
        text
    }

    /// For machines.
    pub(super) fn json(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let kinds: serde_json::Map<String, Value> = Kind::ALL
            .into_iter()
            .filter(|kind| !self.gaps(*kind).is_empty())
            .map(|kind| {
                let gaps = self.gaps(kind);
                let value = json!({
                    "times": gaps.len(),
                    "gap_ms": {"median": ms(quantile(&gaps, 0.5)), "p99": ms(quantile(&gaps, 0.99)), "max": ms(quantile(&gaps, 1.0))},
                    "slower": self.slower(kind, before),
                    "slower_without_node": self.slower(kind, missing),
                    "slower_than_without_node": self.slower(kind, without),
                    "notes": self.notes(kind),
                });
                (kind.key().to_owned(), value)
            })
            .collect();
        let rounds: Vec<Value> = self
            .rounds
            .iter()
            .map(|round| json!({"alone_per_s": round.alone.0, "cluster_per_s": round.cluster.0}))
            .collect();
        let value = json!({
            "troubles": kinds,
            "rounds": rounds,
            "orders": self.orders,
            "baskets": self.baskets,
            "repeated": self.repeated,
            "read": self.read,
            "sold_out": self.sold_out,
            "restocked": self.restocked,
            "errors": self.errors,
            "asked_again": self.asked_again,
            "violations": self.violations,
        });
        format!("{value:#}\n")
    }
}

/// What an answer took before a trouble, and in it.
fn before(trouble: &Trouble) -> Option<(Duration, Duration)> {
    Some(trouble.p99)
}

/// Before it, and while a node was missing.
fn missing(trouble: &Trouble) -> Option<(Duration, Duration)> {
    Some((trouble.p99.0, trouble.p99_without?))
}

/// While a node was missing, and in it.
fn without(trouble: &Trouble) -> Option<(Duration, Duration)> {
    Some((trouble.p99_without?, trouble.p99.1))
}
