//! What a run comes to: a table for people, JSON for machines, HTML to show, percentile files.

pub(crate) mod comparison;
mod course;
mod hgrm;
mod html;
mod json;
mod stages;
mod table;

use hdrhistogram::Histogram;

use crate::audit::Findings;
use crate::driver::Tally;
use crate::figures::Figure;
use crate::machine::{self, CpuTime, Machine};
use crate::operation::Verdict;
use crate::recorder::Track;
use crate::target::Setup;
use crate::watch::Course;

pub(crate) use hgrm::hgrm;
pub(crate) use html::html;
pub(crate) use json::json;
pub(crate) use table::{findings, table};

/// Percentiles that reports name: key, quantile.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Everything reports are made of.
pub(crate) struct Summary {
    pub(crate) scenario: String,
    /// Open or closed loop.
    pub(crate) mode: String,
    pub(crate) target: String,
    pub(crate) seed: u64,
    /// Length of the schedule.
    pub(crate) duration_s: f64,
    /// T0.
    pub(crate) start_s: f64,
    pub(crate) setup: Setup,
    pub(crate) machine: Machine,
    pub(crate) memory_peak_mib: Option<u64>,
    pub(crate) tally: Tally,
    /// Memory and lag.
    pub(crate) course: Course,
    pub(crate) tracks: Vec<Track>,
    /// How late the generator sent; a closed loop has no times to be late for.
    pub(crate) lateness: Option<Histogram<u64>>,
    /// Buys whose outcome the client never learnt.
    pub(crate) unknown: u64,
    pub(crate) findings: Findings,
    /// What only this scenario tells.
    pub(crate) figures: Vec<Figure>,
    cpu: CpuTime,
}

impl Summary {
    /// A summary of nothing yet.
    pub(crate) fn new(scenario: &str, mode: &str, seed: u64, duration_s: f64) -> Self {
        Self {
            scenario: scenario.into(),
            mode: mode.into(),
            target: String::new(),
            seed,
            duration_s,
            start_s: 0.0,
            setup: Setup::default(),
            machine: Machine::here(),
            memory_peak_mib: machine::memory_peak_mib(),
            tally: Tally::default(),
            course: Course::default(),
            tracks: Vec::new(),
            lateness: None,
            unknown: 0,
            findings: Findings::default(),
            figures: Vec::new(),
            cpu: CpuTime::default(),
        }
    }

    /// With the CPU time of the run.
    pub(crate) fn costing(self, cpu: CpuTime) -> Self {
        Self { cpu, ..self }
    }

    /// CPU time per order answered: of the whole process, and the generator's part of it. With the
    /// inline host the generator's thread drives the shards, so there the parts are one. `None` if nobody counted.
    fn cpu_us_per_order(&self) -> Option<(f64, f64)> {
        let per_order = |us: u64| us as f64 / self.tally.answered as f64;
        (self.tally.answered > 0 && self.cpu.process_us > 0)
            .then(|| (per_order(self.cpu.process_us), per_order(self.cpu.generator_us)))
    }

    /// Seconds in which goodput counts: from T0 to the first sell-out, or to the schedule's end.
    fn window_s(&self) -> f64 {
        let end_s = self.tally.sold_out_ns.map_or(self.duration_s, |ns| ns as f64 / 1e9);
        (end_s - self.start_s).max(1e-3)
    }

    /// Orders accepted per second of the window.
    pub(crate) fn goodput_per_s(&self) -> f64 {
        self.tally.accepted_in_window as f64 / self.window_s()
    }

    /// Orders answered per second of the schedule, refusals included.
    fn answered_per_s(&self) -> f64 {
        self.tally.answered as f64 / (self.tally.done_ns as f64 / 1e9).max(self.duration_s)
    }

    /// Seconds from T0 to the first refusal for want of stock.
    fn sold_out_s(&self) -> Option<f64> {
        self.tally.sold_out_ns.map(|ns| ns as f64 / 1e9 - self.start_s)
    }

    /// Seconds from T0 to the last unit sold for good; `None` if the items did not run out.
    fn truly_sold_out_s(&self) -> Option<f64> {
        self.tally.sold_out_ns.and(self.tally.last_sold_ns).map(|ns| ns as f64 / 1e9 - self.start_s)
    }

    /// Answers to orders of the schedule by verdict. `accepted` counts orders, once each.
    fn orders(&self, verdict: Verdict) -> u64 {
        if verdict == Verdict::Accepted {
            return self.tally.accepted;
        }
        let orders = self.tracks.iter().filter(|track| track.operation.is_order());
        orders.filter(|track| track.verdict == verdict).map(|track| track.whole.len()).sum()
    }

