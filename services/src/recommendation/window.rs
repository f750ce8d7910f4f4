//! Windows of time, and how often something is bought in each: rings of buckets, so that memory is
//! bounded and an event costs the same whatever came before. There is no clock here: time comes with
//! the events, and with who reads.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use onrush_grpc::recommendation::v1 as wire;
use rkyv::{Archive, Deserialize, Serialize};

use crate::field::{self, FieldError};

const MINUTE_US: u64 = 60 * 1_000_000;
/// Buckets of all rings.
const BUCKETS: usize = 12 + 24 + 28 + 28;

/// A window of time that ends now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum Window {
    /// An hour, by buckets of 5 minutes.
    Hour,
    /// 24 hours, by the hour.
    Day,
    /// 7 days, by buckets of 6 hours.
    Week,
    /// 28 days, by the day.
    Month,
}

impl Window {
    /// All windows, the shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// Reads a value of a request.
    pub(super) fn read(path: &str, value: i32) -> Result<Self, FieldError> {
        match field::choice(path, value)? {
            wire::TrendWindow::Unspecified => {
                Err(FieldError::invalid(path, "a window", "none").because("MISSING_FIELD"))
            }
            wire::TrendWindow::Hour => Ok(Self::Hour),
            wire::TrendWindow::Day => Ok(Self::Day),
            wire::TrendWindow::Week => Ok(Self::Week),
            wire::TrendWindow::Month => Ok(Self::Month),
        }
    }

    /// As a message.
    pub(super) fn message(self) -> wire::TrendWindow {
        match self {
            Self::Hour => wire::TrendWindow::Hour,
            Self::Day => wire::TrendWindow::Day,
            Self::Week => wire::TrendWindow::Week,
            Self::Month => wire::TrendWindow::Month,
        }
    }

    /// Length of a bucket, and how many there are.
    const fn ring(self) -> (u64, usize) {
        match self {
            Self::Hour => (5 * MINUTE_US, 12),
            Self::Day => (60 * MINUTE_US, 24),
            Self::Week => (6 * 60 * MINUTE_US, 28),
            Self::Month => (24 * 60 * MINUTE_US, 28),
        }
    }

    /// Where its ring begins among all.
    const fn begin(self) -> usize {
        match self {
            Self::Hour => 0,
            Self::Day => 12,
            Self::Week => 36,
            Self::Month => 64,
        }
    }

    /// The number of the bucket of a time, counted from the epoch.
    fn bucket(self, time_us: u64) -> u64 {
        time_us / self.ring().0
    }
}

/// How often something was bought, for each window.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Trend {
    /// The newest bucket of each ring that anything came into.
    newest: [u64; 4],
    counts: [u32; BUCKETS],
}

impl Default for Trend {
    fn default() -> Self {
        Self { newest: [0; 4], counts: [0; BUCKETS] }
    }
}

impl Trend {
    /// Counts one order. Orders may come in any sequence: what is older than a ring is passed over there.
    pub(super) fn add(&mut self, time_us: u64) {
        for window in Window::ALL {
            let (bucket, (_, len)) = (window.bucket(time_us), window.ring());
            let newest = self.newest[window as usize];
            if bucket + len as u64 <= newest {
                continue;
            }
            let ring = &mut self.counts[window.begin()..window.begin() + len];
            // What lies between was quiet; a ring's length of it is all there is to clear.
            for passed in (newest + 1..=bucket).rev().take(len) {
                ring[passed as usize % len] = 0;
            }
            let count = &mut ring[bucket as usize % len];
            *count = count.saturating_add(1);
            self.newest[window as usize] = newest.max(bucket);
        }
    }

    /// Orders in the window that ends at `now_us`, or at the newest event if that is later.
    pub(super) fn orders(&self, window: Window, now_us: u64) -> u64 {
        let (_, len) = window.ring();
        let newest = self.newest[window as usize];
        let now = window.bucket(now_us).max(newest);
        let oldest = (now + 1).saturating_sub(len as u64);
        let ring = &self.counts[window.begin()..window.begin() + len];
        (oldest..=newest).map(|bucket| u64::from(ring[bucket as usize % len])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 60 * MINUTE_US;
    const DAY_US: u64 = 24 * HOUR_US;
    const START_US: u64 = 20_000 * DAY_US;

    fn counts(trend: &Trend, now_us: u64) -> [u64; 4] {
        Window::ALL.map(|window| trend.orders(window, now_us))
    }

    #[test]
    fn an_order_leaves_each_window_in_its_time() {
        let mut trend = Trend::default();
        trend.add(START_US);
        for (later_us, expected) in [
            (0, [1, 1, 1, 1]),
            (55 * MINUTE_US, [1, 1, 1, 1]),
            (HOUR_US, [0, 1, 1, 1]),
            (23 * HOUR_US, [0, 1, 1, 1]),
            (DAY_US, [0, 0, 1, 1]),
            (6 * DAY_US, [0, 0, 1, 1]),
            (7 * DAY_US, [0, 0, 0, 1]),
            (27 * DAY_US, [0, 0, 0, 1]),
            (28 * DAY_US, [0, 0, 0, 0]),
            (900 * DAY_US, [0, 0, 0, 0]),
        ] {
            assert_eq!(counts(&trend, START_US + later_us), expected, "{later_us} us later");
        }
    }

    #[test]
    fn a_ring_counts_as_a_list_of_times_does_in_any_sequence() {
        // An order every 37 minutes for 40 days, told in a sequence that jumps about.
        let times: Vec<u64> = (0..1_500).map(|number| START_US + number * 37 * MINUTE_US).collect();
        let mut trend = Trend::default();
        // Two shards one after the other: the second begins behind what the first ended with.
        times.iter().step_by(2).chain(times.iter().skip(1).step_by(2)).for_each(|time| trend.add(*time));
        let now = *times.last().unwrap();
        for window in Window::ALL {
            let (bucket_us, len) = window.ring();
            let oldest = (now / bucket_us + 1 - len as u64) * bucket_us;
            let expected = times.iter().filter(|time| **time >= oldest).count() as u64;
            assert_eq!(trend.orders(window, now), expected, "{window:?}");
        }
    }

    #[test]
    fn a_reader_whose_clock_is_behind_sees_what_there_is() {
        let mut trend = Trend::default();
        trend.add(START_US);
        assert_eq!(counts(&trend, START_US - 3 * DAY_US), [1, 1, 1, 1]);
        assert_eq!(counts(&Trend::default(), START_US), [0; 4]);
    }
}
