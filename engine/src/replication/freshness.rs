//! How fresh a follower is. With each answer it says what its clock shows, and its leader, while it leads for certain, tells it
//! that back beside what is committed: once that much is applied, everything is there that was committed by then. It is the
//! follower's own clock on both ends, so clocks need not agree, and a message that is late makes nobody seem fresh.

/// What a follower knows of how fresh it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Freshness {
    /// As of when everything is applied, in us of the own clock.
    reached_us: u64,
    /// The entry that has to be applied next, and as of when everything is there then.
    next: Option<(u64, u64)>,
    /// The same of what was learned last, while the next one is not reached.
    last: Option<(u64, u64)>,
}

impl Freshness {
    /// Everything that was committed by `as_of_us` is up to the entry `commit`; 0 tells nothing. Nor does what this clock has
    /// not shown yet: another process of this node said it, before the machine's clock was set back.
    pub(super) fn learn(&mut self, commit: u64, as_of_us: u64, now_us: u64) {
        if as_of_us <= self.reached_us || as_of_us > now_us {
            return;
        }
        match self.next {
            None => self.next = Some((commit, as_of_us)),
            Some((_, next_us)) if next_us < as_of_us => self.last = Some((commit, as_of_us)),
            Some(_) => {}
        }
    }

    /// As of when everything is there, now that so much is applied.
    pub(super) fn reached(&mut self, applied: u64) -> u64 {
        while let Some((_, as_of_us)) = self.next.take_if(|(commit, _)| *commit <= applied) {
            self.reached_us = self.reached_us.max(as_of_us);
            self.next = self.last.take();
        }
        self.reached_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learned_counts_once_it_is_applied_and_never_goes_back() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.reached(9), 0, "nothing is known yet");
        freshness.learn(5, 0, 400);
        assert_eq!(freshness.reached(9), 0, "a leader that does not know tells nothing");
        freshness.learn(10, 100, 400);
        freshness.learn(12, 200, 400);
        freshness.learn(14, 300, 400);
        assert_eq!(freshness.reached(9), 0);
        assert_eq!(freshness.reached(10), 100);
        assert_eq!(freshness.reached(13), 100, "what was learned last is not applied");
        assert_eq!(freshness.reached(14), 300);
        freshness.learn(14, 250, 400);
        assert_eq!(freshness.reached(20), 300, "a message that came late");
        freshness.learn(14, 500, 400);
        assert_eq!(freshness.reached(20), 300, "a clock that this process has not seen");
    }
}