    /// How the figures came about.
    fn method(&self) -> Vec<String> {
        let mut method = vec![if self.mode == "open loop" {
            "Arrivals are drawn in advance from the seed and do not wait for answers (open loop); latency counts \
             from the intended time of each, so waiting caused by a slow target is in it (no coordinated omission)."
        } else {
            "A new group is made as soon as one is answered (closed loop): the rate says what the target can \
             take; the latency says how long a group takes, not what a buyer would feel."
        }
        .to_owned()];
        method.push(
            "Each pair of operation and outcome has a histogram of its own (3 digits), so cheap refusals cannot \
             hide slow acceptances. `accepted` is counted when the answer arrives, and an answer leaves the engine \
             only once it is durable."
                .into(),
        );
        method.push(
            "Goodput is accepted orders per second from T0 to the first sell-out, or to the end. CPU per order is \
             that of the whole process, generator included, over all answered orders. Expiry lag is read on the \
             engine's clock from the orders themselves."
                .into(),
        );
        method.push(
            "Memory and lag are read by a thread of their own, about a thousand times. Flat means that the highest \
             reading of the last quarter is that of the second quarter's median; the journal is what the generator \
             keeps of each accepted order to audit it, and grows with them."
                .into(),
        );
        method
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::meter::Gauges;
    use crate::operation::Operation;
    use crate::recorder::Recorder;
    use crate::target::StageTimes;
    use crate::watch::Reading;

    /// A hundred readings of an engine whose memory is flat but for 12 bits per key.
    pub(crate) fn course() -> Course {
        let reading = |at: u64| {
            let keys = at * 1_000;
            let gauges = Gauges {
                process_bytes: (100 << 20) + at * 48_000,
                state_bytes: (20 << 20) + keys * 3 / 2,
                orders_in_memory: 5_000,
                remembered_keys: keys,
                lag_bytes: (at % 10) << 20,
                lag_bytes_max: 256 << 20,
                level0_runs: 3,
            };
            Reading { at_ns: at * 100_000_000, gauges, journal_bytes: at * 48_000 }
        };
        Course { readings: (0..100).map(reading).collect() }
    }

    /// A summary with a little of everything.
    pub(crate) fn sample() -> Summary {
        let mut recorder = Recorder::new(10.0);
        for number in 1..=2_000u64 {
            recorder.record(Operation::CreateOrder, Verdict::Accepted, number * 1_000, number * 5_000_000);
            recorder.record(Operation::CreateOrder, Verdict::SoldOut, number * 100, number * 5_000_000);
            recorder.record(Operation::StartPayment, Verdict::Accepted, number * 1_500, number * 5_000_000);
            recorder.record_lateness(number);
        }
        let mut summary = Summary::new("flash-sale", "open loop", 7, 10.0)
            .costing(CpuTime { process_us: 9_000, generator_us: 1_000 });
        summary.start_s = 1.5;
        summary.target = "embedded".into();
        summary.setup.durability = "O_DIRECT+O_DSYNC".into();
        summary.setup.shards = 1;
        summary.setup.stages = vec![StageTimes {
            stage: "commit".into(),
            turns: 1_000,
            p50_ns: 130_000,
            p90_ns: 170_000,
            p99_ns: 400_000,
            max_ns: 2_000_000,
            total_ns: 150_000_000,
        }];
        summary.tally.offered = 4_000;
        summary.tally.answered = 4_000;
        summary.tally.accepted = 2_000;
        summary.tally.accepted_in_window = 1_700;
        summary.tally.sold_out_ns = Some(3_200_000_000);
        summary.tally.done_ns = 10_100_000_000;
        let (tracks, lateness) = recorder.finish();
        summary.tracks = tracks;
        summary.course = course();
        summary.lateness = Some(lateness);
        summary.figures.push(Figure::new("paid_share", "paid in the end", 0.5, "50.0 %".into()));
        summary.findings.lines.push("2,000 units received = 0 available + 0 held + 2,000 sold".into());
        summary
    }

    #[test]
    fn goodput_counts_from_t0_to_the_sell_out() {
        let summary = sample();
        assert!((summary.goodput_per_s() - 1_000.0).abs() < 1e-6);
        assert!((summary.sold_out_s().unwrap() - 1.7).abs() < 1e-9);
        assert_eq!(summary.orders(Verdict::SoldOut), 2_000);
        assert_eq!(summary.cpu_us_per_order(), Some((2.25, 0.25)));
    }
}
