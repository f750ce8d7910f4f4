//! When arrivals come: a curve of offered rate, and the Poisson arrivals drawn from it.
//!
//! Arrivals are a function of curve and seed alone; nothing the target does moves them. That is
//! what makes the loop open: latency is measured from these times, not from when a slow target
//! let the next request out.

use crate::random::Random;

/// How the rate runs within one segment, in arrivals per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Shape {
    /// The same throughout.
    Flat(f64),
    /// A straight line.
    Ramp { from: f64, to: f64 },
    /// `peak * exp(-t / tau_s)`.
    Decay { peak: f64, tau_s: f64 },
}

/// A piece of the curve.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Segment {
    shape: Shape,
    start_s: f64,
    length_s: f64,
}

impl Segment {
    /// Arrivals expected within the first `t` seconds.
    fn mass(&self, t: f64) -> f64 {
        match self.shape {
            Shape::Flat(rate) => rate * t,
            Shape::Ramp { from, to } => from * t + (to - from) * t * t / (2.0 * self.length_s),
            Shape::Decay { peak, tau_s } => peak * tau_s * (1.0 - (-t / tau_s).exp()),
        }
    }

    /// The time within the segment by which `mass` arrivals are expected: the inverse of `mass`.
    fn time(&self, mass: f64) -> f64 {
        match self.shape {
            Shape::Flat(rate) => mass / rate,
            Shape::Ramp { from, to } => {
                let slope = (to - from) / self.length_s;
                if slope == 0.0 {
                    return mass / from;
                }
                ((from * from + 2.0 * slope * mass).max(0.0).sqrt() - from) / slope
            }
            Shape::Decay { peak, tau_s } => -tau_s * (1.0 - mass / (peak * tau_s)).ln(),
        }
    }

    fn scaled(self, factor: f64) -> Self {
        let shape = match self.shape {
            Shape::Flat(rate) => Shape::Flat(rate * factor),
            Shape::Ramp { from, to } => Shape::Ramp { from: from * factor, to: to * factor },
            Shape::Decay { peak, tau_s } => Shape::Decay { peak: peak * factor, tau_s },
        };
        Self { shape, ..self }
    }
}

/// Offered rate over time.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Curve {
    segments: Vec<Segment>,
}

/// Share of a sale's run before T0.
const LEAD_IN_SHARE: f64 = 0.15;
/// A sale of 120 s decays with tau = 30 s; shorter and longer runs keep the proportion.
const TAU_SHARE: f64 = 0.25;
/// The peak over the lead-in.
pub(crate) const STEP: f64 = 100.0;

impl Curve {
    /// The same rate for `length_s`.
    pub(crate) fn flat(rate: f64, length_s: f64) -> Self {
        Self::default().then(Shape::Flat(rate), length_s)
    }

    /// Rates one after the other, each with its length in seconds.
    pub(crate) fn steps(steps: &[(f64, f64)]) -> Self {
        let step = |curve: Self, (rate, length_s): &(f64, f64)| curve.then(Shape::Flat(*rate), *length_s);
        steps.iter().fold(Self::default(), step)
    }

    /// A flash sale: a lead-in, a step to [`STEP`] times that within one second, a decay.
    pub(crate) fn sale(peak: f64, length_s: f64) -> Self {
        let lead_in_s = Self::sale_start_s(length_s);
        let ramp_s = (0.05 * length_s).min(1.0);
        let from = peak / STEP;
        Self::flat(from, lead_in_s)
            .then(Shape::Ramp { from, to: peak }, ramp_s)
            .then(Shape::Decay { peak, tau_s: TAU_SHARE * length_s }, length_s - lead_in_s - ramp_s)
    }

    /// T0 of a [`sale`](Self::sale) of that length.
    pub(crate) fn sale_start_s(length_s: f64) -> f64 {
        LEAD_IN_SHARE * length_s
    }

    /// Adds a segment at the end.
    fn then(mut self, shape: Shape, length_s: f64) -> Self {
        let start_s = self.length_s();
        self.segments.push(Segment { shape, start_s, length_s });
        self
    }

    /// Seconds from the first segment's start to the last one's end.
    pub(crate) fn length_s(&self) -> f64 {
        self.segments.last().map_or(0.0, |last| last.start_s + last.length_s)
    }

