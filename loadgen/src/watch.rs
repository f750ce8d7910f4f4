//! How a target's memory and lag went over a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::meter::{Gauges, Meter};

/// Readings of a run, if none may cost more.
const READINGS: f64 = 1_000.0;
/// The longest time between two readings.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A thread that reads a meter until it is told to stop.
pub(crate) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Reading>>,
}

impl Watch {
    /// Starts for a run of that length. `journal_bytes` is what the generator's own books take.
    pub(crate) fn start(
        meter: Meter,
        journal_bytes: Arc<AtomicU64>,
        duration_s: f64,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let pause = Duration::from_secs_f64(duration_s / READINGS).max(meter.pause_min).min(PAUSE_MAX);
        let work = move || read_until(&stopped, meter, &journal_bytes, pause);
        let thread = Builder::new().name("loadgen-watch".into()).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Stops reading.
    pub(crate) fn finish(self) -> Course {
        drop(self.stop);
        // A watcher that panicked saw nothing: a run is not lost for that.
        Course { readings: self.thread.join().unwrap_or_default() }
    }
}

fn read_until(
    stopped: &Receiver<()>,
    mut meter: Meter,
    journal_bytes: &AtomicU64,
    pause: Duration,
) -> Vec<Reading> {
    let (start, mut readings) = (Instant::now(), Vec::new());
    loop {
        let at_ns = start.elapsed().as_nanos() as u64;
        if let Some(gauges) = (meter.read)() {
            let own = if meter.shares_process { journal_bytes.load(Ordering::Relaxed) } else { 0 };
            readings.push(Reading { at_ns, gauges, journal_bytes: own });
        }
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return readings;
        }
    }
}

/// One reading.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    /// Since the start of the run.
    pub(crate) at_ns: u64,
    pub(crate) gauges: Gauges,
    /// Of the process's memory, what the generator's own books take.
    pub(crate) journal_bytes: u64,
}

impl Reading {
    /// Memory of the process without the generator's books.
    pub(crate) fn engine_bytes(&self) -> u64 {
        self.gauges.process_bytes.saturating_sub(self.journal_bytes)
    }
}

/// All readings of a run, in order.
#[derive(Clone, Default, Debug)]
pub(crate) struct Course {
    pub(crate) readings: Vec<Reading>,
}

/// How a gauge went: flat means that its last quarter is no higher than its second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quarters {
    pub(crate) start: u64,
    /// Median of the second quarter: what was to be filled is full by then.
    pub(crate) second_median: u64,
    pub(crate) last_max: u64,
}

impl Quarters {
    /// The last quarter against the second.
    pub(crate) fn ratio(&self) -> Option<f64> {
        (self.second_median > 0).then(|| self.last_max as f64 / self.second_median as f64)
    }
}

impl Course {
    /// A gauge by quarters of the run; `None` if a quarter has no reading.
    pub(crate) fn quarters(&self, of: impl Fn(&Reading) -> u64) -> Option<Quarters> {
        let end_ns = self.readings.last()?.at_ns;
        let within = |from: u64, to: u64| {
            let readings = self.readings.iter();
            let within = readings.filter(move |reading| (from..=to).contains(&(4 * reading.at_ns)));
            within.map(&of).collect::<Vec<u64>>()
        };
        let mut second = within(end_ns, 2 * end_ns);
        second.sort_unstable();
        Some(Quarters {
            start: of(self.readings.first()?),
            second_median: *second.get(second.len() / 2)?,
            last_max: within(3 * end_ns, 4 * end_ns).into_iter().max()?,
        })
    }

    /// Bits by which the engine's tables grew for each key that it came to remember between the
    /// second and the last quarter; `None` if they are too few to tell.
    pub(crate) fn state_bits_per_key(&self) -> Option<f64> {
        let keys = self.quarters(|reading| reading.gauges.remembered_keys)?;
        let state = self.quarters(|reading| reading.gauges.state_bytes)?;
        let new_keys = keys.last_max.checked_sub(keys.second_median).filter(|keys| *keys >= 1_000)?;
        let grown = state.last_max as f64 - state.second_median as f64;
        Some(8.0 * grown / new_keys as f64)
    }

