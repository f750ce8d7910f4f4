//! What only some scenarios tell: the answer to the question that each of them asks.

use serde_json::{Value, json};

use crate::driver::Tally;
use crate::journal::Journal;
use crate::number::{duration, grouped, size};
use crate::operation::{Operation, Verdict};
use crate::plan::{Plan, SECOND_NS, Sorting};
use crate::recorder::Track;
use crate::watch::{Course, Reading};

/// One of them, for people and for machines.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    /// Stable, with its unit at the end.
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) text: String,
}

impl Figure {
    pub(crate) fn new(key: &'static str, name: &'static str, value: impl Into<Value>, text: String) -> Self {
        Self { key, name, value: value.into(), text }
    }
}

/// What was measured before the open loop of an overload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Orders accepted per second.
    pub(crate) per_s: f64,
    /// When the open loop began, since the first reading of the meter.
    pub(crate) open_ns: u64,
}

/// What a run left behind.
pub(crate) struct Seen<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tracks: &'a [Track],
    pub(crate) journal: &'a Journal,
    pub(crate) tally: &'a Tally,
    pub(crate) course: &'a Course,
    pub(crate) capacity: Option<Capacity>,
}

/// The figures of a scenario.
pub(crate) fn figures(seen: &Seen<'_>) -> Vec<Figure> {
    let special = &seen.plan.special;
    let mut figures = match special.sorting {
        Sorting::Alike => Vec::new(),
        Sorting::Bots(bots) => seen.hoarders(bots),
        Sorting::Neighbours { .. } => seen.neighbours(),
        Sorting::Overload { from_ns, until_ns } => seen.overload(from_ns, until_ns),
    };
    if special.gateway.is_some() {
        figures.extend(seen.gateway());
    }
    if special.refunds.is_some() {
        figures.extend(seen.refunds());
    }
    figures
}

fn count(number: u64) -> String {
    grouped(number as i64)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e4).round() / 1e4 }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