    /// Arrivals expected over the whole curve.
    pub(crate) fn expected(&self) -> f64 {
        self.segments.iter().map(|segment| segment.mass(segment.length_s)).sum()
    }

    /// The curve with its rates multiplied: by `before` where a segment starts before `at_s`, by
    /// `after` from there on.
    pub(crate) fn scaled_at(&self, at_s: f64, before: f64, after: f64) -> Self {
        let scale = |segment: &Segment| segment.scaled(if segment.start_s < at_s { before } else { after });
        Self { segments: self.segments.iter().map(scale).collect() }
    }
}

/// Poisson arrivals along a curve, drawn one at a time without allocating.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    curve: Curve,
    random: Random,
    segment: usize,
    spent: f64,
    last_ns: u64,
}

impl Arrivals {
    /// Arrivals of one (curve, seed).
    pub(crate) fn new(curve: Curve, random: Random) -> Self {
        Self { curve, random, segment: 0, spent: 0.0, last_ns: 0 }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    /// The next intended time in ns since the start. Unit-mean exponential steps over the expected
    /// count, mapped back to time, are a Poisson process of that rate.
    fn next(&mut self) -> Option<u64> {
        let mut step = self.random.exponential();
        while let Some(segment) = self.curve.segments.get(self.segment) {
            let left = segment.mass(segment.length_s) - self.spent;
            if step < left {
                self.spent += step;
                let at_s = segment.start_s + segment.time(self.spent).min(segment.length_s);
                // Rounding at a seam may step back by a nanosecond; order matters more.
                self.last_ns = self.last_ns.max((at_s * 1e9) as u64);
                return Some(self.last_ns);
            }
            step -= left.max(0.0);
            self.segment += 1;
            self.spent = 0.0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(curve: &Curve, seed: u64) -> Vec<u64> {
        Arrivals::new(curve.clone(), Random::new(seed, 1)).collect()
    }

    #[test]
    fn counts_match_the_curve_and_times_never_go_back() {
        for curve in [Curve::flat(20_000.0, 3.0), Curve::sale(50_000.0, 8.0)] {
            let times = arrivals(&curve, 3);
            let expected = curve.expected();
            assert!(
                (times.len() as f64 - expected).abs() < 5.0 * expected.sqrt(),
                "{} {expected}",
                times.len()
            );
            assert!(times.is_sorted());
            assert!(*times.last().unwrap() <= (curve.length_s() * 1e9) as u64);
        }
    }

    #[test]
    fn a_seed_names_its_arrivals() {
        let curve = Curve::sale(10_000.0, 4.0);
        assert_eq!(arrivals(&curve, 9), arrivals(&curve, 9));
        assert_ne!(arrivals(&curve, 9), arrivals(&curve, 10));
    }

    #[test]
    fn a_sale_steps_a_hundredfold_within_a_second_and_decays() {
        let (peak, length_s) = (20_000.0, 120.0);
        let times = arrivals(&Curve::sale(peak, length_s), 5);
        let rate = |from: f64| {
            let within = |at: &&u64| (from..from + 1.0).contains(&(**at as f64 / 1e9));
            times.iter().filter(within).count() as f64
        };
        let start_s = Curve::sale_start_s(length_s);
        assert!((rate(start_s - 1.0) - 200.0).abs() < 80.0, "lead-in at a hundredth");
        assert!((rate(start_s + 1.0) - peak).abs() < 0.06 * peak, "peak one second later");
        let after_tau = rate(start_s + 1.0 + 30.0);
        assert!((after_tau - peak / std::f64::consts::E).abs() < 0.06 * peak, "1/e after tau = 30 s");
    }

    #[test]
    fn reads_follow_the_sale_by_the_ratio_of_each_side() {
        let sale = Curve::sale(1_000.0, 20.0);
        let start_s = Curve::sale_start_s(20.0);
        let reads = sale.scaled_at(start_s, 420.0, 25.0);
        let lead_in = Curve::flat(10.0, start_s).expected();
        let rest = sale.expected() - lead_in;
        assert!((reads.expected() - (420.0 * lead_in + 25.0 * rest)).abs() < 1e-6);
    }
}