    /// How far the store lagged, in log bytes.
    pub(crate) fn lag(&self) -> Option<Lag> {
        let mut sorted: Vec<u64> = self.readings.iter().map(|reading| reading.gauges.lag_bytes).collect();
        sorted.sort_unstable();
        let at = |quantile: f64| sorted[((sorted.len() - 1) as f64 * quantile).round() as usize];
        let last = self.readings.last()?;
        Some(Lag {
            p50_bytes: at(0.5),
            p99_bytes: at(0.99),
            max_bytes: at(1.0),
            end_bytes: last.gauges.lag_bytes,
            bound_bytes: last.gauges.lag_bytes_max,
            level0_runs_max: self.readings.iter().map(|reading| reading.gauges.level0_runs).max()?,
        })
    }
}

/// How far the store lagged behind the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lag {
    pub(crate) p50_bytes: u64,
    pub(crate) p99_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) end_bytes: u64,
    /// Where admission waits.
    pub(crate) bound_bytes: u64,
    pub(crate) level0_runs_max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred readings, 10 ms apart.
    fn course(gauges: impl Fn(u64) -> Gauges) -> Course {
        let reading =
            |at: u64| Reading { at_ns: at * 10_000_000, gauges: gauges(at), journal_bytes: at * 10 };
        Course { readings: (0..100).map(reading).collect() }
    }

    #[test]
    fn what_fills_and_then_stands_is_flat() {
        let course =
            course(|at| Gauges { process_bytes: 1_000 + at.min(20) * 100 + at * 10, ..Gauges::default() });
        let process = course.quarters(|reading| reading.gauges.process_bytes).unwrap();
        assert_eq!((process.start, process.last_max), (1_000, 3_990));
        let engine = course.quarters(Reading::engine_bytes).unwrap();
        assert_eq!(engine, Quarters { start: 1_000, second_median: 3_000, last_max: 3_000 });
        assert_eq!(engine.ratio(), Some(1.0));
    }

    #[test]
    fn growth_is_told_in_bits_per_key() {
        let course = course(|at| Gauges {
            state_bytes: 1_000_000 + 1_500 * at,
            remembered_keys: 1_000 * at,
            ..Gauges::default()
        });
        assert_eq!(course.state_bits_per_key(), Some(12.0));
    }

    #[test]
    fn lag_is_told_by_its_worst() {
        let lag = course(|at| Gauges { lag_bytes: at, lag_bytes_max: 500, ..Gauges::default() }).lag();
        let lag = lag.unwrap();
        assert_eq!((lag.p50_bytes, lag.p99_bytes, lag.max_bytes, lag.end_bytes), (50, 98, 99, 99));
        assert_eq!(lag.bound_bytes, 500);
    }

    #[test]
    fn a_run_without_readings_claims_nothing() {
        let course = Course::default();
        assert_eq!((course.quarters(Reading::engine_bytes), course.lag()), (None, None));
        assert_eq!(course.state_bits_per_key(), None);
    }

    #[test]
    fn a_meter_is_read_until_the_run_ends() {
        let (sender, reads) = channel();
        let mut number = 0;
        let read = move || {
            number += 1;
            sender.send(()).unwrap();
            // A target may fail to answer now and then.
            (number % 2 == 1).then(|| Gauges { state_bytes: number, ..Gauges::default() })
        };
        let meter = Meter { read: Box::new(read), shares_process: true, pause_min: Duration::ZERO };
        let watch = Watch::start(meter, Arc::new(AtomicU64::new(7)), 0.001).unwrap();
        (0..5).for_each(|_| reads.recv().unwrap());
        let course = watch.finish();
        let seen: Vec<u64> = course.readings.iter().map(|reading| reading.gauges.state_bytes).collect();
        assert_eq!(seen[..3], [1, 3, 5]);
        assert!(course.readings.iter().all(|reading| reading.journal_bytes == 7));
    }
}