impl Seen<'_> {
    fn track(&self, operation: Operation, verdict: Verdict) -> Option<&Track> {
        self.tracks.iter().find(|track| (track.operation, track.verdict) == (operation, verdict))
    }

    fn answers(&self, operation: Operation) -> u64 {
        let tracks = self.tracks.iter().filter(|track| track.operation == operation);
        tracks.map(|track| track.whole.len()).sum()
    }

    fn quantile_ns(&self, operation: Operation, quantile: f64) -> Option<u64> {
        self.track(operation, Verdict::Accepted).map(|track| track.whole.value_at_quantile(quantile))
    }

    /// What bots and people came with, and went away with. The last call is not counted: it is nobody's wish.
    fn hoarders(&self, bots: u32) -> Vec<Figure> {
        let limited = |item: u32| self.plan.items[item as usize].limit > 0 || item < self.plan.sells_out;
        let got = |crowd: std::ops::Range<u32>| {
            let (mut units, mut buyers) = (0u64, std::collections::HashSet::new());
            for entry in self.journal.entries().iter().filter(|entry| crowd.contains(&entry.customer)) {
                let lines = self.journal.lines(entry).iter().filter(|(item, _)| limited(*item));
                let wanted: u64 = lines.map(|(_, quantity)| u64::from(*quantity)).sum();
                units += wanted;
                if wanted > 0 {
                    buyers.insert(entry.customer);
                }
            }
            (units, buyers.len() as u64)
        };
        let people = self.plan.demand.customers();
        let [by_bots, by_people] =
            [Operation::BotOrder, Operation::CreateOrder].map(|crowd| self.answers(crowd));
        let ((bot_units, bot_buyers), (units, buyers)) = (got(0..bots), got(bots..people));
        let line = |answers, units, buyers, all: u32| {
            format!(
                "{} orders sent ({:.1} %), {} hot units, {} of {} identities got some",
                count(answers),
                100.0 * share(answers, by_bots + by_people),
                count(units),
                count(buyers),
                count(all.into())
            )
        };
        let value = |answers: u64, units: u64, buyers: u64, all: u32| json!({"orders_sent": answers, "hot_units": units, "buyers": buyers, "identities": all});
        let part = share(bot_units, bot_units + units);
        vec![
            Figure::new(
                "bots",
                "bots",
                value(by_bots, bot_units, bot_buyers, bots),
                line(by_bots, bot_units, bot_buyers, bots),
            ),
            Figure::new(
                "people",
                "people",
                value(by_people, units, buyers, people - bots),
                line(by_people, units, buyers, people - bots),
            ),
            Figure::new(
                "bot_unit_share",
                "hot units of bots",
                part,
                format!("{:.1} % of those sold in the schedule", 100.0 * part),
            ),
        ]
    }

    fn neighbours(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let of = |quantile| {
            let alone = self.quantile_ns(Operation::AloneOrder, quantile)?;
            Some((alone, self.quantile_ns(Operation::BesideOrder, quantile)?))
        };
        for (key, name, quantile) in
            [("neighbours_p50", "neighbours, p50", 0.5), ("neighbours_p99", "neighbours, p99", 0.99)]
        {
            let Some((alone, beside)) = of(quantile) else { continue };
            let ratio = beside as f64 / alone.max(1) as f64;
            figures.push(Figure::new(
                key,
                name,
                json!({"alone_us": us(alone), "beside_us": us(beside), "ratio": rounded(ratio)}),
                format!("{} beside it, {} without it: {ratio:.2}x", duration(beside), duration(alone)),
            ));
        }
        let hot = self.track(Operation::HotOrder, Verdict::Accepted).map_or(0, |track| track.whole.len());
        let neighbours = [Operation::AloneOrder, Operation::BesideOrder].map(|each| self.answers(each));
        figures.push(Figure::new(
            "hot_orders",
            "the one SKU",
            json!({"accepted": hot, "neighbours_alone": neighbours[0], "neighbours_beside": neighbours[1]}),
            format!(
                "{} orders accepted; neighbours {} without it, {} beside it",
                count(hot),
                count(neighbours[0]),
                count(neighbours[1])
            ),
        ));
        figures
    }

    fn overload(&self, from_ns: u64, until_ns: u64) -> Vec<Figure> {
        let mut figures = Vec::new();
        let peak = self.capacity.map_or(0.0, |capacity| capacity.per_s);
        let goodput = self.accepted_between(from_ns, until_ns);
        let offered = self.answers(Operation::OverloadOrder);
        let length_s = (until_ns - from_ns) as f64 / SECOND_NS as f64;
        if peak > 0.0 {
            figures.push(Figure::new(
                "capacity_per_s",
                "capacity",
                rounded(peak),
                format!("{} orders accepted and paid per second, closed loop", count(peak.round() as u64)),
            ));
            figures.push(Figure::new(
                "overload_goodput",
                "goodput in overload",
                json!({"per_s": rounded(goodput), "of_capacity": rounded(goodput / peak)}),
                format!(
                    "{} per second, {:.2}x of the capacity",
                    count(goodput.round() as u64),
                    goodput / peak
                ),
            ));
        }
        let throttled =
            self.track(Operation::OverloadOrder, Verdict::Throttled).map_or(0, |track| track.whole.len());
        let at_once = self.tally.turned_away;
        figures.push(Figure::new(
            "overload_offered",
            "offered in overload",
            json!({"per_s": rounded(offered as f64 / length_s), "orders": offered, "throttled": throttled, "turned_away": at_once}),
            format!(
                "{} per second; {} of {} throttled, {} turned away at the door in all",
                count((offered as f64 / length_s).round() as u64),
                count(throttled),
                count(offered),
                count(at_once)
            ),
        ));
        figures.extend(self.admitted());
        figures.extend(self.memory_in_overload(from_ns, until_ns));
        figures.push(self.back_to_normal(until_ns));
        figures
    }

    /// Orders accepted per second of a stretch, by the time of their answers.
    fn accepted_between(&self, from_ns: u64, until_ns: u64) -> f64 {
        let tracks = self.tracks.iter();
        let orders =
            tracks.filter(|track| track.operation.is_first_send() && track.verdict == Verdict::Accepted);
        let points = orders.flat_map(|track| &track.points);
        let within = points.filter(|point| (from_ns..until_ns).contains(&point.at_ns));
        let accepted: u64 = within.map(|point| point.count).sum();
        accepted as f64 * SECOND_NS as f64 / (until_ns - from_ns).max(1) as f64
    }

    fn admitted(&self) -> Option<Figure> {
        let at = |operation, quantile| self.quantile_ns(operation, quantile);
        let (usual, p50) = (at(Operation::CreateOrder, 0.99)?, at(Operation::OverloadOrder, 0.5)?);
        let (p99, p999) = (at(Operation::OverloadOrder, 0.99)?, at(Operation::OverloadOrder, 0.999)?);
        Some(Figure::new(
            "admitted_us",
            "latency of the admitted",
            json!({"p50": us(p50), "p99": us(p99), "p999": us(p999), "p99_before": us(usual)}),
            format!(
                "p50 {}, p99 {}, p99.9 {}; p99 {} at half of the capacity",
                duration(p50),
                duration(p99),
                duration(p999),
                duration(usual)
            ),
        ))
    }

    /// The engine's memory before and during the overload, at its highest.
    fn memory_in_overload(&self, from_ns: u64, until_ns: u64) -> Option<Figure> {
        let open_ns = self.capacity?.open_ns;
        let highest = |from: u64, until: u64| {
            let readings = self.course.readings.iter();
            let within = readings.filter(|reading| (from..until).contains(&reading.at_ns));
            within.map(Reading::engine_bytes).max()
        };
        let before = highest(0, open_ns + from_ns)?;
        let during = highest(open_ns + from_ns, open_ns + until_ns)?;
        let after = highest(open_ns + until_ns, u64::MAX)?;
        Some(Figure::new(
            "overload_memory_bytes",
            "memory, at most",
            json!({"before": before, "during": during, "after": after}),
            format!("{} before, {} during, {} after", size(before), size(during), size(after)),
        ))
    }

    /// From the end of the overload to the first of three slices in a row in which the accepted wait no longer
    /// than twice what they waited before it, and nobody is throttled.
    fn back_to_normal(&self, until_ns: u64) -> Figure {
        const IN_A_ROW: usize = 3;
        let usual_ns = self.quantile_ns(Operation::CreateOrder, 0.99).unwrap_or(0);
        let after = self.track(Operation::AfterOrder, Verdict::Accepted);
        let points = after.map_or(&[][..], |track| &track.points);
        let refused = self.track(Operation::AfterOrder, Verdict::Throttled);
        let last_refusal_ns = refused.and_then(|track| track.points.last()).map_or(0, |point| point.at_ns);
        let normal: Vec<bool> = points
            .iter()
            .map(|point| point.p99_ns <= 2 * usual_ns && point.at_ns > last_refusal_ns)
            .collect();
        let first = normal.windows(IN_A_ROW).position(|three| three.iter().all(|normal| *normal));
        let back_s = first.map(|at| points[at].at_ns.saturating_sub(until_ns) as f64 / SECOND_NS as f64);
        let text = match back_s {
            Some(seconds) => format!("{seconds:.2} s after the load fell"),
            None => "not within the run".into(),
        };
        Figure::new("back_to_normal_s", "back to normal", json!(back_s.map(rounded)), text)
    }

    fn gateway(&self) -> Vec<Figure> {
        let Tally { accepted, paid, silences, .. } = *self.tally;
        vec![
            Figure::new(
                "paid_share",
                "paid in the end",
                share(paid, accepted),
                format!(
                    "{:.1} % of the accepted; the rest was declined twice",
                    100.0 * share(paid, accepted)
                ),
            ),
            Figure::new(
                "silences",
                "calls without answer",
                silences,
                match silences {
                    0 => "none that the client knows of: the server's gateway has them".into(),
                    _ => format!("{} charges went on record as unknown at first", count(silences)),
                },
            ),
        ]
    }

    fn refunds(&self) -> Vec<Figure> {
        let [granted, refused] = self.tally.refunds;
        vec![Figure::new(
            "refunds",
            "refunds",
            json!({"granted": granted, "refused": refused}),
            format!("{} went through, {} would have given back too much", count(granted), count(refused)),
        )]
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use onrush_proto::OrderId;

    use super::*;
    use crate::cli::Cli;
    use crate::recorder::Recorder;

    fn plan(args: &[&str]) -> Plan {
        Cli::try_parse_from([&["loadgen"], args].concat()).unwrap().scenario().plan().unwrap()
    }

    fn told(plan: &Plan, recorder: Recorder, journal: &Journal, capacity: Option<Capacity>) -> Vec<Figure> {
        let (tracks, _) = recorder.finish();
        let (tally, course) = (Tally::default(), Course::default());
        figures(&Seen { plan, tracks: &tracks, journal, tally: &tally, course: &course, capacity })
    }

    fn value<'a>(figures: &'a [Figure], key: &str) -> &'a Value {
        &figures.iter().find(|figure| figure.key == key).unwrap().value
    }

    #[test]
    fn bots_and_people_are_told_apart() {
        let plan = plan(&["bots", "--rate", "1000"]);
        let Sorting::Bots(bots) = plan.special.sorting else { panic!("expected bots") };
        let mut journal = Journal::default();
        for (number, customer) in (0u32..).zip([0, 0, bots, bots + 1, bots + 2]) {
            journal.enter(OrderId(number.into()), 1, (number, customer), &[(0, 1), (90, 5)]);
        }
        let mut recorder = Recorder::new(1.0);
        recorder.record(Operation::BotOrder, Verdict::Limited, 1, 1);
        recorder.record(Operation::CreateOrder, Verdict::Accepted, 1, 1);
        let found = told(&plan, recorder, &journal, None);
        assert_eq!(value(&found, "bots")["hot_units"], 2);
        assert_eq!(value(&found, "bots")["buyers"], 1);
        assert_eq!(value(&found, "people")["hot_units"], 3);
        assert_eq!(value(&found, "bot_unit_share"), 0.4);
    }

    #[test]
    fn neighbours_are_held_against_themselves() {
        let plan = plan(&["neighbours"]);
        let mut recorder = Recorder::new(1.0);
        for _ in 0..100 {
            recorder.record(Operation::AloneOrder, Verdict::Accepted, 1_000_000, 1);
            recorder.record(Operation::BesideOrder, Verdict::Accepted, 1_500_000, 1);
            recorder.record(Operation::HotOrder, Verdict::Accepted, 9_000_000, 1);
        }
        let found = told(&plan, recorder, &Journal::default(), None);
        let ratio = value(&found, "neighbours_p99")["ratio"].as_f64().unwrap();
        assert!((ratio - 1.5).abs() < 0.01, "{ratio}");
        assert_eq!(value(&found, "hot_orders")["accepted"], 100);
    }

    /// 12 s: 2.4 s before, 3.6 s during, 3 s after; it calms down one second after the load fell.
    #[test]
    fn an_overload_ends_when_the_accepted_wait_as_before() {
        let plan = plan(&["overload", "--rate", "1000"]);
        let Sorting::Overload { from_ns, until_ns } = plan.special.sorting else { panic!("expected phases") };
        let mut recorder = Recorder::new(plan.duration_s);
        let mut fill = |operation, from: u64, until: u64, latency_ns| {
            (from..until).step_by(2_000_000).for_each(|at_ns| {
                recorder.record(operation, Verdict::Accepted, latency_ns, at_ns);
            });
        };
        fill(Operation::CreateOrder, 0, from_ns, 1_000_000);
        fill(Operation::OverloadOrder, from_ns, until_ns, 50_000_000);
        fill(Operation::AfterOrder, until_ns, until_ns + SECOND_NS, 40_000_000);
        fill(Operation::AfterOrder, until_ns + SECOND_NS, until_ns + 3 * SECOND_NS, 1_000_000);
        let capacity = Some(Capacity { per_s: 1_000.0, open_ns: 0 });
        let found = told(&plan, recorder, &Journal::default(), capacity);
        let back_s = value(&found, "back_to_normal_s").as_f64().unwrap();
        assert!((0.9..1.3).contains(&back_s), "{back_s}");
        let share = value(&found, "overload_goodput")["of_capacity"].as_f64().unwrap();
        assert!((share - 0.5).abs() < 0.03, "{share}");
        assert!(value(&found, "admitted_us")["p99"].as_f64().unwrap() > 49_000.0);
    }
}
