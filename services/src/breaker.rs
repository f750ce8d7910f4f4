//! A circuit breaker: what fails again and again is left alone for a while, then tried by a few calls. Time comes
//! as an argument, so that a test brings its own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is looked back at, in slices that leave the window whole.
const SLICE: Duration = Duration::from_secs(1);
const SLICES_MAX: usize = 10;
/// Fewer calls than this say nothing.
const CALLS_MIN: u32 = 10;
/// Calls let through at once to see whether it is back, and how many have to go well.
const PROBES_MAX: u32 = 3;
/// How long it is left alone: doubled after each probe that fails.
const OPEN_MIN: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(15);

/// Where a breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No call goes through.
    Open,
    /// A few go through.
    HalfOpen,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// Its name in measures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A breaker.
pub(crate) struct Breaker {
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    slices: VecDeque<Slice>,
    /// How long it is left alone next time.
    pause: Duration,
}

enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { under_way: u32, went_well: u32 },
}

struct Slice {
    begins: Instant,
    calls: u32,
    failed: u32,
}

/// A call that was let through. Dropped without a word it counts as neither.
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
    told: bool,
}

impl Breaker {
    /// A closed one.
    pub(crate) fn new() -> Self {
        let inner = Inner { state: State::Closed, slices: VecDeque::new(), pause: OPEN_MIN };
        Self { inner: Mutex::new(inner) }
    }

    /// Lets a call through, or says how long it has to wait.
    pub(crate) fn admit(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut inner = self.lock();
        if let State::Open { until } = inner.state {
            if now < until {
                return Err(until - now);
            }
            inner.state = State::HalfOpen { under_way: 0, went_well: 0 };
        }
        let probe = match &mut inner.state {
            State::HalfOpen { under_way, .. } if *under_way >= PROBES_MAX => return Err(OPEN_MIN),
            State::HalfOpen { under_way, .. } => {
                *under_way += 1;
                true
            }
            State::Closed | State::Open { .. } => false,
        };
        drop(inner);
        Ok(Pass { breaker: self, probe, told: false })
    }

    /// Where it stands.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.lock().state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Says how the call went.
    pub(crate) fn tell(mut self, now: Instant, well: bool) {
        self.told = true;
        let mut inner = self.breaker.lock();
        match (&mut inner.state, self.probe) {
            (State::HalfOpen { under_way, went_well }, true) => {
                *under_way = under_way.saturating_sub(1);
                if !well {
                    inner.open(now);
                } else if *went_well + 1 == PROBES_MAX {
                    *inner = Inner { state: State::Closed, slices: VecDeque::new(), pause: OPEN_MIN };
                } else {
                    *went_well += 1;
                }
            }
            (State::Closed, false) => inner.count(now, well),
            // Told late, of a time that is over.
            _ => {}
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.told || !self.probe {
            return;
        }
        if let State::HalfOpen { under_way, .. } = &mut self.breaker.lock().state {
            *under_way = under_way.saturating_sub(1);
        }
    }
}

impl Inner {
    fn count(&mut self, now: Instant, well: bool) {
        let begins_new = self.slices.back().is_none_or(|slice| now.duration_since(slice.begins) >= SLICE);
        if begins_new {
            self.slices.push_back(Slice { begins: now, calls: 0, failed: 0 });
        }
        let window = SLICE * SLICES_MAX as u32;
        while self.slices.front().is_some_and(|slice| now.duration_since(slice.begins) >= window) {
            self.slices.pop_front();
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.calls += 1;
            slice.failed += u32::from(!well);
        }
        let sum = |of: fn(&Slice) -> u32| self.slices.iter().map(of).sum::<u32>();
        let (calls, failed) = (sum(|slice| slice.calls), sum(|slice| slice.failed));
        if calls >= CALLS_MIN && failed * 2 >= calls {
            self.open(now);
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open { until: now + self.pause };
        self.slices.clear();
        self.pause = (self.pause * 2).min(OPEN_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(breaker: &Breaker, now: Instant, well: bool) -> bool {
        breaker.admit(now).map(|pass| pass.tell(now, well)).is_ok()
    }

    #[test]
    fn half_of_ten_calls_open_it_and_three_good_probes_close_it() {
        let (breaker, start) = (Breaker::new(), Instant::now());
        for at in 0..9 {
            assert!(call(&breaker, start, at % 2 == 0));
        }
        assert_eq!(breaker.state(start), BreakerState::Closed, "nine calls say nothing");
        call(&breaker, start, false);
        assert_eq!(breaker.state(start), BreakerState::Open);
        assert_eq!(breaker.admit(start).err(), Some(OPEN_MIN));

        let later = start + OPEN_MIN;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        let probes: Vec<_> = (0..PROBES_MAX).map(|_| breaker.admit(later).ok().unwrap()).collect();
        assert!(breaker.admit(later).is_err(), "no more than three at once");
        probes.into_iter().for_each(|probe| probe.tell(later, true));
        assert_eq!(breaker.state(later), BreakerState::Closed);
        assert!(call(&breaker, later, false), "what was before is forgotten");
        assert_eq!(breaker.state(later), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_twice_as_long_up_to_a_bound() {
        let (breaker, mut now) = (Breaker::new(), Instant::now());
        (0..10).for_each(|_| assert!(call(&breaker, now, false)));
        for expected in [1, 2, 4, 8, 15, 15].map(Duration::from_secs) {
            assert_eq!(breaker.admit(now).err(), Some(expected));
            now += expected;
            assert!(call(&breaker, now, false));
        }
    }

    #[test]
    fn old_failures_leave_the_window_and_an_abandoned_probe_gives_its_place_back() {
        let (breaker, start) = (Breaker::new(), Instant::now());
        (0..9).for_each(|_| assert!(call(&breaker, start, false)));
        let later = start + SLICE * SLICES_MAX as u32;
        assert!(call(&breaker, later, false));
        assert_eq!(breaker.state(later), BreakerState::Closed);
        (0..9).for_each(|_| assert!(call(&breaker, later, false)));
        let probing = later + OPEN_MIN;
        for _ in 0..2 * PROBES_MAX {
            drop(breaker.admit(probing).ok().unwrap());
        }
        assert_eq!(breaker.state(probing), BreakerState::HalfOpen);
    }
}
