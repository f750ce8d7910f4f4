//! Makes a failure small: leaves out whatever the violated invariant does not need.

use crate::faults::Fault;
use crate::options::RunOptions;
use crate::report::Failure;
use crate::run::run_seed;

/// Runs that a failure is shrunk with at most.
const RUNS_MAX: usize = 300;

/// Runs the seed with less and less for as long as the same invariant fails: fewer events, fewer
/// kinds of fault, fewer shards, clients and SKUs.
pub fn shrink(failure: &Failure) -> Failure {
    let mut shrinker = Shrinker { smallest: failure.clone(), runs: 0 };
    shrinker.cut_events();
    loop {
        let before = shrinker.smallest.options;
        shrinker.drop_faults();
        shrinker.drop_parties();
        shrinker.cut_events();
        if shrinker.smallest.options == before || shrinker.runs >= RUNS_MAX {
            return shrinker.smallest;
        }
    }
}

struct Shrinker {
    smallest: Failure,
    runs: usize,
}

impl Shrinker {
    /// Keeps `options` if the same invariant fails with them.
    fn try_with(&mut self, options: RunOptions) -> bool {
        if options == self.smallest.options || self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        match run_seed(&options, self.smallest.seed) {
            Err(failure) if failure.violation.invariant == self.smallest.violation.invariant => {
                self.smallest = *failure;
                true
            }
            _ => false,
        }
    }

    /// Events behind the failing one are not needed; often the ending fails after far fewer.
    fn cut_events(&mut self) {
        let event = self.smallest.event;
        if event < self.smallest.options.events {
            self.try_with(RunOptions { events: event, ..self.smallest.options });
        }
        let mut step = self.smallest.options.events / 2;
        while step > 0 {
            let fewer = self.smallest.options.events.saturating_sub(step);
            if !self.try_with(RunOptions { events: fewer, ..self.smallest.options }) {
                step /= 2;
            }
        }
    }

    fn drop_faults(&mut self) {
        for fault in Fault::all() {
            let options = self.smallest.options;
            self.try_with(RunOptions { without: options.without.with(fault), ..options });
        }
    }

    fn drop_parties(&mut self) {
        for shards in [1, 2] {
            if self.smallest.options.shards.is_some_and(|drawn| shards < drawn)
                && self.try_with(RunOptions { shards: Some(shards), ..self.smallest.options })
            {
                break;
            }
        }
        for few in [1, 2, 4] {
            let options = self.smallest.options;
            if options.clients.is_none_or(|clients| few < clients) {
                self.try_with(RunOptions { clients: Some(few), ..options });
            }
            let options = self.smallest.options;
            if options.skus.is_none_or(|skus| few < skus) {
                self.try_with(RunOptions { skus: Some(few), ..options });
            }
        }
    }
}
