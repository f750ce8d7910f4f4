//! Latencies: one histogram per operation x verdict over the run, and one point per slice of it.

use hdrhistogram::Histogram;

use crate::operation::{Operation, Verdict};

/// Longest latency told apart, in ns: one hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Points of a latency-over-time plot.
const SLICES: u64 = 120;

/// A slice of the run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Point {
    /// Middle of the slice, in ns since the start.
    pub(crate) at_ns: u64,
    /// Answers in it.
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

/// Latencies of one operation x verdict.
pub(crate) struct Track {
    pub(crate) operation: Operation,
    pub(crate) verdict: Verdict,
    pub(crate) whole: Histogram<u64>,
    pub(crate) points: Vec<Point>,
    slice: Histogram<u64>,
    slice_number: u64,
}

impl Track {
    fn new(operation: Operation, verdict: Verdict) -> Self {
        let whole = histogram(3);
        Self { operation, verdict, whole, points: Vec::new(), slice: histogram(2), slice_number: 0 }
    }

    fn close_slice(&mut self, slice_ns: u64) {
        if self.slice.is_empty() {
            return;
        }
        self.points.push(Point {
            at_ns: self.slice_number * slice_ns + slice_ns / 2,
            count: self.slice.len(),
            p50_ns: self.slice.value_at_quantile(0.5),
            p99_ns: self.slice.value_at_quantile(0.99),
            max_ns: self.slice.max(),
        });
        self.slice.reset();
    }
}

/// Adds what a later life told, which began this long after the first one.
pub(crate) fn append(tracks: &mut Vec<Track>, later: Vec<Track>, offset_ns: u64) {
    for mut track in later {
        track.points.iter_mut().for_each(|point| point.at_ns += offset_ns);
        let same = |one: &&mut Track| (one.operation, one.verdict) == (track.operation, track.verdict);
        match tracks.iter_mut().find(same) {
            Some(known) => {
                // The same bounds and digits: nothing is lost.
                known.whole.add(&track.whole).unwrap_or_default();
                known.points.append(&mut track.points);
            }
            None => tracks.push(track),
        }
    }
    tracks.sort_by_key(|track| (track.operation, track.verdict));
}

/// A histogram of ns with that many significant digits.
fn histogram(digits: u8) -> Histogram<u64> {
    // The bounds are constants that the crate accepts; its own default has the same digits.
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, digits)
        .unwrap_or_else(|_| unreachable!("bounds 1..=1 h with {digits} digits are valid"))
}

/// All latencies of a run.
pub(crate) struct Recorder {
    tracks: Vec<Option<Box<Track>>>,
    /// How late the generator itself sent, in ns.
    pub(crate) lateness: Histogram<u64>,
    slice_ns: u64,
}

impl Recorder {
    /// For a run of that length.
    pub(crate) fn new(duration_s: f64) -> Self {
        let tracks = Operation::ALL.len() * Verdict::ALL.len();
        Self {
            tracks: (0..tracks).map(|_| None).collect(),
            lateness: histogram(3),
            slice_ns: ((duration_s * 1e9) as u64 / SLICES).max(1_000_000),
        }
    }

    /// Files a latency under its pair, in the slice of `at_ns`, the time of the answer.
    pub(crate) fn record(&mut self, operation: Operation, verdict: Verdict, latency_ns: u64, at_ns: u64) {
        let index = operation as usize * Verdict::ALL.len() + verdict as usize;
        let track = self.tracks[index].get_or_insert_with(|| Box::new(Track::new(operation, verdict)));
        let number = at_ns / self.slice_ns;
        // A time-out is filed under its deadline, a moment ago: slices only move on.
        if number > track.slice_number {
            track.close_slice(self.slice_ns);
            track.slice_number = number;
        }
        track.whole.saturating_record(latency_ns.max(1));
        track.slice.saturating_record(latency_ns.max(1));
    }

    /// Files how late a send was.
    pub(crate) fn record_lateness(&mut self, ns: u64) {
        self.lateness.saturating_record(ns.max(1));
    }

    /// Answers filed under a pair.
    #[cfg(test)]
    pub(crate) fn count(&self, operation: Operation, verdict: Verdict) -> u64 {
        let index = operation as usize * Verdict::ALL.len() + verdict as usize;
        self.tracks[index].as_ref().map_or(0, |track| track.whole.len())
    }

    /// The tracks that hold anything, in the order of operations and verdicts.
    pub(crate) fn finish(mut self) -> (Vec<Track>, Histogram<u64>) {
        for track in self.tracks.iter_mut().flatten() {
            track.close_slice(self.slice_ns);
        }
        (self.tracks.into_iter().flatten().map(|track| *track).collect(), self.lateness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_kept_apart_and_time_is_sliced() {
        let mut recorder = Recorder::new(12.0);
        for at in 0..1_000u64 {
            recorder.record(Operation::CreateOrder, Verdict::Accepted, 1_000 * (at + 1), at * 12_000_000);
            recorder.record(Operation::CreateOrder, Verdict::SoldOut, 10, at * 12_000_000);
        }
        assert_eq!(recorder.count(Operation::CreateOrder, Verdict::SoldOut), 1_000);
        assert_eq!(recorder.count(Operation::CreateOrder, Verdict::Limited), 0);
        let (tracks, _) = recorder.finish();
        assert_eq!(tracks.len(), 2);
        let accepted = &tracks[0];
        assert!((499_000..=502_000).contains(&accepted.whole.value_at_quantile(0.5)));
        assert_eq!(tracks[1].whole.max(), 10);
        assert_eq!(accepted.points.len() as u64, SLICES);
        assert!(accepted.points.is_sorted_by_key(|point| point.at_ns));
        assert_eq!(accepted.points.iter().map(|point| point.count).sum::<u64>(), 1_000);
    }

    #[test]
    fn hours_saturate_instead_of_being_lost() {
        let mut recorder = Recorder::new(1.0);
        recorder.record(Operation::Validate, Verdict::Accepted, u64::MAX, 0);
        assert_eq!(recorder.count(Operation::Validate, Verdict::Accepted), 1);
    }
}
