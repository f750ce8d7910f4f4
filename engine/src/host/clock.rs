//! Shard time for one process: the last frame's time or the wall clock, whichever is later, plus what
//! a monotonic clock has counted since.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::options::ClockOptions;

/// Reads the wall clock once for itself, when the engine opens; never goes backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    opened: Uptime,
    base_us: u64,
    /// The clock that callers state their deadlines by.
    wall_us: fn() -> u64,
}

/// How long the machine is up. It never goes back, and counts while the machine is suspended too, where the system can say so:
/// a lease that was held before is over after.
#[derive(Clone, Copy, Debug)]
struct Uptime(Duration);

impl Uptime {
    #[cfg(target_os = "linux")]
    fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The system gives no negative ones.
        Self(Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32))
    }

    /// Since the process looked first.
    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::disallowed_methods, reason = "the host is where the clock is read")]
    fn now() -> Self {
        static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        Self(FIRST.get_or_init(std::time::Instant::now).elapsed())
    }

    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// The wall clock is too far from the last record to be believed. One that stands ahead would expire
/// every hold at once; behind one, shard time stands ahead of everybody else's for as long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a wall clock within {} s of the last record's time {}, found {}: set the clock, or accept it \
     (--accept-clock, ACCEPT_CLOCK=true)",
    jump_max_us / 1_000_000,
    Utc(*last_frame_us),
    Utc(*wall_us)
)]
pub struct ClockJump {
    /// What the wall clock says, in us since the epoch.
    pub wall_us: u64,
    /// The time of the last frame of all logs, in us since the epoch.
    pub last_frame_us: u64,
    /// The bound.
    pub jump_max_us: u64,
}

/// The machine's wall clock, in us since the epoch.
#[allow(clippy::disallowed_methods, reason = "the host is where the clock is read")]
pub(crate) fn wall_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

impl HostClock {
    /// A clock that starts no earlier than `last_frame_us`, which is 0 before there is a frame.
    pub(crate) fn start(last_frame_us: u64, options: ClockOptions) -> Result<Self, ClockJump> {
        let base_us = begin((options.wall_us)(), last_frame_us, options)?;
        Ok(Self { opened: Uptime::now(), base_us, wall_us: options.wall_us })
    }

    /// Shard time in us since the epoch.
    pub(crate) fn now_us(&self) -> u64 {
        self.base_us + self.opened.elapsed().as_micros() as u64
    }

    /// Goes on from `time_us`, if that is later: another clock has counted so far.
    pub(crate) fn advance_to(&mut self, time_us: u64) {
        self.base_us += time_us.saturating_sub(self.now_us());
    }

    /// By how much shard time is ahead of the wall clock, in us; below 0 if it is behind. A wall clock may be set
    /// while the engine is open, so that this changes.
    pub(crate) fn ahead_us(&self) -> i64 {
        self.now_us().wrapping_sub((self.wall_us)()) as i64
    }
}

/// Shard time at opening. How long the process was down nobody knows but the wall clock: a long rest
/// and a clock that jumped look alike, so beyond the bound an operator says which it was.
fn begin(wall_us: u64, last_frame_us: u64, options: ClockOptions) -> Result<u64, ClockJump> {
    let jump_us = wall_us.abs_diff(last_frame_us);
    if last_frame_us > 0 && jump_us > options.jump_max_us && !options.accept_jump {
        return Err(ClockJump { wall_us, last_frame_us, jump_max_us: options.jump_max_us });
    }
    Ok(wall_us.max(last_frame_us))
}

/// A moment as people read it: `2026-11-25T21:15:34Z`.
struct Utc(u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The date of a day counted from 1970-01-01. Each 400 years have the same 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970 + days / 146_097 * 400;
    let mut left = days % 146_097;
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    (year, month as u64 + 1, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: u64 = 86_400_000_000;
    /// 2026-11-25 21:15:34 UTC.
    const LAST_US: u64 = 1_795_641_334_000_000;

    #[test]
    fn a_jump_beyond_the_bound_needs_somebody_to_accept_it() {
        let asked = ClockOptions { jump_max_us: DAY_US, ..ClockOptions::default() };
        let accepted = ClockOptions { accept_jump: true, ..asked };
        let (last, jump) =
            (LAST_US, |wall_us| Err(ClockJump { wall_us, last_frame_us: LAST_US, jump_max_us: DAY_US }));
        let year = 365 * DAY_US;
        for (case, wall, asked_gives, accepted_gives) in [
            ("a moment later", last + 1, Ok(last + 1), Ok(last + 1)),
            ("a moment earlier: time stands until it comes", last - 1, Ok(last), Ok(last)),
            ("a day of rest", last + DAY_US, Ok(last + DAY_US), Ok(last + DAY_US)),
            ("more than a day of rest", last + DAY_US + 1, jump(last + DAY_US + 1), Ok(last + DAY_US + 1)),
            ("a clock a year ahead", last + year, jump(last + year), Ok(last + year)),
            ("a day back", last - DAY_US, Ok(last), Ok(last)),
            ("a year back", last - year, jump(last - year), Ok(last)),
            ("no clock at all", 0, jump(0), Ok(last)),
        ] {
            assert_eq!(begin(wall, last, asked), asked_gives, "{case}");
            assert_eq!(begin(wall, last, accepted), accepted_gives, "{case}, accepted");
        }
        assert_eq!(begin(LAST_US, 0, asked), Ok(LAST_US), "nothing is known in a new directory");
    }

    #[test]
    fn uptime_goes_on() {
        let began = Uptime::now();
        assert!(!began.0.is_zero());
        let mut last = began.elapsed();
        while last.is_zero() {
            last = began.elapsed();
        }
        assert!(began.elapsed() >= last && last < Duration::from_secs(3_600), "{last:?}");
    }

    #[test]
    fn the_error_names_both_times_and_the_way_on() {
        let error = ClockJump { wall_us: 951_782_399_000_000, last_frame_us: LAST_US, jump_max_us: DAY_US };
        assert_eq!(
            error.to_string(),
            "expected a wall clock within 86400 s of the last record's time 2026-11-25T21:15:34Z, found \
             2000-02-28T23:59:59Z: set the clock, or accept it (--accept-clock, ACCEPT_CLOCK=true)"
        );
        let days = |year_days: u64| Utc(year_days * DAY_US).to_string();
        assert_eq!(
            [days(0), days(11_016), days(11_017), days(19_782), days(47_541)],
            [
                "1970-01-01T00:00:00Z",
                "2000-02-29T00:00:00Z",
                "2000-03-01T00:00:00Z",
                "2024-02-29T00:00:00Z",
                "2100-03-01T00:00:00Z"
            ]
        );
    }
}
