//! Plots as SVG, all on the same scales.

use std::fmt::Write;

use super::accepted;
use crate::number::duration;
use crate::operation::Verdict;
use crate::report::Summary;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 30.0;
/// The last decade of percentiles: 99.999 %.
const NINES: f64 = 5.0;
const PERCENTILES: [&str; 6] = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];

/// What all plots have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    /// Powers of ten of ns, from and to.
    ns: (i32, i32),
    length_s: f64,
}

impl Scales {
    /// Scales on which all of these runs fit.
    pub(super) fn of<'a>(runs: impl Iterator<Item = &'a Summary>) -> Self {
        let (mut low, mut high, mut length_s) = (u64::MAX, 1, 0.1f64);
        for run in runs {
            length_s = length_s.max(run.duration_s);
            let Some(accepted) = accepted(run).filter(|accepted| !accepted.is_empty()) else { continue };
            low = low.min(accepted.min().max(1));
            high = high.max(accepted.max());
        }
        let from = (low.min(high) as f64).log10().floor() as i32;
        Self { ns: (from, ((high as f64).log10().ceil() as i32).max(from + 1)), length_s }
    }

    fn y(&self, ns: u64) -> f64 {
        let (from, to) = self.ns;
        let share = ((ns.max(1) as f64).log10() - f64::from(from)) / f64::from(to - from);
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// An empty plot whose x goes from 0 to 1.
    fn frame(&self, label: &str, ticks: &[(f64, String)]) -> String {
        let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">"#);
        // Writing to a String cannot fail.
        for power in self.ns.0..=self.ns.1 {
            let ns = 10f64.powi(power) as u64;
            let (y, right) = (self.y(ns), WIDTH - RIGHT);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                y + 4.0,
                duration(ns)
            );
        }
        for (share, text) in ticks {
            let (x, bottom) = (x(*share), HEIGHT - BOTTOM);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}"/><text x="{x:.1}" y="{}" text-anchor="middle">{text}</text>"#,
                HEIGHT - 10.0
            );
        }
        svg
    }
}

fn x(share: f64) -> f64 {
    LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

fn line(svg: &mut String, round: usize, points: impl Iterator<Item = (f64, f64)>) {
    let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    if !points.is_empty() {
        let _ = write!(svg, r#"<polyline class="round r{}" points="{}"/>"#, round % 6, points.join(" "));
    }
}

/// Latency of accepted orders by percentile, a line per run.
pub(super) fn percentiles(scales: &Scales, runs: &[Summary]) -> String {
    let ticks: Vec<(f64, String)> =
        (0u32..).zip(PERCENTILES).map(|(nines, text)| (f64::from(nines) / NINES, text.into())).collect();
    let mut svg = scales.frame("Latency of accepted orders by percentile", &ticks);
    for (round, run) in runs.iter().enumerate() {
        let Some(accepted) = accepted(run).filter(|accepted| !accepted.is_empty()) else { continue };
        let steps = accepted.iter_quantiles(5).map(|step| {
            let left = 1.0 - step.quantile_iterated_to().min(1.0 - 0.5 / accepted.len() as f64);
            (x(-left.log10() / NINES), scales.y(step.value_iterated_to()))
        });
        line(&mut svg, round, steps);
    }
    svg + "</svg>"
}

/// p99 of accepted orders over time, a line per run and way of filing.
pub(super) fn over_time(scales: &Scales, runs: &[Summary]) -> String {
    const TICKS: u32 = 5;
    let tick = |at: u32| {
        let share = f64::from(at) / f64::from(TICKS);
        (share, format!("{:.1} s", share * scales.length_s))
    };
    let mut svg =
        scales.frame("p99 of accepted orders over time", &(0..=TICKS).map(tick).collect::<Vec<_>>());
    for (round, run) in runs.iter().enumerate() {
        let orders = run
            .tracks
            .iter()
            .filter(|track| track.operation.is_first_send() && track.verdict == Verdict::Accepted);
        for track in orders {
            let points = track.points.iter();
            let points =
                points.map(|point| (x(point.at_ns as f64 / 1e9 / scales.length_s), scales.y(point.p99_ns)));
            line(&mut svg, round, points);
        }
    }
    svg + "</svg>"
}
